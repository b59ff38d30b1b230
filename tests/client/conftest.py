"""What the tests of the client share: a build, pictures, the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client import cli, http_client
from tests.support.local_server import copy_client
from tests.support.models import ColourModel

Run = Callable[..., tuple[int, list[Any], str]]


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, colour_zip: Callable[[ColourModel], Path]
) -> Path:
    """Return a copy of the client with a build of a small model."""
    return copy_client(tmp_path_factory.mktemp("built"), colour_zip(ColourModel("uint8")))


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten delays, and use no proxy for loopback."""
    monkeypatch.setattr(http_client, "DELAY", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("CLASSIFY_SECRET", raising=False)


def make_pictures(folder: Path, count: int) -> Path:
    """Write so many files that the fake function takes for pictures."""
    folder.mkdir()
    width = len(str(count - 1))
    for number in range(count):
        (folder / f"{number:0{width}}.png").write_bytes(b"picture %d" % number)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures", 6)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; return the exit status, the answers and standard error."""

    def run(*arguments: str | Path) -> tuple[int, list[Any], str]:
        try:
            status: Any = cli.run([str(argument) for argument in arguments])
        except SystemExit as exit:
            status = exit.code
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return run
