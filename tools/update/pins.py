"""The pins of sources and wheels: what they name, what is newest, and how they are rewritten."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cmp_to_key
from pathlib import Path
from typing import Any

import tomlkit
from packaging.version import InvalidVersion, Version

from builder.base.errors import BuildError
from builder.base.paths import BUILDER
from builder.base.toml import read_toml
from builder.native.debian import DebianArchive
from builder.native.pins import FOLDERS
from builder.native.steps import RECIPE
from builder.native.versions import upstream_version
from tools.update.index import File, Index

WHEELS = BUILDER / "packages" / "pins.toml"
SUITES = ("trixie", "forky", "sid")
"""Debian's suites that sources are taken from: of those with a version, the first."""


@dataclass
class Pinned:
    """One pin: a source or a wheel, for one Python or for all.

    Attributes:
        name: of the package.
        what: "source" or "wheel".
        python: "3.11", or empty for each.
        version: upstream's, that is pinned.
        path: the TOML file that it is in.
        where: the keys that lead to its table.
        hold: why it is not updated; empty if it is.
        newest: what there is; filled in by `find`.
    """

    name: str
    what: str
    python: str
    version: str
    path: Path
    where: tuple[str | int, ...]
    hold: str = ""
    newest: str = ""
    entry: dict[str, Any] = field(default_factory=dict)
    """What is written into its table for the newest version."""
    file: Callable[[Path], Path] | None = None
    """Has the newest version's file in a folder."""

    @property
    def behind(self) -> bool:
        """Whether there is a newer version."""
        return self.newest != self.version


def pinned() -> list[Pinned]:
    """Every pin, in the order of the files."""
    return [*_sources(), *_wheels()]


def _sources() -> Iterator[Pinned]:
    for folder in FOLDERS:
        path = RECIPE / folder / "pins.toml"
        for name, table in read_toml(path).items():
            hold = table.get("hold", "")
            for python, entry in table.get("files", {}).items():
                where = (name, "files", python)
                yield Pinned(name, "source", python, entry["version"], path, where, hold)
            if "files" not in table:
                version = table.get("version") or upstream_version(table["debian"]["version"])
                yield Pinned(name, "source", "", version, path, (name,), hold)


def _wheels() -> Iterator[Pinned]:
    for number, table in enumerate(read_toml(WHEELS)["wheels"]["package"]):
        for python, entry in table["files"].items():
            where: tuple[str | int, ...] = ("wheels", "package", number, "files", python)
            hold = table.get("hold", "")
            yield Pinned(table["name"], "wheel", python, entry["version"], WHEELS, where, hold)


class NotThere(BuildError):
    """There is no such version, for the Python of the pin."""


def find(pin: Pinned, index: Index, archive: DebianArchive, wanted: str = "") -> None:
    """Fill in what is newest of a pin.

    Args:
        pin: gets `newest`, `entry` and `file`.
        index: is asked for what is from the package index.
        archive: is asked for what is from Debian.
        wanted: the version to take in its place; empty for the newest.

    Raises:
        NotThere: nothing is to be had, or not that version.
        BuildError: nobody answers.
    """
    if "debian" in _table(read_toml(pin.path), pin.where):
        _from_debian(pin, archive, wanted)
    else:
        _from_index(pin, index, wanted)


def _from_index(pin: Pinned, index: Index, wanted: str) -> None:
    platforms = read_toml(WHEELS)["wheels"]["platforms"]
    files = [file for file in index.files(pin.name) if _is_for(file, pin, platforms)]
    if wanted:
        files = [file for file in files if file.version == _version(wanted)]
    if not files:
        version = wanted or "any version"
        python = f" for Python {pin.python}" if pin.python else ""
        raise NotThere(
            f"{pin.name}: expected {version} as a {pin.what}{python}, the index has none"
        )
    chosen = max(files, key=lambda file: file.version)
    pin.newest = str(chosen.version)
    pin.entry = {"version": pin.newest, "file": chosen.name, "sha256": chosen.sha256}
    pin.file = lambda folder: index.download(chosen, folder)


def _is_for(file: File, pin: Pinned, platforms: list[str]) -> bool:
    """Whether a file of the index can take a pin's place."""
    table = _table(read_toml(pin.path), pin.where)
    if pin.python and pin.python not in file.python:
        return False
    if not table["file"].endswith(".whl"):
        return not file.tags and file.name.endswith(".tar.gz")
    if not pin.python:
        return "py3-none-any" in file.tags
    python = "cp" + pin.python.replace(".", "")
    return any(f"{python}-{python}-{platform}" in file.tags for platform in platforms)


def _from_debian(pin: Pinned, archive: DebianArchive, wanted: str) -> None:
    listed = archive.versions(pin.name)
    if wanted:
        listed = [
            (version, suite) for version, suite in listed if upstream_version(version) == wanted
        ]
    if not listed:
        raise NotThere(
            f"{pin.name}: expected {wanted or 'any version'} in Debian's {', '.join(SUITES)}, "
            "found none"
        )
    revision = max((version for version, _ in listed), key=cmp_to_key(_compare))
    pin.newest = upstream_version(revision)
    same = [
        (version, suite) for version, suite in listed if upstream_version(version) == pin.newest
    ]
    revision, suite = min(same, key=lambda each: SUITES.index(each[1]))
    origin = [
        (address, sha256)
        for address, sha256 in archive.files(pin.name, revision)
        if re.search(r"\.orig\.tar\.\w+$", address)
    ]
    if len(origin) != 1:
        raise BuildError(f"{pin.name} {revision}: expected one .orig tarball, found {len(origin)}")
    [(address, sha256)] = origin
    name = address.rpartition("/")[2].replace("%2b", "+")
    pin.entry = {
        "file": name,
        "sha256": sha256,
        "debian": {"suite": suite, "version": revision},
    }

    def fetch(folder: Path) -> Path:
        target = folder / name
        folder.mkdir(parents=True, exist_ok=True)
        archive.download(address, target)
        content = target.read_bytes()
        if (got := hashlib.sha256(content).hexdigest()) != sha256:
            raise BuildError(f"{name}: expected sha256 {sha256}, found {got}")
        pin.entry["sha1"] = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return target

    pin.file = fetch


def _compare(one: str, other: str) -> int:
    """Debian's order of versions."""
    less = subprocess.run(["dpkg", "--compare-versions", one, "lt", other]).returncode == 0
    return -1 if less else int(one != other)


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise BuildError(f"expected a version, found {text!r}") from error


def write(pins: list[Pinned]) -> list[Path]:
    """Put the newest versions into the TOML files; comments and order stay. Returns the files."""
    for path in {pin.path: None for pin in pins}:
        document = tomlkit.parse(path.read_text("utf-8"))
        for pin in pins:
            if pin.path == path:
                table = _table(document, pin.where)
                for key, value in pin.entry.items():
                    if isinstance(value, dict):
                        for inner, text in value.items():
                            table[key][inner] = text
                    else:
                        table[key] = value
        path.write_text(tomlkit.dumps(document), "utf-8")
    return list({pin.path: None for pin in pins})


def _table(document: Any, where: tuple[str | int, ...]) -> Any:
    for key in where:
        document = document[key]
    return document
