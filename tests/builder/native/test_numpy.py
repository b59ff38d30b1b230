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
assert np.mean(a, where=a > 5) == 8.5 and a.std() > 3
assert np.sort([3, 1, 2]).tolist() == [1, 2, 3] == np.array([9, 1, 2, 3])[[1, 2, 3]].tolist()
assert np.argsort([-1.5, -2.5, -1.5], kind="stable").tolist() == [1, 0, 2]
assert np.take([5, 6], [[1, 0]]).tolist() == [[6, 5]] and np.rint(2.5) == 2 and np.exp(0) == 1
assert np.iinfo(np.int8).min == -128 and np.finfo(np.float32).max > 3e38
assert (a @ a.T).shape == (3, 3) and np.einsum("ij->j", a).tolist() == [12, 15, 18, 21]
assert np.identity(2).tolist() == [[1, 0], [0, 1]]
assert np.concat([a, a]).shape == np.vstack([a, a]).shape == (6, 4) and np.abs(-1) == np.pow(1, 2)
for one in (np.float64(3), np.exp, np.dtype("u1,f4"), np.dtypes.Float64DType):
    assert pickle.loads(pickle.dumps(one)) == one
assert pickle.loads(a.dumps()).shape == (3, 4)
assert str(np.datetime64("2024-02-29") + np.timedelta64(1, "D")) == "2024-03-01"
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
