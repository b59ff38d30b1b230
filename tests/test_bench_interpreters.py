"""Interpreters, one inference at a time: with processes that do as a real one does, or die."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import peers
from bench.command import _command
from bench.interpreters import measure
from bench.interpreters.contenders import Build, Contender
from bench.interpreters.worker import Worker
from bench.results import OUR, XNNPACK
from builder.errors import BuildError
from builder.paths import ROOT
from tests.conftest import interpreter
from tests.runs import empty

FAKE = """\
import os
class Interpreter:
    def __init__(self, model_path, num_threads):
        assert num_threads == 1
        self.left = int(open(model_path).read())
    def allocate_tensors(self): pass
    def get_input_details(self): return [{"index": 0, "shape": (1, 2, 2, 3), "dtype": "uint8"}]
    def set_tensor(self, index, value): pass
    def invoke(self):
        self.left -= 1
        if self.left < 0: os._exit(7)
"""
"""Lives for as many inferences as its "model" says; three are run before it answers."""
NUMPY = """\
class _Array:
    def __mul__(self, other): return self
    def __mod__(self, other): return self
    def reshape(self, shape): return self
    def astype(self, dtype): return self
def arange(count): return _Array()
def prod(shape): return 12
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with an interpreter of a few lines."""
    folder = tmp_path / "packages"
    for name, text in (("tflite_runtime/interpreter.py", FAKE), ("numpy.py", NUMPY)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def lives(folder: Path, inferences: int) -> Path:
    """A "model" for so many inferences after those at the start."""
    path = folder / f"{inferences}.tflite"
    path.write_text(str(inferences + 3))
    return path


def test_one_that_dies_ends_its_own_rounds_only(packages: Path, tmp_path: Path) -> None:
    compared = [
        Contender("good", "s8 x s8", packages, lives(tmp_path, 99)),
        Contender("dies", "s8 x s8", packages, lives(tmp_path, 2), OUR, "AVX2 without VNNI"),
        Contender("never starts", "s8 x s8", packages, lives(tmp_path, -1)),
    ]
    run = empty()
    measure.measure(compared, interpreter(peers.PYTHON), 4, run, lambda _: None)
    assert [(each.interpreter, len(each.ms)) for each in run.inference] == [
        ("good", 4),
        ("dies", 2),
    ]
    assert (run.inference[1].kernels, run.inference[1].forced) == (OUR, "AVX2 without VNNI")
    assert list(run.problems) == [
        "inference, never starts, s8 x s8",
        "inference, dies, s8 x s8, our kernels, AVX2 without VNNI",
    ]
    assert all("exit status 7" in problem for problem in run.problems.values())


def test_an_interrupt_keeps_what_was_measured(packages: Path, tmp_path: Path) -> None:
    def interrupt(text: str) -> None:
        if "round 3" in text:
            raise KeyboardInterrupt

    run = empty()
    compared = [Contender("good", "s8 x s8", packages, lives(tmp_path, 99))]
    with pytest.raises(KeyboardInterrupt):
        measure.measure(compared, interpreter(peers.PYTHON), 9, run, interrupt)
    assert [len(each.ms) for each in run.inference] == [2]


def test_what_a_worker_died_of_is_said(packages: Path, tmp_path: Path) -> None:
    model = tmp_path / "not.tflite"
    model.write_text("no number")
    with pytest.raises(BuildError, match=r"(?s)bad: expected to load not\.tflite.*ValueError"):
        Worker("bad", interpreter(peers.PYTHON), packages, model)


def test_builds_from_the_command_line(packages: Path) -> None:
    build = Build.parsed(f"xnnpack:avx2={packages}")
    assert build == Build(XNNPACK, "avx2", packages)
    assert Build.parsed(f"our={packages}") == Build(OUR, "", packages)
    for wrong in (f"theirs={packages}", f"our:avx3={packages}", "our:avx2", "our=/none"):
        with pytest.raises(ValueError, match="expected .*found"):
            Build.parsed(wrong)


def test_no_folder_of_this_machine_is_published() -> None:
    command = _command(["--model", "/x/a.tflite", "--build", "our:avx2=/home/me", "--publish"])
    assert command == "python -m bench --model MODEL --build our:avx2=DIR"


@pytest.mark.parametrize("command", [["bench.interpreters"], ["bench", "interpreters"]])
def test_from_a_plain_shell(command: list[str]) -> None:
    """The environment is prepared by the command itself: -S hides what this Python has."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", *command, "--help"],
        cwd=ROOT,
        env={"HOME": os.environ.get("HOME", "")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "python -m bench interpreters" in done.stdout
    assert "--inferences" in done.stdout
