"""The sources: fetched, unpacked, patched."""

from __future__ import annotations

from pathlib import Path

from builder.native import unpack
from builder.native.debian import Archive
from builder.native.fetch import Fetcher
from builder.native.pins import pins
from builder.native.recipe import digest
from builder.native.steps import HERE
from builder.native.toolchain import Toolchain


class Sources:
    """Fetches into BUILD/sources, unpacks into BUILD/src.

    Attributes:
        folder: the unpacked sources.
        pins: what is pinned, for one Python or for all (see `pins.pins`).
    """

    def __init__(self, toolchain: Toolchain, given: list[Path], python: str) -> None:
        self.pins = pins(python)
        self.folder = toolchain.builder.folder / "src"
        self._toolchain = toolchain
        archive = Archive(toolchain.builder, [pin.suite for pin in self.pins.values() if pin.suite])
        self._fetcher = Fetcher(toolchain, archive, given)

    def fetch(self) -> None:
        """Have every file.

        Raises:
            BuildError: nobody delivers one.
        """
        for pin in self.pins.values():
            self._fetcher.fetch(pin)

    def path(self, name: str) -> Path:
        """The folder of an unpacked source."""
        return self.folder / self.pins[name].key

    def unpack(self, name: str) -> str:
        """Have the source in its folder, patched; returns its key.

        Raises:
            BuildError: nobody delivers its file, or a patch does not apply.
        """
        pin = self.pins[name]
        patches = [HERE / pin.folder / "patches" / file for file in pin.patches]
        inputs = [pin.sha256, repr(pin.only), *map(digest, patches), digest(Path(unpack.__file__))]

        def work(folder: Path) -> None:
            unpack.unpack(self._fetcher.fetch(pin), folder, pin.only)
            for patch in patches:
                unpack.apply(self._toolchain, patch, folder)

        return self._toolchain.builder.step(f"src/{pin.key}", inputs, work)
