"""The function: a picture in, ranked classes out. Everything here ships in the zip but `cli`."""

__version__ = "0.1.0"
