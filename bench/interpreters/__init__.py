"""One inference: the model alone, one thread, in every interpreter that one could deploy."""
