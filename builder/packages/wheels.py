"""Ready-made wheels from the package index, unpacked without the files that do not ship."""

import hashlib
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from builder.base import files
from builder.base.console import Console
from builder.base.package_index import IndexFile, download_from_index
from builder.base.paths import BUILD, DOWNLOADS
from builder.base.toml import read_toml
from builder.native import COMPILED_PACKAGES
from builder.native.hashing import digest
from builder.native.steps import RECIPE
from builder.packages import (
    Component,
    Runtime,
    RuntimeOptions,
    elf_editor,
    operator_versions,
    prune,
    strip,
)

# Unpacked wheels, per Python version.
RUNTIMES = BUILD / "runtimes"


@cache
def read_pins() -> dict[str, Any]:
    """Return versions, files and sha256 of the wheels: `pins.toml`."""
    return read_toml(Path(__file__).with_name("pins.toml"))


def pinned(python: str) -> list[IndexFile]:
    """Return the pinned wheels for a Python version."""
    return [
        IndexFile(package["name"], **package["files"][python])
        for package in read_pins()["wheels"]["package"]
    ]


def provide(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Return the pinned wheels for Linux x86_64; raise DownloadError if the index lacks one."""
    packages = pinned(python)
    platforms = read_pins()["wheels"]["platforms"]
    wheels = download_from_index(packages, DOWNLOADS, console, python, platforms)
    folder = RUNTIMES / f"wheels-{python}-{_key(packages)}"
    with files.lock(folder, f"unpacking the wheels for Python {python}", console.note):
        if not folder.exists():
            with files.temporary_folder(folder) as temporary:
                for package, wheel in zip(packages, wheels, strict=True):
                    _unpack(package, wheel, temporary)
                files.move_into_place(temporary, folder)
    return Runtime(
        python=python,
        folder=folder,
        components=tuple(map(_component, packages, wheels)),
        owner=_find_owners(packages, wheels, folder),
        origin="ready-made wheels",
        operators=operator_versions.of_wheels(),
    )


def _unpack(package: IndexFile, wheel: Path, folder: Path) -> None:
    """Unpack what ships of a wheel, without the libraries and imports that it can do without."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = prune.select_shipped(package.name, archive.namelist())
        archive.extractall(folder, shipped)
        strip.strip_wheel(archive, shipped, folder, prune.read_rules(package.name))
    for known in COMPILED_PACKAGES:
        if known.distribution == package.name:
            strip.slim_modules(known, package.version, folder / known.module)


def _find_owners(
    packages: Sequence[IndexFile], wheels: Sequence[Path], folder: Path
) -> dict[str, str]:
    """Return path -> package of each file in a folder of unpacked wheels."""
    owners: dict[str, str] = {}
    for package, wheel in zip(packages, wheels, strict=True):
        with zipfile.ZipFile(wheel) as archive:
            owners |= {path.partition("/")[0]: package.name for path in archive.namelist()}
    # Bytecode is from a Python that imported them here.
    return {path: owners[path.partition("/")[0]] for path in prune.list_files(folder)}


def _key(packages: list[IndexFile]) -> str:
    """Return a hash of what decides the files: the wheels, the lists, the recipe, the code."""
    total = hashlib.sha256(repr([package.sha256 for package in packages]).encode())
    total.update(digest(RECIPE).encode())
    modules = [Path(str(module.__file__)) for module in (prune, strip, elf_editor)]
    for path in (prune.PRUNE, Path(__file__), *modules):
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


def _component(package: IndexFile, wheel: Path) -> Component:
    """Return the provenance of a wheel."""
    pin = next(entry for entry in read_pins()["wheels"]["package"] if entry["name"] == package.name)
    with zipfile.ZipFile(wheel) as archive:
        texts = tuple(
            (f"{package.name}: {name.partition('.dist-info/')[2]}", archive.read(name).decode())
            for name in sorted(archive.namelist())
            if ".dist-info/" in name and _is_licence(name)
        )
    return Component(
        name=package.name,
        version=package.version,
        source=f"{package.file} (package index)",
        sha256=package.sha256,
        licence=pin["licence"],
        licence_texts=texts,
        purl=f"pkg:pypi/{package.name}@{package.version}",
        cpe=f"cpe:2.3:a:{pin['cpe']}:{package.version}:*:*:*:*:*:*:*",
        changes="Files, debug information and calls to libraries that are not needed were removed.",
    )


def _is_licence(name: str) -> bool:
    file = name.rpartition("/")[2].upper()
    return file.startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")) or "_LICENSE" in file
