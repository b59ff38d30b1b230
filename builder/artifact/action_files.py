"""`action/` as files: what ships is no library of the builder's."""

import ast
from pathlib import Path
from typing import Any

from builder.base.paths import ACTION

_PRECOMPILED = ("launcher.py",)
"""What stands for the runtime's own launcher in a precompiled zip."""


def list_files(precompiled: bool) -> list[Path]:
    """The files of `action/` that ship."""
    left_out = () if precompiled else _PRECOMPILED
    everything = sorted(path for path in ACTION.iterdir() if path.is_file())
    return [path for path in everything if path.suffix != ".pyc" and path.name not in left_out]


def read_constant(file: str, name: str) -> Any:
    """A constant of a module: its last assignment at the top, which has to be a literal.

    Args:
        file: of `action/`, "__init__.py".
        name: of the constant.

    Raises:
        ValueError: there is none, or it is something to compute.
    """
    for node in reversed(ast.parse((ACTION / file).read_bytes()).body):
        if isinstance(node, ast.Assign) and [ast.unparse(each) for each in node.targets] == [name]:
            return ast.literal_eval(node.value)
    raise ValueError(f"action/{file} has no {name}")
