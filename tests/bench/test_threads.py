"""The comparison of one thread with two."""

from __future__ import annotations

from pathlib import Path

from bench.threads import Scene, format_table, run_scene, summarize
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.conftest import interpreter
from tests.support.compiled import PYTHON, needs_compiled
from tests.support.models import write_float_network


@needs_compiled
def test_all_processes_of_a_scene_answer(tmp_path: Path) -> None:
    model = write_float_network(tmp_path / "network.tflite")
    packages = compiled.cache_folder(PYTHON, DEFAULT_OPTIONS)
    results = run_scene(Scene(2), interpreter(PYTHON), packages, model, 2, 0.2)
    assert len(results) == 2
    assert all(result["times"] and result["megabytes"] > 5 for result in results)


def test_two_threads_are_compared_with_one() -> None:
    one = summarize([{"times": [4.0] * 30, "megabytes": 30.0}], seconds=1.0)
    two = summarize([{"times": [2.0] * 60, "megabytes": 31.0}], seconds=1.0)
    rounds = {(Scene(1), "ours", 1): [one], (Scene(1), "ours", 2): [two, two]}
    *_, last = format_table({**rounds, (Scene(2), "ours", 1): []}).splitlines()
    expected = "| alone | ours | 2 | 2.00 | 0.50 | 2.00 | 60 | 2.00 | 31.0 |"
    assert last.replace(" ", "") == expected.replace(" ", "")
