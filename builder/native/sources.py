"""The sources: pinned beside the package that they go into, unpacked, patched."""

import re
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from builder.native.debian import Archive
from builder.native.fetch import Fetcher
from builder.native.recipe import digest, toml
from builder.native.steps import HERE
from builder.native.toolchain import Toolchain

PACKAGES = ("xnnpack", "tflite", "numpy", "pillow")
"""The folders beside this file, in the order in which they are built."""


@cache
def pins() -> dict[str, dict[str, Any]]:
    """Every source's pin, by its name: file, hashes, origin; `folder` is the package's."""
    return {
        name: {**pin, "folder": folder}
        for folder in PACKAGES
        for name, pin in toml(HERE / folder / "pins.toml").items()
    }


class Sources:
    """Fetches into BUILD/sources, unpacks into BUILD/src/NAME.

    Attributes:
        folder: the unpacked sources.
    """

    def __init__(self, toolchain: Toolchain, given: list[Path]) -> None:
        self._toolchain = toolchain
        suites = [pin["debian"]["suite"] for pin in pins().values() if "debian" in pin]
        archive = Archive(toolchain.builder, suites)
        self._fetcher = Fetcher(toolchain, archive, given)
        self.folder = toolchain.builder.folder / "src"

    def fetch(self) -> None:
        """Have every source's file.

        Raises:
            BuildError: nobody delivers one.
        """
        for name, pin in pins().items():
            self._fetcher.fetch(name, pin)

    def unpack(self, name: str) -> str:
        """Have the source in `folder / name`, patched; returns its key."""
        pin = pins()[name]
        only = tuple(pin.get("only", ()))
        patches = [HERE / pin["folder"] / "patches" / file for file in pin.get("patches", ())]
        inputs = [pin["sha256"], repr(only), *map(digest, patches), digest(Path(__file__))]

        def work(folder: Path) -> None:
            _extract(self._fetcher.fetch(name, pin), folder, only)
            for patch in patches:
                command = ["patch", "-p1", "--fuzz=0", "-i", str(patch)]
                self._toolchain.run(command, f"src/{name}", cwd=folder)

        return self._toolchain.builder.step(f"src/{name}", inputs, work)


def _extract(archive: Path, folder: Path, wanted: tuple[str, ...]) -> None:
    """Unpack, without the archive's only top folder; of links only those within the archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
        return
    with tarfile.open(archive) as tar:
        members = [m for m in tar if m.isfile() or m.issym()]
        names = [re.sub(r"^\./", "", m.name) for m in members]
        only_top = len({name.split("/")[0] for name in names}) == 1
        for member, name in zip(members, names, strict=True):
            path = name.partition("/")[2] if only_top else name
            if ".." in path.split("/") or (wanted and not path.startswith(wanted)):
                continue
            if member.issym() and (member.linkname.startswith("/") or ".." in member.linkname):
                continue
            member.name = path
            member.mode |= 0o600
            tar.extract(member, folder)
