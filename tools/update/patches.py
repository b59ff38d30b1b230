"""Try a source's patches, import rules and file lists on a new version of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.base import cpython
from builder.base.toml import read_toml
from builder.native import imports
from builder.native.hashing import read_list
from builder.native.sources import extract
from builder.native.versions import names_for_version, rules_for_version
from tools.update.pins import Pin

# Where the modules are in the sources of Python packages.
PYTHON_FILES = {"numpy": "numpy", "pillow": "src/PIL"}
# Modules that the build writes; the source does not have them.
WRITTEN = {"numpy": ("version.py", "_core/_internal.py")}


def find_problems(pin: Pin, version: str, archive: Path) -> list[str]:
    """Return a line for each hunk, file and rule that does not fit a source's new version.

    Raises:
        OSError: there is no `patch`.
    """
    table = read_toml(pin.path)[pin.name]
    folder = pin.path.parent
    with TemporaryDirectory() as scratch:
        source = Path(scratch) / pin.name
        source.mkdir()
        extract(archive, source, tuple(table.get("only", ())))
        failed = [
            problem
            for patch in names_for_version(table.get("patches", ()), version)
            for problem in _apply_patch(folder / "patches" / patch, source)
        ]
        if pin.name in PYTHON_FILES:
            failed += _try_rules(pin, version, source / PYTHON_FILES[pin.name])
    return failed


def _apply_patch(patch: Path, source: Path) -> list[str]:
    """Apply a patch as the recipe does; return a line for each hunk that fails."""
    command = ["patch", "-p1", "--fuzz=0", "--forward", "--batch", "-i", str(patch)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    if done.returncode == 0:
        return []
    failure = r"FAILED|can't find file|ignored"
    lines = [line for line in done.stdout.splitlines() if re.search(failure, line)]
    return [f"{patch.name}: {line}" for line in lines or [done.stderr.strip()]]


def _try_rules(pin: Pin, version: str, package: Path) -> list[str]:
    """Return what `ships.txt` and `imports.toml` name and the new version lacks."""
    folder = pin.path.parent
    ships = read_list(folder / "ships.txt")
    wanted = [pattern for pattern in ships if pattern.endswith(".py")]
    missing = [pattern for pattern in wanted if not list(package.glob(pattern))]
    if failed := [each for each in missing if each not in WRITTEN.get(pin.name, ())]:
        return [f"ships.txt: no {pattern}" for pattern in failed]
    rules = rules_for_version(read_toml(folder / "imports.toml"), version)
    shipped = {path.relative_to(package).as_posix() for p in wanted for path in package.glob(p)}
    for path in list(package.rglob("*.py")):
        if path.relative_to(package).as_posix() not in shipped:
            path.unlink()
    python = cpython.find_python(pin.python)
    command = [python.path if python else sys.executable, "-I", "-S", imports.__file__]
    done = subprocess.run(
        [*command, str(package), json.dumps(rules)], capture_output=True, text=True
    )
    return [done.stderr.strip().splitlines()[-1]] if done.returncode else []
