"""Whether a new version of a source takes our patches, and has what our lists name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.base import cpython
from builder.base.toml import read_toml
from builder.native import imports
from builder.native.hashing import read_list
from builder.native.unpack import extract
from builder.native.versions import names_for_version, rules_for_version
from tools.update.pins import Pinned

PYTHON_FILES = {"numpy": "numpy", "pillow": "src/PIL"}
"""Source -> where its package's modules are in it, if it is a package of modules."""


def problems(pin: Pinned, archive: Path) -> list[str]:
    """What does not fit a new version: each hunk, file and rule by its name; empty if all do.

    Args:
        pin: of the source, with its newest version.
        archive: the new version's file.

    Raises:
        OSError: there is no `patch`.
    """
    table = read_toml(pin.path)[pin.name]
    folder = pin.path.parent
    with TemporaryDirectory() as scratch:
        source = Path(scratch) / pin.name
        source.mkdir()
        try:
            extract(archive, source, tuple(table.get("only", ())))
        except (tarfile.TarError, zipfile.BadZipFile) as error:
            return [f"{archive.name}: cannot be unpacked: {str(error).splitlines()[0]}"]
        failed = [
            problem
            for patch in names_for_version(table.get("patches", ()), pin.newest)
            for problem in _patch(folder / "patches" / patch, source)
        ]
        if pin.name in PYTHON_FILES:
            failed += _modules(pin, folder, source / PYTHON_FILES[pin.name])
    return failed


def _patch(patch: Path, source: Path) -> list[str]:
    """Apply a patch as the recipe does; each hunk that fails."""
    command = ["patch", "-p1", "--fuzz=0", "--forward", "--batch", "-i", str(patch)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    if done.returncode == 0:
        return []
    file = ""
    failed = []
    for line in done.stdout.splitlines():
        if match := re.match(r"patching file (.*)", line):
            file = match[1]
        elif match := re.match(r"(Hunk #\d+) FAILED at (\d+)", line):
            failed.append(f"{patch.name}: {match[1]} of {file} fails at line {match[2]}")
        elif "can't find file" in line or "ignored" in line:
            failed.append(f"{patch.name}: {line.strip()}")
    return failed or [f"{patch.name}: {done.stdout.strip() or done.stderr.strip()}"]


def _modules(pin: Pinned, folder: Path, package: Path) -> list[str]:
    """What `ships.txt` and `imports.toml` name that is not there."""
    ships = read_list(folder / "ships.txt")
    wanted = [pattern for pattern in ships if pattern.endswith(".py")]
    missing = [pattern for pattern in wanted if not list(package.glob(pattern))]
    # What the build makes is not in the source.
    made = ("version.py", "_core/_internal.py") if pin.name == "numpy" else ()
    failed = [f"ships.txt: no {pattern}" for pattern in missing if pattern not in made]
    if failed:
        return failed
    rules = rules_for_version(read_toml(folder / "imports.toml"), pin.newest)
    shipped = {path.relative_to(package).as_posix() for p in wanted for path in package.glob(p)}
    for path in list(package.rglob("*.py")):
        if path.relative_to(package).as_posix() not in shipped:
            path.unlink()
    interpreter = cpython.find_python(pin.python)
    command = [interpreter.path if interpreter else sys.executable, "-I", "-S", imports.__file__]
    done = subprocess.run(
        [*command, str(package), json.dumps(rules)], capture_output=True, text=True
    )
    return [done.stderr.strip().splitlines()[-1]] if done.returncode else []
