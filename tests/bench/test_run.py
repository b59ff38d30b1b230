"""`python3 -m bench` from end to end: complete results, reports, wrong options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import results
from bench.cli import shareable_command
from bench.peers.peer import PYTHON
from builder.base.paths import ROOT
from tests.conftest import interpreter

NAMES = [
    *["this zip", "this zip, precompiled", "this zip, wheels", "pip: tflite-runtime"],
    *["pip: ai-edge-litert", "pip: onnxruntime", "TF.js, wasm"],
]


def run_bench(*arguments: str, status: int = 0) -> str:
    """Run `python3 -m bench` without the tests' own settings; return its errors."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("CLASSIFY_")}
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def names(thorough: bool) -> list[str]:
    """Return the peers: our portable and precompiled zips, or all of them."""
    return NAMES if thorough else NAMES[:2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, imagenet_model: str, names: list[str]) -> Path:
    """Return the folder of a run with all suites, as short as can be."""
    interpreter(PYTHON)
    folder = tmp_path_factory.mktemp("report")
    counts = ["--warm", "4", "--cold", "1", "--peers", *names]
    is_path = Path(imagenet_model).exists()  # processes with other folders have to find it
    model = os.path.relpath(imagenet_model, ROOT) if is_path else imagenet_model
    run_bench("--quick", *counts, "--model", model, "--output", str(folder))
    return folder


def test_every_suite_measures_every_peer(report: Path, names: list[str]) -> None:
    [run] = results.read_runs(report / "results")
    assert list(run.peers) == names
    for name, info in run.peers.items():
        assert info.problem == "", name
        assert info.answer and info.answer.class_name == "espresso"
        assert info.versions
    assert list(run.size) == list(run.memory) == names
    assert {*run.warm} == {"bare interpreter", *names}
    assert {*run.cold} == {"hello world", "hello, precompiled", *names}
    assert len(run.warm["this zip"].ms) == 4
    too_large = {"pip: ai-edge-litert", "pip: onnxruntime"} & {*names}
    assert {name for name in names if run.size[name].over_limit} == too_large
    for name in names:
        memory = run.memory[name]
        assert memory.peak >= memory.resident > memory.private > 1e6
        assert ("unzip" in run.cold[name].stages) == (not run.peers[name].is_image)
    assert not run.problems


def test_reports_from_stored_results_are_the_same(report: Path, tmp_path: Path) -> None:
    [path] = (report / "results").iterdir()
    run_bench("--from", str(path), "--output", str(tmp_path))
    written = [path.relative_to(report) for path in report.rglob("*.*")]
    assert Path("RESULTS.md") in written
    for path in written:
        assert (tmp_path / path).read_bytes() == (report / path).read_bytes(), path


def test_wrong_options_end_with_a_message(imagenet_model: str) -> None:
    errors = run_bench("--peers", "TF.js", "--model", imagenet_model, status=1)
    assert "expected some of this zip, " in errors and errors.endswith("found TF.js\n")
    assert "expected at least 1, found 0" in run_bench("--cold", "0", status=2)
    for option in (("--only", "size"), ("--peers", "this zip")):
        errors = run_bench("--publish", *option, status=2)
        assert f"--publish: expected a whole run, found {option[0]}" in errors


def test_published_command_has_no_paths() -> None:
    command = shareable_command(["--model", "/x/a.tflite", "--output", "/home/me", "--publish"])
    assert command == "python3 -m bench --model MODEL --output DIR"
