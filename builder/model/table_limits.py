"""Refuse .tflite files whose tables lead to each other so often that reading them does not end.

A FlatBuffers file of 8 kB can list one subgraph a thousand times, whose thousand tensors are one.
Each counts when it is read. In a file that a converter wrote, each is another one, so all of them
together are no larger than the file.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any

from ai_edge_litert import schema_py_generated as schema

# Reading a table takes some 35 us.
MAX_TABLES = 100_000
# A table's offset and that of its own table of offsets.
_TABLE_BYTES = 8
# Converters share names and shapes; none shares all.
_SHARED = 2
_FREE_BYTES = 1 << 16


def check_tables(content: bytes) -> None:
    """Raise ValueError if a .tflite file refers to more tables and bytes than it can have.

    Damaged files raise what the schema's readers do.
    """
    waiting, tables = [schema.Model.GetRootAs(content, 0)], 0
    left = _SHARED * len(content) + _FREE_BYTES
    while waiting:
        tables += 1
        left -= _TABLE_BYTES
        for value, count in _read_fields(waiting.pop()):
            left -= len(value) if isinstance(value, bytes) else count
            if left < 0 or tables + len(waiting) > MAX_TABLES:
                raise ValueError(f"expected at most {MAX_TABLES} tables, each referred to once")
            if hasattr(value, "_tab"):
                waiting.append(value)


def _read_fields(table: Any) -> Iterator[tuple[Any, int]]:
    """Yield the fields of a table, and the elements of those that are vectors of tables or text.

    A vector of numbers is yielded once, with its length.
    """
    for name, is_vector in _field_names(table.__class__):
        read = getattr(table, name)
        if not is_vector:
            yield read(), 0
            continue
        length = getattr(table, f"{name}Length")()
        yield None, length
        if length and not isinstance(read(0), (int, float)):
            for index in range(length):
                yield read(index), 0


@cache
def _field_names(kind: type) -> list[tuple[str, bool]]:
    """Return the fields of a generated class by name, and whether they are vectors."""
    methods = {name for name, method in vars(kind).items() if inspect.isfunction(method)}
    fields = {name for name in methods if not name.endswith(("Length", "AsNumpy", "IsNone"))}
    return [(name, f"{name}Length" in methods) for name in sorted(fields - {"Init", "__init__"})]
