"""What the benchmark's tests share: peers of a few lines."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.peers.peer import PYTHON, Peer
from tests.conftest import interpreter


@pytest.fixture
def make_peer(tmp_path: Path) -> Callable[[str, str], Peer]:
    """Return a function that makes a peer from its name and the source of its action."""
    python = interpreter(PYTHON)

    def make(name: str, source: str) -> Peer:
        archive = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("__main__.py", source)
        return Peer(name, archive, python)

    return make
