"""Read and write the pins of sources and wheels, and find the newest version of each."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tomlkit
from tomlkit import TOMLDocument

from builder.base.errors import BuildError
from builder.base.paths import BUILDER
from builder.base.toml import read_toml
from builder.native.debian import DebianArchive
from builder.native.pins import FOLDERS
from builder.native.steps import RECIPE
from builder.native.versions import upstream_version
from tools.update.index import File, Index

WHEELS = BUILDER / "packages" / "pins.toml"
# Debian's suites with sources; of those with a version, the first is taken.
SUITES = ("trixie", "forky", "sid")


@dataclass(eq=False, frozen=True)
class Pin:
    """The pinned version of a source or a wheel, for one Python or for all.

    Attributes:
        name: of the package.
        kind: "source" or "wheel".
        python: "3.11", or empty for all.
        path: the TOML file that has it.
        document: that file's content.
        table: the pin's table in the document.
        hold: why it is not updated; empty if it is.
    """

    name: str
    kind: str
    python: str
    path: Path
    document: TOMLDocument
    table: dict[str, Any]
    hold: str

    @property
    def version(self) -> str:
        """Return upstream's version."""
        return self.table.get("version") or upstream_version(self.table["debian"]["version"])


@dataclass(frozen=True)
class Release:
    """A version that can take a pin's place.

    Attributes:
        version: upstream's.
        entry: what is written into the pin's table.
        url: of a file in Debian's archive, whose sha1 has to be found, too.
    """

    version: str
    entry: dict[str, Any]
    url: str = ""


def read_pins() -> list[Pin]:
    """Return every pin, in the order of the files."""
    return [*_read_sources(), *_read_wheels()]


def _read_sources() -> Iterator[Pin]:
    for folder in FOLDERS:
        path = RECIPE / folder / "pins.toml"
        document: Any = tomlkit.parse(path.read_text("utf-8"))
        for name, table in document.items():
            for python, entry in table.get("files", {"": table}).items():
                yield Pin(name, "source", python, path, document, entry, table.get("hold", ""))


def _read_wheels() -> Iterator[Pin]:
    document: Any = tomlkit.parse(WHEELS.read_text("utf-8"))
    for table in document["wheels"]["package"]:
        hold = table.get("hold", "")
        for python, entry in table["files"].items():
            yield Pin(table["name"], "wheel", python, WHEELS, document, entry, hold)


def find_newest(pin: Pin, index: Index, archive: DebianArchive) -> Release:
    """Return the newest release for a pin, from where its file is from.

    Raises:
        BuildError: there is none, or the index or the archive does not answer.
    """
    if "debian" in pin.table:
        return _find_in_debian(pin, archive)
    platforms = read_toml(WHEELS)["wheels"]["platforms"]
    files = [file for file in index.files(pin.name) if _fits_pin(file, pin, platforms)]
    if not files:
        python = f" for Python {pin.python}" if pin.python else ""
        raise BuildError(f"{pin.name}: expected a {pin.kind}{python} in the index, found none")
    file = max(files, key=lambda file: file.version)
    entry = {"version": str(file.version), "file": file.name, "sha256": file.sha256}
    return Release(str(file.version), entry)


def _fits_pin(file: File, pin: Pin, platforms: list[str]) -> bool:
    """Return whether a file of the index can take a pin's place."""
    if pin.python and pin.python not in file.python:
        return False
    if not pin.table["file"].endswith(".whl"):
        return not file.tags and file.name.endswith(".tar.gz")
    if not pin.python:
        return "py3-none-any" in file.tags
    python = "cp" + pin.python.replace(".", "")
    return any(f"{python}-{python}-{platform}" in file.tags for platform in platforms)


def _find_in_debian(pin: Pin, archive: DebianArchive) -> Release:
    revision, suite = _newest_revision(pin, archive)
    tarballs = [
        (address, sha256)
        for address, sha256 in archive.files(pin.name, revision)
        if re.search(r"\.orig\.tar\.\w+$", address)
    ]
    if len(tarballs) != 1:
        raise BuildError(
            f"{pin.name} {revision}: expected one .orig tarball, found {len(tarballs)}"
        )
    [(address, sha256)] = tarballs
    name = address.rpartition("/")[2].replace("%2b", "+")
    origin = {"suite": suite, "version": revision}
    entry = {"file": name, "sha256": sha256, "debian": origin}
    return Release(upstream_version(revision), entry, address)


def _newest_revision(pin: Pin, archive: DebianArchive) -> tuple[str, str]:
    """Return Debian's version of the newest release, and the suite to take it from."""
    listed = archive.versions(pin.name)
    if not listed:
        raise BuildError(f"{pin.name}: expected it in Debian's {', '.join(SUITES)}, found none")
    newest = max((version for version, _ in listed), key=cmp_to_key(_compare_debian_versions))
    same = [each for each in listed if upstream_version(each[0]) == upstream_version(newest)]
    return min(same, key=lambda each: SUITES.index(each[1]))


def _compare_debian_versions(one: str, other: str) -> int:
    less = subprocess.run(["dpkg", "--compare-versions", one, "lt", other]).returncode == 0
    return -1 if less else int(one != other)


def write(updates: Sequence[tuple[Pin, Release]], archive: DebianArchive) -> None:
    """Write releases into the pins' TOML files, and keep comments and order.

    Raises:
        BuildError: a file of Debian's archive has another sha256 than its list says.
    """
    for pin, release in updates:
        _merge_into_table(pin.table, release.entry)
        if release.url:
            pin.table["sha1"] = _find_sha1(release, archive)
    for path, document in {pin.path: pin.document for pin, _ in updates}.items():
        path.write_text(tomlkit.dumps(document), "utf-8")


def _find_sha1(release: Release, archive: DebianArchive) -> str:
    """Download a release's file; return its sha1, by which Debian's snapshots name it."""
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "file"
        archive.download(release.url, file)
        content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != release.entry["sha256"]:
        raise BuildError(f"{release.url}: expected {release.entry['sha256']}, found {found}")
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _merge_into_table(table: dict[str, Any], entry: dict[str, Any]) -> None:
    for key, value in entry.items():
        if isinstance(value, dict):
            _merge_into_table(table[key], value)
        else:
            table[key] = value
