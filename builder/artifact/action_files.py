"""Read `action/` as files: the function's own sources are not imported by the builder."""

import ast
from pathlib import Path
from typing import Any

from builder.base.paths import ACTION, ROOT
from builder.packages import Component

# It replaces the runtime's own launcher in a precompiled zip.
LAUNCHER = "launcher.py"
# What is needed before `packed.zip` is open, or should that fail.
BOOT_FILES = ("__init__.py", "bootstrap.py", LAUNCHER)


def list_files(precompiled: bool) -> list[Path]:
    """Return the files of `action/` that ship."""
    files = sorted(path for path in ACTION.iterdir() if path.is_file() and path.suffix != ".pyc")
    return [path for path in files if precompiled or path.name != LAUNCHER]


def describe_function() -> Component:
    """Return the function itself as a component of the zip."""
    licence = (ROOT / "LICENSE").read_text("utf-8")
    version = read_constant("__init__.py", "__version__")
    return Component("action", version, "this project", "", "Apache-2.0", (("action", licence),))


def read_constant(file: str, name: str) -> Any:
    """Return the last literal assigned to a constant of `action/`; raise ValueError without one."""
    for node in reversed(ast.parse((ACTION / file).read_bytes()).body):
        if isinstance(node, ast.Assign) and ast.unparse(node).startswith(f"{name} = "):
            return ast.literal_eval(node.value)
    raise ValueError(f"action/{file} has no {name}")
