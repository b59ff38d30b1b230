"""The benchmark: measures our zip and what people would deploy instead, in one run."""
