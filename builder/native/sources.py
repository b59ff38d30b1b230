"""The sources of a build: fetched, extracted and patched."""

from pathlib import Path

from builder.native import unpack
from builder.native.debian import DebianArchive
from builder.native.fetch import Fetcher
from builder.native.hashing import digest
from builder.native.pins import read_pins
from builder.native.steps import RECIPE
from builder.native.toolchain import Toolchain

# The code that decides what an extracted source has.
_CODE = (Path(__file__), Path(unpack.__file__))


class Sources:
    """Fetches into BUILD/sources, extracts into BUILD/src.

    Attributes:
        folder: of the extracted sources.
        pins: the pins of the sources by name, for one Python or for all.
    """

    def __init__(self, toolchain: Toolchain, given: list[Path], python: str) -> None:
        self.pins = read_pins(python)
        self.folder = toolchain.folder.path / "src"
        self._toolchain = toolchain
        suites = {pin.suite for pin in self.pins.values() if pin.suite}
        self._fetcher = Fetcher(toolchain, DebianArchive(toolchain.folder, suites), given)

    def path(self, name: str) -> Path:
        """Return the folder of an extracted source."""
        return self.folder / self.pins[name].key

    def unpack(self, name: str) -> str:
        """Extract and patch a source; return the key of this step."""
        pin = self.pins[name]
        patches = [RECIPE / pin.folder / "patches" / file for file in pin.patches]
        inputs = [pin.sha256, repr(pin.only), *map(digest, patches), digest(*_CODE)]

        def work(folder: Path) -> None:
            unpack.extract(self._fetcher.fetch(pin), folder, pin.only)
            for patch in patches:
                command = ["patch", "-p1", "--fuzz=0", "-i", str(patch)]
                self._toolchain.run(command, f"src/{folder.name}", cwd=folder)

        return self._toolchain.folder.step(f"src/{pin.key}", inputs, work)
