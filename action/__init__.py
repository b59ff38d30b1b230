"""The function: a picture in, ranked classes out. `cli`, `remote` and `serve` do not ship."""

__version__ = "0.1.0"
