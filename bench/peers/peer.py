"""A peer: one of the zips or images that are compared, which can be started as an action."""

from __future__ import annotations

import atexit
import tempfile
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.results import PeerInfo
from builder.artifact.actionloop import RunningAction, unpack_zip
from builder.base import cpython
from builder.base.archive import read_zip
from builder.base.cpython import PythonExecutable
from builder.base.errors import BuildError
from builder.base.paths import BUILD, ENVIRONMENTS

# The peers' finished zips: they hold the model, so each checkout has its own.
ZIPS = BUILD / "bench"
# Installed packages of the peers, shared by the user's checkouts.
PACKAGES = ENVIRONMENTS / "peers"
# The last Python that tflite-runtime has wheels for.
PYTHON = "3.11"


@dataclass(frozen=True)
class Peer:
    """One of what is compared.

    Attributes:
        name: its name in tables and plots.
        archive: the zip that is deployed; of a custom image, what the image adds to its base. It
            has a `__main__.py`, or an executable `exec` as precompiled zips do.
        executable: path of the CPython that runs it, or of Node.js for an `exec` in JavaScript.
        info: the facts that reports need.
    """

    name: str
    archive: Path
    executable: str
    info: PeerInfo = field(default_factory=PeerInfo)

    def launched(self) -> AbstractContextManager[RunningAction]:
        """Start it as an action, which answers until the block ends."""
        return closing(RunningAction(self.unpacked, self.executable, {}, isolated=True))

    @cached_property
    def unpacked(self) -> Path:
        """A folder with its unpacked files, which lives as long as this process."""
        folder = tempfile.TemporaryDirectory(prefix=f"{self.archive.stem}-")
        atexit.register(folder.cleanup)
        unpack_zip(self.archive, Path(folder.name) / "bin")
        return Path(folder.name) / "bin"


def find_python() -> PythonExecutable:
    """Return the CPython that runs the peers; raises BuildError if there is none."""
    python = cpython.find_python(PYTHON)
    if python is None or not python.runs_zips:
        raise BuildError(
            f"expected Python {PYTHON} on linux-x86_64, found none", "install it, then run again"
        )
    return python


def extract_model(archive: Path, folder: Path) -> Path:
    """Write the .tflite of one of our zips into a folder and return its path."""
    [name, content] = next(
        each for each in read_zip(archive).files.items() if each[0].endswith(".tflite")
    )
    path = folder / name.rpartition("/")[2]
    path.write_bytes(content)
    return path
