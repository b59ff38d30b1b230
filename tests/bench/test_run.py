"""`python3 -m bench` from end to end: complete results, reports, interrupts, wrong options."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import results
from bench.cli import shareable_command
from bench.peers.peer import PYTHON
from bench.results import Run
from builder.base.paths import ROOT
from tests.conftest import interpreter

NAMES = [
    *["this zip", "this zip, precompiled", "this zip, wheels", "pip: tflite-runtime"],
    *["pip: ai-edge-litert", "pip: onnxruntime", "TF.js, wasm", "TF.js, plain JS"],
]


def start_bench(*arguments: str) -> subprocess.Popen[str]:
    """Start `python3 -m bench` without the tests' own settings."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("CLASSIFY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_bench(*arguments: str, status: int = 0) -> str:
    """Run it; return its output, or its errors if it is to fail."""
    process = start_bench(*arguments)
    output, errors = process.communicate()
    assert process.returncode == status, errors
    return output if status == 0 else errors


@pytest.fixture(scope="module")
def names(thorough: bool) -> list[str]:
    """Return the peers: our portable and precompiled zips, or all of them."""
    return NAMES if thorough else NAMES[:2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, imagenet_model: str, names: list[str]) -> Path:
    """Return the folder of a run with all suites, as short as can be."""
    interpreter(PYTHON)
    folder = tmp_path_factory.mktemp("report")
    counts = ["--warm", "4", "--cold", "1", "--inferences", "2", "--peers", *names]
    is_path = Path(imagenet_model).exists()  # processes with other folders have to find it
    model = os.path.relpath(imagenet_model, ROOT) if is_path else imagenet_model
    run_bench("--quick", *counts, "--model", model, "--output", str(folder))
    return folder


def read_results(folder: Path) -> Run:
    [run] = results.read_runs(folder / "results")
    return run


def test_all_peers_answer_the_sample_rightly(report: Path, names: list[str]) -> None:
    peers = read_results(report).peers
    assert list(peers) == names
    for name, info in peers.items():
        assert info.problem == "", name
        assert info.answer and info.answer.class_name == "espresso"
        assert info.versions and info.is_ours == (name in NAMES[:3])


def test_every_suite_measures_every_peer(report: Path, names: list[str]) -> None:
    run = read_results(report)
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
    assert not run.interrupted and not run.problems


def test_every_interpreter_runs_the_model(report: Path, names: list[str]) -> None:
    inference = read_results(report).inference
    expected = {("this zip", "s8 x s8"), ("this zip", "u8 x u8")}
    for name in {"pip: tflite-runtime", "pip: ai-edge-litert"} & {*names}:
        expected |= {(name, "s8 x s8"), (name, "u8 x u8")}
    if "pip: onnxruntime" in names:
        expected.add(("pip: onnxruntime", "u8 x s8"))
    assert {(each.peer, each.types) for each in inference} == expected
    assert {len(each.ms) for each in inference} == {2}


def test_reports_from_stored_results_are_the_same(report: Path, tmp_path: Path) -> None:
    [path] = (report / "results").iterdir()
    run_bench("--from", str(path), "--output", str(tmp_path))
    written = [path.relative_to(report) for path in report.rglob("*.*")]
    assert Path("RESULTS.md") in written
    for path in written:
        assert (tmp_path / path).read_bytes() == (report / path).read_bytes(), path


@pytest.mark.parametrize(
    "end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
def test_interrupt_keeps_figures(
    report: Path, tmp_path: Path, imagenet_model: str, end: signal.Signals
) -> None:
    arguments = ["--quick", "--warm", "100000", "--only", "size", "warm"]
    arguments += ["--peers", "this zip, precompiled"]
    process = start_bench(*arguments, "--model", imagenet_model, "--output", str(tmp_path))
    assert process.stderr
    for line in process.stderr:
        if "warm: round" in line and "round 1 " not in line:
            break
    os.killpg(process.pid, end)  # as a terminal does: also to the processes that it started
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    run = read_results(tmp_path)
    assert run.interrupted
    assert list(run.peers) == NAMES[:2]
    assert run.warm["this zip"].ms
    assert not run.cold
    assert (tmp_path / "RESULTS.md").exists()


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
