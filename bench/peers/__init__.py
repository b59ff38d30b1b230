"""What is compared: our zips, and what people would deploy instead."""
