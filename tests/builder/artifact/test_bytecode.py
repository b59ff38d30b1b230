"""Byte-compiled modules: without docstrings, for each Python."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from builder.artifact.bytecode import compile_modules
from builder.base import cpython
from builder.base.errors import BuildError
from tests.conftest import PYTHONS


@pytest.mark.parametrize("python", PYTHONS)
def test_docstrings_go_and_assertions_stay(tmp_path: Path, python: str) -> None:
    found = cpython.find_python(python)
    if found is None:
        pytest.skip(f"no Python {python} on this machine")
    source = tmp_path / "m.py"
    source.write_text(
        '"""Of the module."""\n'
        "class C:\n    'Of the class.'\n    def f(self):\n        'Of f.'\n        return 'data'\n"
        "def g():\n    f'not {1} docstring'\n"
        "try:\n    assert False, 'stays'\nexcept AssertionError as error:\n    said = error\n"
    )
    codes = compile_modules(found, {"lib/m.py": source})
    (tmp_path / "m.pyc").write_bytes(codes["lib/m.py"])
    source.write_text("x =")
    with pytest.raises(BuildError, match="byte-compiling failed"):
        compile_modules(found, {"lib/m.py": source})
    source.unlink()
    said = subprocess.run(
        [found.path, "-I", "-c", "import sys; sys.path.insert(0, sys.argv[1]); import m;"
         "print([m.__doc__, m.C.__doc__, m.C.f.__doc__, m.g.__doc__, m.C().f(), str(m.said)])",
         str(tmp_path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert ast.literal_eval(said) == ["", "", "", None, "data", "stays"]
