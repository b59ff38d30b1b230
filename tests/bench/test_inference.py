"""The inference suite, with an interpreter of a few lines that runs or dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measure.inference import Contender, measure_inference, start_interpreter
from bench.peers.peer import PYTHON
from bench.results import Inference
from builder.base.errors import BuildError
from tests.conftest import interpreter
from tests.support.runs import empty_run

# It runs as many inferences as its "model" says; three come before the first answer.
INTERPRETER = """\
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
    """Return a folder with the interpreter."""
    folder = tmp_path / "packages"
    for name, text in (("tflite_runtime/interpreter.py", INTERPRETER), ("numpy.py", NUMPY)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def make_contender(name: str, packages: Path, inferences: int) -> Contender:
    """Return a contender that dies after so many inferences."""
    model = packages.parent / f"{inferences}.tflite"
    model.write_text(str(inferences + 3))
    return Contender(Inference(name, "some interpreter", "s8 x s8"), packages, model)


def test_dead_interpreter_leaves_and_others_go_on(packages: Path) -> None:
    counts = {"good": 99, "dies": 2, "never starts": -1}
    contenders = [make_contender(name, packages, count) for name, count in counts.items()]
    run = empty_run()
    measure_inference(contenders, interpreter(PYTHON), 4, run, lambda _: None)
    assert [(each.peer, len(each.ms)) for each in run.inference] == [("good", 4), ("dies", 2)]
    assert {*run.problems} == {"inference, never starts, s8 x s8", "inference, dies, s8 x s8"}
    assert all("exit status 7" in problem for problem in run.problems.values())


def test_interrupt_keeps_inferences(packages: Path) -> None:
    def interrupt(text: str) -> None:
        if "round 3" in text:
            raise KeyboardInterrupt

    run, contenders = empty_run(), [make_contender("good", packages, 99)]
    with pytest.raises(KeyboardInterrupt):
        measure_inference(contenders, interpreter(PYTHON), 9, run, interrupt)
    assert [len(each.ms) for each in run.inference] == [2]


def test_error_has_the_interpreters_own_message(packages: Path, tmp_path: Path) -> None:
    model = tmp_path / "not.tflite"
    model.write_text("no number")
    with (
        pytest.raises(BuildError, match=r"(?s)ValueError.*no number"),
        start_interpreter(interpreter(PYTHON), packages, model),
    ):
        pass
