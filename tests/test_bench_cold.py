"""Cold starts, measured for real, of hello world; `test_bench.py` runs all of the measurements."""

from __future__ import annotations

import base64
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bench import cold, peers
from tests.conftest import interpreter

SKIP_COMPILE = "hello, precompiled"


@pytest.fixture
def some_zip(tmp_path: Path) -> Path:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        start = zipfile.ZipInfo("exec")
        start.external_attr = 0o100755 << 16
        archive.writestr(start, "#!/usr/local/bin/python -ISB\n")
        archive.writestr("a/b/c.txt", b"deep" * 1000, zipfile.ZIP_DEFLATED)
    return path


@pytest.fixture(scope="module")
def both() -> list[peers.Peer]:
    interpreter(peers.PYTHON)
    return [peers.hello(), peers.hello(precompiled=True)]


def test_what_is_sent_is_what_arrives(some_zip: Path) -> None:
    body = cold.request(some_zip)
    value = json.loads(body)["value"]
    assert (value["main"], value["binary"]) == ("main", True)
    assert base64.b64decode(value["code"]) == cold.received(body) == some_zip.read_bytes()


def test_unzip_keeps_permissions(some_zip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "src"
    cold.unzip(some_zip.read_bytes(), folder)
    assert (folder / "a" / "b" / "c.txt").read_bytes() == b"deep" * 1000
    assert stat.S_IMODE((folder / "exec").stat().st_mode) & 0o700 == 0o700
    assert not (folder / "a" / "b" / "c.txt").stat().st_mode & 0o111


def test_medians() -> None:
    stages = {"first run": [1.0, 3.0], "receive": [4.0, 6.0], "compile": [100.0, 100.0]}
    found = cold.Cold([20.0, 40.0], stages, [50.0, 50.0]).found()
    assert list(found["stages"].items()) == [
        *[("receive", 5), ("compile", 100), ("process", 30)],
        *[("imports and model", 20), ("first run", 2)],
    ]
    assert (found["total"], found["start"], found["ms"]) == (157, 50, [155, 159])


def test_stages(both: list[peers.Peer]) -> None:
    found: dict[str, Any] = {}
    cold.measure(both, peers.image(), 2, b"no picture", found, lambda _: None)
    assert list(found["cold"]) == [peer.name for peer in both]
    for name, each in found["cold"].items():
        stages = [stage for stage in cold.STAGES if stage != "compile" or name != SKIP_COMPILE]
        assert list(each["stages"]) == stages
        assert each["total"] == pytest.approx(sum(each["stages"].values()))
        assert each["start"] > each["stages"]["process"] > 1
        assert len(each["ms"]) == 2


def test_an_interrupt_keeps_what_was_measured(both: list[peers.Peer]) -> None:
    found: dict[str, Any] = {}

    def interrupt(text: str) -> None:
        if text.startswith("cold: round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cold.measure(both, peers.image(), 3, b"no picture", found, interrupt)
    assert [len(each["ms"]) for each in found["cold"].values()] == [1, 1]
