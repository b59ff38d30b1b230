"""The pins of the sources: `pins.toml` in each package's folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from builder.base.errors import BuildError
from builder.native.recipe import toml
from builder.native.steps import HERE

PACKAGES = ("xnnpack", "tflite", "numpy", "pillow")
"""The folders beside this file, in the order in which they are built."""


@dataclass(frozen=True)
class Pin:
    """The one file of a source that is taken, as `pins.toml` has it.

    Attributes:
        name: of the source.
        version: upstream's.
        file: its name.
        sha256: of the file.
        package: the Python package that it becomes, or is linked into.
        licence: as SPDX has it.
        purl: what it is, for tools that look for vulnerabilities (package URL).
        cpe: the same in the words of the NVD.
        folder: of the recipe, whose pin it is.
        key: names its unpacked folder.
        patches: files in the folder's `patches`, in order.
        only: how the paths begin that are unpacked; empty for all.
        ops: the choice of operators that needs it; empty for each.
        suite, revision: Debian's suite that has it, and its version there; empty if it is from the
            package index.
        sha1: of the file, its name at Debian's snapshot service.
    """

    name: str
    version: str
    file: str
    sha256: str
    package: str
    licence: str
    purl: str
    cpe: str
    folder: str
    key: str
    patches: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ops: str = ""
    suite: str = ""
    revision: str = ""
    sha1: str = ""


@cache
def pins(python: str) -> dict[str, Pin]:
    """Every source's pin, by its name.

    Args:
        python: version of the Python to build for, as "3.11"; empty for the sources that are the
            same for each.

    Raises:
        BuildError: something is not pinned for this Python.
    """
    tables = {
        (name, folder): table
        for folder in PACKAGES
        for name, table in toml(HERE / folder / "pins.toml").items()
    }
    return {
        name: _pin(name, folder, table, python)
        for (name, folder), table in tables.items()
        if python or "files" not in table
    }


def _pin(name: str, folder: str, table: dict[str, Any], python: str) -> Pin:
    """A table of pins.toml; `files` has what differs with the Python."""
    files = table.get("files")
    if files and python not in files:
        known = ", ".join(files)
        raise BuildError(f"{name}: expected a pin for one of Python {known}, found {python}")
    chosen = {**table, **files[python]} if files else table
    debian = chosen.get("debian", {})
    revision = debian.get("version", "")
    version = chosen.get("version") or upstream(revision)
    return Pin(
        name=name,
        version=version,
        file=chosen["file"],
        sha256=chosen["sha256"],
        package=chosen["package"],
        licence=chosen["licence"],
        purl=_filled(chosen["purl"], version),
        cpe=f"cpe:2.3:a:{chosen['cpe']}:{_filled('{number}', version)}:*:*:*:*:*:*:*",
        folder=folder,
        key=f"{name}-{version}" if files else name,
        patches=tuple(name_of(line) for line in of_version(chosen.get("patches", ()), version)),
        only=tuple(chosen.get("only", ())),
        ops=chosen.get("ops", ""),
        suite=debian.get("suite", ""),
        revision=revision,
        sha1=chosen.get("sha1", ""),
    )


def upstream(revision: str) -> str:
    """Upstream's version in Debian's: "1:1.3.dfsg+really1.3.1-1" -> "1.3.1"."""
    version = re.sub(r"^\d+:|-[^-]*$", "", revision)
    return re.sub(r"^.*\+really|[.+]dfsg.*$", "", version)


def _filled(text: str, version: str) -> str:
    """With the version; of a snapshot of a repository, its commit or (as a number) its date."""
    snapshot = re.fullmatch(r".*~git(\d+)\.(\w+)", version)
    date, commit = snapshot.groups() if snapshot else (version, version)
    return text.format(version=version, commit=commit, number=date)


def of_version(lines: Iterable[str], version: str) -> list[str]:
    """Of lines "NAME", "NAME < 13", "NAME >= 2.4" those that are for a version."""
    return [line for line in lines if _holds(line, version)]


def name_of(line: str) -> str:
    """The name in such a line."""
    return line.split()[0]


def _holds(line: str, version: str) -> bool:
    _, *bound = line.split()
    if not bound:
        return True
    sign, limit = bound
    if sign not in ("<", ">="):
        raise ValueError(f"expected < or >= in {line!r}, found {sign}")
    return (_numbers(version) < _numbers(limit)) == (sign == "<")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
