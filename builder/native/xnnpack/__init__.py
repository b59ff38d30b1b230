"""XNNPACK: the kernels that run nearly every op."""
