"""Compiled packages for tests: the Pythons that have them, and running code with a zip's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from builder.artifact import actionloop
from builder.native import COMPILED_PACKAGES
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.conftest import PYTHONS, interpreter


def is_cached(python: str) -> bool:
    return compiled.is_cached(python, DEFAULT_OPTIONS)


PYTHON = next((python for python in ("3.11", *PYTHONS) if is_cached(python)), "")
needs_compiled = pytest.mark.skipif(
    not PYTHON, reason="nothing compiled: run  python3 build_zip.py --runtime local  first"
)


def run_with_zip(archive: Path, python: str, code: str, folder: Path) -> str:
    """Run code in a clean interpreter with a zip's packages, unpacked in `folder`.

    Returns:
        Its output. The code finds the modules that were loaded before it in `before`.
    """
    actionloop.unpack_zip(archive, folder)
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "from action.bootstrap import install_importer; install_importer(sys.argv[1])\n" + code
    )
    done = subprocess.run(
        [interpreter(python), "-I", "-S", "-B", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        env={},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_packages(folder: Path) -> Path:
    """Write small packages as the recipe leaves them; return the folder."""
    recipe: dict[str, Any] = {"sources": {}, "ops": "classifier", "compiler": "c++ 12"}
    for package in COMPILED_PACKAGES:
        pin = {"package": package.module, "file": "f", "sha256": "0", "licence": "MIT"}
        pin |= {"version": "1", "purl": "pkg:generic/x@1", "cpe": ""}
        recipe["sources"][package.source] = pin
        for name in (f"{package.module}/__init__.py", f"licences/{package.source}.txt"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("")
    (folder / "numpy" / "core.so").write_bytes(bytes(range(256)) * 9000)
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder
