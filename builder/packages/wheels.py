"""Ready-made wheels from the package index, unpacked without the files that do not ship."""

import hashlib
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from builder.base import files
from builder.base.console import Console
from builder.base.download import IndexFile, download_from_index
from builder.base.paths import BUILD, DOWNLOADS
from builder.base.toml import read_toml
from builder.packages import Component, Runtime, RuntimeOptions, operator_versions, prune

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
    """Return the pinned wheels for Linux x86_64, whatever this machine is.

    Raises:
        DownloadError: the index does not deliver a wheel.
    """
    packages = pinned(python)
    platforms = read_pins()["wheels"]["platforms"]
    wheels = download_from_index(packages, DOWNLOADS, console, python, platforms)
    folder = RUNTIMES / f"wheels-{python}-{_key(packages)}"
    shipped = list(map(_shipped_files, packages, wheels))
    with files.lock(folder, f"unpacking the wheels for Python {python}", console.note):
        if not folder.exists():
            with files.temporary_folder(folder) as temporary:
                for wheel, paths in zip(wheels, shipped, strict=True):
                    with zipfile.ZipFile(wheel) as archive:
                        archive.extractall(temporary / "packages", paths)
                files.move_into_place(temporary, folder)
    names = [package.name for package in packages]
    owner = {path: name for name, paths in zip(names, shipped, strict=True) for path in paths}
    return Runtime(
        python=python,
        folder=folder / "packages",
        components=tuple(map(_component, packages, wheels)),
        owner=dict(sorted(owner.items())),
        origin="ready-made wheels",
        operators=operator_versions.of_wheels(),
    )


def _shipped_files(package: IndexFile, wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return prune.select_shipped(package.name, archive.namelist())


def _key(packages: list[IndexFile]) -> str:
    """Return a hash of what decides which files are there: the wheels, the lists, the code."""
    total = hashlib.sha256(repr([package.sha256 for package in packages]).encode())
    for path in (prune.PRUNE, Path(prune.__file__), Path(__file__)):
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
    )


def _is_licence(name: str) -> bool:
    file = name.rpartition("/")[2].upper()
    return file.startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")) or "_LICENSE" in file
