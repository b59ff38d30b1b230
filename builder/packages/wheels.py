"""The wheels provider: ready-made wheels from the package index, taken down to what is used."""

import hashlib
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from builder.base import files
from builder.base.console import Console
from builder.base.download import IndexFile, download_from_index
from builder.base.errors import DownloadError
from builder.base.paths import BUILD, DOWNLOADS
from builder.base.toml import read_toml
from builder.packages import Component, Runtime, RuntimeOptions, operator_versions, prune

# Unpacked wheels, per Python version.
RUNTIMES = BUILD / "runtimes"


@cache
def read_pins() -> dict[str, Any]:
    """Return versions, files and sha256 of the wheels: `pins.toml`."""
    return read_toml(Path(__file__).with_name("pins.toml"))


def provide(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Packages for `python` ("3.11") on Linux x86_64, whatever this machine is.

    Raises:
        DownloadError: the index does not deliver the pinned wheels, or one is not a wheel.
    """
    packages = pinned(python)
    folder = RUNTIMES / f"wheels-{python}-{_key(packages)}"
    platforms = read_pins()["wheels"]["platforms"]
    wheels = download_from_index(packages, DOWNLOADS, console, python, platforms)
    index = folder / "owner.json"
    with files.lock(folder, f"unpacking the wheels for Python {python}", console.note):
        if not index.exists():
            with files.temporary_folder(folder) as fresh:
                owner = {
                    path: package.name
                    for package, wheel in zip(packages, wheels, strict=True)
                    for path in unpack(wheel, fresh / "packages", package.name)
                }
                text = json.dumps(owner, indent=0, sort_keys=True)
                (fresh / index.name).write_text(text, "utf-8")
                files.move_into_place(fresh, folder)
    owner = json.loads(index.read_text("utf-8"))
    components = tuple(
        _component(package, wheel) for package, wheel in zip(packages, wheels, strict=True)
    )
    return Runtime(
        python,
        folder / "packages",
        components,
        owner,
        "ready-made wheels",
        operator_versions.of_wheels(),
    )


def unpack(wheel: Path, folder: Path, package: str) -> list[str]:
    """Unpack what ships of a package's wheel; returns the paths in it that were taken."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            taken = prune.select(package, archive.namelist())
            for name in taken:
                archive.extract(name, folder)
    except zipfile.BadZipFile as error:
        wheel.unlink()
        raise DownloadError(f"{wheel.name} is not a wheel: {error}", "run this again") from error
    return taken


def pinned(python: str) -> list[IndexFile]:
    """The wheels of `pins.toml` for a Python version."""
    return [
        IndexFile(package["name"], **package["files"][python])
        for package in read_pins()["wheels"]["package"]
    ]


def _key(packages: list[IndexFile]) -> str:
    """A hash of what decides which files are there: the wheels, the lists, the code."""
    total = hashlib.sha256(repr([package.sha256 for package in packages]).encode())
    for path in (prune.PRUNE, Path(prune.__file__), Path(__file__)):
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


def _component(package: IndexFile, wheel: Path) -> Component:
    pin = next(entry for entry in read_pins()["wheels"]["package"] if entry["name"] == package.name)
    with zipfile.ZipFile(wheel) as archive:
        texts = tuple(
            (f"{package.name}: {name.partition('.dist-info/')[2]}", archive.read(name).decode())
            for name in sorted(archive.namelist())
            if ".dist-info/" in name and _is_licence(name)
        )
    return Component(
        package.name,
        package.version,
        f"{package.file} (package index)",
        package.sha256,
        pin["licence"],
        texts,
        purl=f"pkg:pypi/{package.name}@{package.version}",
        cpe=f"cpe:2.3:a:{pin['cpe']}:{package.version}:*:*:*:*:*:*:*",
    )


def _is_licence(name: str) -> bool:
    file = name.rpartition("/")[2].upper()
    return file.startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")) or "_LICENSE" in file
