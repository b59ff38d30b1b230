"""Cold starts, measured for real, of hello world; `test_bench.py` runs all of the measurements."""

from __future__ import annotations

import dataclasses
import re
import stat
import zipfile
import zlib
from pathlib import Path

import pytest

from bench.measure import cold, proxy
from bench.peers import peer as peers
from builder.base.paths import ROOT
from tests.conftest import interpreter
from tests.support.runs import empty

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


def test_what_the_proxy_takes(some_zip: Path) -> None:
    """The files are one stored of 29 bytes and one of 4,000 that is deflated."""
    prices = {"request": 1.0, "file": 10.0, "body": 0.0, "json": 0.0, "base64": 0.0}
    costs = proxy.Costs(**prices, inflate=1e6, write=0.0)
    spent = proxy.spent(some_zip, costs)
    assert (spent.receive, spent.unzip) == pytest.approx((1.0, 20.0 + 4000))
    costs = proxy.Costs(**prices, inflate=0.0, write=1e6)
    assert proxy.spent(some_zip, costs).unzip == pytest.approx(20.0 + 4029)
    for name in ("body", "json", "base64"):
        costs = proxy.Costs(**prices | {name: 1e6}, inflate=0.0, write=0.0)
        assert proxy.spent(some_zip, costs).receive == pytest.approx(1.0 + some_zip.stat().st_size)


def test_what_an_action_inflates_itself_is_only_written(tmp_path: Path) -> None:
    content = bytes(1_000_000)
    for name, how, inside in (
        ("deflated", zipfile.ZIP_DEFLATED, content),
        ("stored", zipfile.ZIP_STORED, zlib.compress(content)),
    ):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", how) as archive:
            archive.writestr("lib", inside)
    costs = proxy.Costs(file=0.0)
    assert proxy.spent(tmp_path / "deflated.zip", costs).unzip == pytest.approx(
        costs.inflate + costs.write
    )
    assert proxy.spent(tmp_path / "stored.zip", costs).unzip < 0.01


def test_pace_is_hello_world_to_that_of_the_prices() -> None:
    hello = peers.hello().archive
    spent = proxy.spent(hello)
    there = proxy.HELLO_WORLD - spent.receive - spent.unzip
    assert 190 < there < 200
    assert proxy.pace(hello, there) == pytest.approx(1)
    assert proxy.pace(hello, 2 * there) == pytest.approx(2)


def test_unzip_keeps_permissions(some_zip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "src"
    cold.unzip(some_zip, folder)
    assert (folder / "a" / "b" / "c.txt").read_bytes() == b"deep" * 1000
    assert stat.S_IMODE((folder / "exec").stat().st_mode) & 0o700 == 0o700
    assert not (folder / "a" / "b" / "c.txt").stat().st_mode & 0o111


def test_medians() -> None:
    stages = {"first run": [1.0, 3.0], "compile": [100.0, 100.0]}
    each = cold.Series([20.0, 40.0], proxy.Spent(5, 7), stages, [50.0, 50.0])
    assert each.measured() == 152
    result = each.result(pace=2)
    assert list(result.stages.items()) == [
        *[("receive", 10), ("unzip", 14), ("compile", 100), ("process", 30)],
        *[("imports and model", 20), ("first run", 2)],
    ]
    assert (result.total, result.start, result.ms) == (176, 50, [175, 177])


def test_stages(both: list[peers.Peer]) -> None:
    run = empty()
    cold.measure(both[0], both[1:], peers.image(), 2, b"no picture", run, lambda _: None)
    assert list(run.cold) == [peer.name for peer in both]
    for name, each in run.cold.items():
        stages = [stage for stage in cold.STAGES if stage != "compile" or name != SKIP_COMPILE]
        assert list(each.stages) == stages
        assert each.total == pytest.approx(sum(each.stages.values()))
        assert each.start > each.stages["process"] > 1
        assert len(each.ms) == 2
    assert run.pace and not run.problems
    hello = run.cold[peers.HELLO_WORLD].stages
    assert hello["receive"] == pytest.approx(proxy.PRICES.request * run.pace, rel=0.01)
    assert hello["unzip"] == pytest.approx(proxy.PRICES.file * run.pace, rel=0.01)


def test_an_interrupt_keeps_what_was_measured(both: list[peers.Peer]) -> None:
    run = empty()

    def interrupt(text: str) -> None:
        if text.startswith("cold: round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cold.measure(both[0], both[1:], peers.image(), 3, b"no picture", run, interrupt)
    assert [len(each.ms) for each in run.cold.values()] == [1, 1]


def test_a_peer_that_dies_ends_its_own_rounds_only(both: list[peers.Peer], tmp_path: Path) -> None:
    """Its second start fails; the others go on, and what it did until then stays."""
    path = tmp_path / "dies.zip"
    source = (
        "import os\n"
        f"known = {str(tmp_path / 'started')!r}\n"
        "if os.path.exists(known):\n    os._exit(7)\n"
        "open(known, 'w').close()\n"
        "def main(params): return {}\n"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", source)
    dies = peers.Peer("dies", path, both[0].interpreter)
    run = empty()
    cold.measure(both[0], [dies], peers.image(), 3, b"no picture", run, lambda _: None)
    assert {name: len(each.ms) for name, each in run.cold.items()} == {"hello world": 3, "dies": 1}
    assert list(run.problems) == ["cold, dies"]
    assert "exit status 7" in run.problems["cold, dies"]


def test_the_prices_in_the_documentation() -> None:
    page = (ROOT / "docs" / "internals.md").read_text("utf-8")
    table = re.findall(r"^\| ([a-zA-Z][^|]*) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert [float(ms) for _, ms in table] == list(dataclasses.astuple(proxy.PRICES))
    assert f"hello world took {proxy.HELLO_WORLD:g} ms" in page
