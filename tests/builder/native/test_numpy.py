"""The compiled numpy: arrays, data types and ufuncs; other names say that they were left out."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.base.paths import ROOT
from builder.native.pins import read_pins
from tests.conftest import PYTHONS
from tests.support.compiled import needs_compiled, run_with_zip

Make = Callable[..., Path]
pytestmark = needs_compiled

NUMPY = """
import pickle, sys
import numpy as np
a = np.arange(12.0).reshape(3, 4)
assert (np.clip(a, 2, 9) == np.minimum(np.maximum(a, 2), 9)).all()
assert repr(a[:, :2]) == "array([[0., 1.],\\n       [4., 5.],\\n       [8., 9.]])"
assert str(np.float32(0.1)) == "0.1" and repr(np.uint8(7)) == "np.uint8(7)"
assert a.sum() == 66 and a.mean() == 5.5 and a.std() > 3 and a.max() == 11 and (a >= 0).all()
assert np.mean(a, where=a > 5) == 8.5
assert np.mean(a, axis=0, where=[[True], [False], [True]])[0] == 4
assert np.sort([3, 1, 2]).tolist() == [1, 2, 3] == np.array([9, 1, 2, 3])[[1, 2, 3]].tolist()
assert np.argsort([-1.5, -2.5, -1.5], kind="stable").tolist() == [1, 0, 2]
assert np.take([5, 6], [[1, 0]]).tolist() == [[6, 5]] and np.rint(2.5) == 2 and np.exp(0) == 1
assert np.iinfo(np.int8).min == -128 and np.finfo(np.float32).max > 3e38
assert np.finfo(np.longdouble).eps > 0 and np.isnan(np.nan) and np.inf > 0 and np.newaxis is None
assert (a @ a.T).shape == (3, 3) and np.einsum("ij->j", a).tolist() == [12, 15, 18, 21]
assert np.identity(2).tolist() == [[1, 0], [0, 1]] and np.linspace(0, 1, 3)[1] == 0.5
assert np.concat([a, a]).shape == np.vstack([a, a]).shape == (6, 4) and np.abs(-1) == np.pow(1, 2)
assert np.zeros((2,), np.bool).dtype == bool and np.ones_like(a).sum() == 12
assert np.full(2, 3)[1] == 3
types = np.dtype("f4"), np.dtype("u1,f4"), np.dtypes.Float64DType
for one in (a, np.float64(3), np.exp, *types):
    again = pickle.loads(pickle.dumps(one))
    assert np.array_equal(again, one) if one is a else again == one
assert pickle.loads(a.dumps()).shape == (3, 4)
assert np.array(["a", "b"]).tolist() == ["a", "b"] and np.array(["a"])[0] == "a"
assert str(np.datetime64("2024-02-29") + np.timedelta64(1, "D")) == "2024-03-01"
import datetime
assert np.datetime64(datetime.date(2024, 1, 1)).astype(object) == datetime.date(2024, 1, 1)
with np.errstate(divide="raise"):
    try: np.float64(1) / 0
    except FloatingPointError: pass
    else: raise AssertionError
structured = np.array([(1, 2.5)], dtype=[("x", "i4"), ("y", "f8")])
assert structured["y"][0] == 2.5 and np.asarray(memoryview(b"ab")).tolist() == [97, 98]
assert isinstance(np.int8(1), __import__("numbers").Integral)
assert a.__array_interface__["shape"] == (3, 4) and a.ctypes.data
try: a.reshape(5)
except ValueError as error: assert "cannot reshape" in str(error)
for name in ("pad", "linalg", "random", "no_such_name"):
    try: getattr(np, name)
    except AttributeError as error: print(error)
    else: raise AssertionError(name)
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_arrays_work_and_missing_names_give_the_reason(
    make_compiled: Make, imagenet_model: str, tmp_path: Path, python: str
) -> None:
    output = run_with_zip(make_compiled(python, imagenet_model), python, NUMPY, tmp_path)
    version = read_pins(python)["numpy"].version
    reason = f"is not in this build of numpy {version}: it has arrays, data types and ufuncs only"
    assert output.splitlines() == [
        f"numpy.{name} {reason}" for name in ("pad", "linalg", "random", "no_such_name")
    ]


@pytest.mark.parametrize("python", PYTHONS)
def test_numpy_has_every_name_that_the_function_uses(
    make_compiled: Make, imagenet_model: str, tmp_path: Path, python: str
) -> None:
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "action").glob("*.py")]
    names = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "np"
    }
    assert {"array", "argsort", "uint8"} <= names
    lacking = f"import numpy\nprint([n for n in {sorted(names)} if not hasattr(numpy, n)])"
    assert run_with_zip(make_compiled(python, imagenet_model), python, lacking, tmp_path) == "[]\n"
