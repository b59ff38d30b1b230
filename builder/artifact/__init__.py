"""The zip: what is in it, how it is written, checked and invoked."""
