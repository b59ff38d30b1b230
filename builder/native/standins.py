# mypy: ignore-errors
"""Stand-ins for what of `typing` and `logging` packages ask when they are loaded.

Ships in a package as `_standins.py`, where its `imports.toml` names that.
"""

import sys
from collections import namedtuple


class _Logger:
    """A module's logger. Nobody can hear `debug` before `logging` itself was imported."""

    def __init__(self, name):
        self._name = name

    def debug(self, *args):
        if "logging" in sys.modules:
            sys.modules["logging"].getLogger(self._name).debug(*args)

    def __getattr__(self, name):
        import logging

        return getattr(logging.getLogger(self._name), name)


class logging:
    """`import logging`, for `logging.getLogger(__name__)`."""

    getLogger = _Logger


class _Fields(type):
    def __new__(cls, name, bases, body):
        if not bases:
            return super().__new__(cls, name, bases, body)
        fields = list(body["__annotations__"])
        defaults = [body.pop(field) for field in fields if field in body]
        made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
        for key, value in body.items():
            if key not in ("__annotations__", "__module__", "__qualname__"):
                setattr(made, key, value)
        return made


class NamedTuple(metaclass=_Fields):
    """`typing.NamedTuple`, for annotations that are strings."""


class IO:
    """A type that takes parameters, as an annotation or an argument of `cast`."""

    def __class_getitem__(cls, item):
        return cls


Optional = IO
Any = Protocol = Text = object


def cast(typ, value):
    """`typing.cast`."""
    return value
