"""The function: a picture in, ranked classes out. All of it ships but `cli` and `serve`."""

__version__ = "0.1.0"
