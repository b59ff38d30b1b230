"""The pins of the sources: `pins.toml` in each package's folder."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from builder.base.errors import BuildError
from builder.base.toml import read_toml
from builder.native.steps import RECIPE
from builder.native.versions import names_for_version, upstream_version

# The folders of the recipe, in the order in which they are built.
FOLDERS = ("xnnpack", "tflite", "numpy", "pillow")


@dataclass(frozen=True)
class Pin:
    """The pinned file of a source.

    Attributes:
        name: of the source.
        version: upstream's.
        file: name of the file.
        sha256: of the file.
        package: the Python module that it becomes, or is linked into.
        licence: as an SPDX expression.
        purl: its package URL, for vulnerability scanners.
        cpe: its name in the National Vulnerability Database.
        folder: of the recipe, that has the pin.
        key: name of its extracted folder.
        patches: files in the folder's `patches`, in order.
        only: beginnings of the paths that are extracted; empty for all.
        ops: the choice of operators that needs it; empty for each.
        suite: Debian's suite that has it; empty if it is from the package index.
        revision: Debian's version; empty if it is from the package index.
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
def read_pins(python: str) -> dict[str, Pin]:
    """Return every source's pin, by the source's name.

    Args:
        python: version of the Python to build for, as "3.11"; empty for the sources that are the
            same for each.

    Raises:
        BuildError: a source is not pinned for this Python.
    """
    return {
        name: _pin(name, folder, table, python)
        for folder in FOLDERS
        for name, table in read_toml(RECIPE / folder / "pins.toml").items()
        if python or "files" not in table
    }


def _pin(name: str, folder: str, table: dict[str, Any], python: str) -> Pin:
    """Return the pin in a table of pins.toml; `files` has what differs with the Python."""
    files = table.get("files")
    if files and python not in files:
        known = ", ".join(files)
        raise BuildError(f"{name}: expected a pin for one of Python {known}, found {python}")
    chosen = {**table, **files[python]} if files else table
    debian = chosen.get("debian", {})
    revision = debian.get("version", "")
    version = chosen.get("version") or upstream_version(revision)
    return Pin(
        name=name,
        version=version,
        file=chosen["file"],
        sha256=chosen["sha256"],
        package=chosen["package"],
        licence=chosen["licence"],
        purl=_fill_in(chosen["purl"], version),
        cpe=f"cpe:2.3:a:{chosen['cpe']}:{_fill_in('{number}', version)}:*:*:*:*:*:*:*",
        folder=folder,
        key=f"{name}-{version}" if files else name,
        patches=tuple(names_for_version(chosen.get("patches", ()), version)),
        only=tuple(chosen.get("only", ())),
        ops=chosen.get("ops", ""),
        suite=debian.get("suite", ""),
        revision=revision,
        sha1=chosen.get("sha1", ""),
    )


def _fill_in(text: str, version: str) -> str:
    """Fill in the version; of a snapshot its commit, or its date where a number is needed."""
    snapshot = re.fullmatch(r".*~git(\d+)\.(\w+)", version)
    date, commit = snapshot.groups() if snapshot else (version, version)
    return text.format(version=version, commit=commit, number=date)
