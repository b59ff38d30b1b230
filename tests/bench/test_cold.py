"""The cold suite, measured for real with hello world, and the proxy's estimate."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bench import results
from bench.measure.cold import STAGES, measure_cold, summarize
from bench.measure.proxy import HELLO_WORLD_MS, TIMES, estimate_proxy, proxy_factor
from bench.peers.hello import HELLO_PRECOMPILED, HELLO_WORLD, build_hello_world
from bench.peers.peer import PYTHON, Peer
from bench.results import PeerInfo
from tests.conftest import interpreter
from tests.support.runs import empty_session


@pytest.fixture
def some_zip(tmp_path: Path) -> Path:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("exec", "#!/usr/local/bin/python -ISB\n")
        archive.writestr("a/b/c.txt", b"deep" * 1000, zipfile.ZIP_DEFLATED)
    return path


def test_proxy_estimate_by_file_and_size(some_zip: Path) -> None:
    """The zip has a stored file of 29 bytes and a deflated one of 4,000."""
    free = dict.fromkeys(TIMES, 0.0)
    estimate = estimate_proxy(some_zip, free | {"request": 1.0, "file": 10.0, "inflate": 1e6})
    assert (estimate.receive, estimate.unzip) == pytest.approx((1.0, 20.0 + 4000))
    assert estimate_proxy(some_zip, free | {"write": 1e6}).unzip == pytest.approx(4029)
    for name in ("body", "json", "base64"):
        received = estimate_proxy(some_zip, free | {name: 1e6}).receive
        assert received == pytest.approx(some_zip.stat().st_size)


def test_proxy_factor_is_hello_worlds_ratio() -> None:
    interpreter(PYTHON)
    hello = build_hello_world().archive
    estimate = estimate_proxy(hello)
    there = HELLO_WORLD_MS - estimate.receive - estimate.unzip
    assert 190 < there < 200
    assert proxy_factor(hello, 2 * there) == pytest.approx(2)


# Ratios to hello world of the real proxy and launcher, measured on 2026-11-30, by CPU class.
REAL = {
    "avx2": {"this zip": 1.53, "this zip, precompiled": 0.75, "pip: tflite-runtime": 11.6},
    "avx512-vnni": {"this zip": 1.73, "this zip, precompiled": 0.78, "pip: tflite-runtime": 11.5},
}


def test_stored_ratios_agree_with_the_real_proxy() -> None:
    runs = {run.machine.cpu_class.slug: run for run in results.read_runs()}
    for cpu_class, ratios in REAL.items():
        cold = runs[cpu_class].cold
        emulated = {name: cold[name].total / cold[HELLO_WORLD].total for name in ratios}
        assert emulated == pytest.approx(ratios, rel=0.15), cpu_class


def test_summary_has_medians_and_scaled_proxy(some_zip: Path) -> None:
    times = {"compile": [100.0, 100.0], "start": [50.0, 52.0], "first run": [1.0, 3.0]}
    cold = summarize(Peer("some", some_zip, ""), times, factor=2)
    proxy = estimate_proxy(some_zip)
    assert list(cold.stages) == list(STAGES)
    expected = [2 * proxy.receive, 2 * proxy.unzip, 100, 51, 2]
    assert list(cold.stages.values()) == pytest.approx(expected, abs=1e-3)
    assert cold.total == pytest.approx(sum(expected), abs=2e-3)
    assert cold.ms == pytest.approx([cold.total - 2, cold.total + 2], abs=2e-3)
    image = Peer("image", some_zip, "", PeerInfo(is_image=True))
    assert summarize(image, times, factor=2).total == 153


def test_stages_of_hello_world() -> None:
    interpreter(PYTHON)
    session = empty_session("cold", 2)
    measure_cold(session)
    run = session.run
    assert list(run.cold) == [HELLO_WORLD, HELLO_PRECOMPILED]
    for name, cold in run.cold.items():
        stages = [stage for stage in STAGES if stage != "compile" or name == HELLO_WORLD]
        assert list(cold.stages) == stages
        assert cold.total == pytest.approx(sum(cold.stages.values()))
        assert len(cold.ms) == 2
    assert run.proxy_factor and not run.problems
    receive = run.cold[HELLO_WORLD].stages["receive"]
    assert receive == pytest.approx(TIMES["request"] * run.proxy_factor, rel=0.01)
