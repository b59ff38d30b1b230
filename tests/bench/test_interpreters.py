"""Interpreters, one inference at a time: with processes that do as a real one does, or die."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import machine
from bench.cli import _command
from bench.measure import inference as measure
from bench.measure import networks as contenders
from bench.measure.interpreter import Worker
from bench.measure.networks import Contender, Variant
from bench.peers import peer as peers
from bench.results import OUR, XNNPACK
from builder.base.errors import BuildError
from tests.conftest import interpreter
from tests.support.runs import empty

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
        Contender("good", "s8 x s8", (packages,), lives(tmp_path, 99)),
        Contender("dies", "s8 x s8", (packages,), lives(tmp_path, 2), OUR, "AVX2 without VNNI"),
        Contender("never starts", "s8 x s8", (packages,), lives(tmp_path, -1)),
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
    compared = [Contender("good", "s8 x s8", (packages,), lives(tmp_path, 99))]
    with pytest.raises(KeyboardInterrupt):
        measure.measure(compared, interpreter(peers.PYTHON), 9, run, interrupt)
    assert [len(each.ms) for each in run.inference] == [2]


def test_what_a_worker_died_of_is_said(packages: Path, tmp_path: Path) -> None:
    model = tmp_path / "not.tflite"
    model.write_text("no number")
    with pytest.raises(BuildError, match=r"(?s)bad: expected to load not\.tflite.*ValueError"):
        Worker("bad", interpreter(peers.PYTHON), [packages], model)


def test_variants_that_were_compiled(tmp_path: Path) -> None:
    for name in ("avx2", "xnnpack-avx2", "avx512", "something-else"):
        (tmp_path / "cp311" / name / "tflite_runtime").mkdir(parents=True)
    (tmp_path / "cp311" / "xnnpack").mkdir()  # not whole
    newer, other, same, older = (
        machine.cpu_class(has)
        for has in (("AVX2", "AVX512-VNNI"), ("AVX2", "AVX-VNNI"), ("AVX2",), ())
    )
    compared = dict(contenders.variants(tmp_path, newer))
    assert compared == {
        Variant(OUR, "avx2"): tmp_path / "cp311" / "avx2",
        Variant(XNNPACK, "avx2"): tmp_path / "cp311" / "xnnpack-avx2",
        Variant(OUR, "avx512"): tmp_path / "cp311" / "avx512",
    }
    assert Variant(OUR, "avx512") not in dict(contenders.variants(tmp_path, other))
    assert not dict(contenders.variants(tmp_path, older))
    assert not dict(contenders.variants(tmp_path, same))
    assert not dict(contenders.variants(tmp_path / "none", newer))


def test_a_variant_comes_before_the_packages(packages: Path, tmp_path: Path) -> None:
    """What it brings is taken from it, the rest from the packages."""
    variant = tmp_path / "variant" / "tflite_runtime"
    variant.mkdir(parents=True)
    dies = FAKE.replace("self.left < 0", "True")
    (variant / "interpreter.py").write_text(dies)
    model = lives(tmp_path, 99)
    Worker("shipped", interpreter(peers.PYTHON), [packages], model).__exit__(None, None, None)
    with pytest.raises(BuildError, match="exit status 7"):
        Worker("variant", interpreter(peers.PYTHON), [variant.parent, packages], model)


def test_no_folder_of_this_machine_is_published() -> None:
    command = _command(["--model", "/x/a.tflite", "--variants", "/home/me", "--publish"])
    assert command == "python -m bench --model MODEL --variants DIR"
