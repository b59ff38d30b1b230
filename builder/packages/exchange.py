"""Exchange compiled packages as a file: export them from the cache, import them on another machine.

The file has the same bytes wherever it was exported. It names the recipe, which has to be this
checkout's.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from builder.base.archive import Entry, compress, read_zip, write_zip
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.files import atomic_write, sha256_of
from builder.native import OPS
from builder.packages import Runtime, RuntimeOptions, compiled

# The file's entry with Python, operators and the recipe's key.
FACTS = "runtime.json"


def export(python: str, options: RuntimeOptions, destination: Path) -> str:
    """Write compiled packages to a file; return its sha256; raise BuildError if there are none."""
    if not compiled.is_cached(python, options):
        raise BuildError(
            f"runtime export: expected compiled packages for Python {python} with "
            f"--ops {options.ops}, found none of this recipe",
            f"compile them first: --python {python} --runtime container, or --runtime local",
        )
    facts = {"python": python, "ops": options.ops, "key": compiled.recipe_key()}
    contents = {FACTS: (json.dumps(facts, indent=1) + "\n").encode()}
    contents |= compiled.read_files(python, options)
    entries = [
        Entry(path, content, "", outside=True, compressed=compress(content))
        for path, content in contents.items()
    ]
    with atomic_write(destination) as part:
        write_zip(entries, part)
    return sha256_of(destination)


def import_packages(archive: Path, console: Console) -> Runtime:
    """Store the compiled packages of an exported file in the cache, where builds find them.

    Raises:
        BuildError: it is another recipe's, or no exported file.
    """
    sha256 = sha256_of(archive)
    console.note(f"{archive.name}: sha256 {sha256}; a local file has no pin to compare it with")
    facts, contents = _read_export(archive)
    if facts["key"] != compiled.recipe_key():
        raise BuildError(
            f"{archive.name}: expected key {compiled.recipe_key()!r}, found {facts['key']!r}",
            f"export it from a checkout of this version, {compiled.RETRY}",
        )
    options = RuntimeOptions(facts["ops"])
    compiled.store(facts["python"], options, contents, console)
    runtime = compiled.load(facts["python"], options)
    return replace(runtime, origin=f"imported from {archive.name} (sha256 {sha256})")


def _read_export(archive: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the facts and the files of an exported file; raise if it is damaged or another."""
    try:
        contents = read_zip(archive).files
        facts = json.loads(contents.pop(FACTS))
        python, ops, _ = facts["python"], facts["ops"], facts["key"]
        if not re.fullmatch(r"3\.\d+", python) or ops not in OPS:
            raise ValueError(f"Python {python!r}, operators {ops!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise BuildError(
            f"{archive.name}: expected a file that 'runtime export' wrote, found another, or a "
            f"truncated one ({error})"
        ) from error
    paths = [PurePosixPath(name) for name in contents]
    if any(path.is_absolute() or ".." in path.parts or "\\" in str(path) for path in paths):
        raise BuildError(f"{archive.name}: an entry would be unpacked outside its folder")
    return facts, contents
