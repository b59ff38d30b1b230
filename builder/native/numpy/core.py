# mypy: ignore-errors
# ruff: noqa: F401
"""The core, cut down: this takes the place of numpy's `_core/__init__.py`.

Upstream's imports all of numpy's functions; `front.py` has them come when they are used. Here is
what an array needs to be made, and ufuncs and types of arrays to be pickled.
"""

import copyreg

from numpy.version import version as __version__

from . import multiarray, umath
from . import numerictypes as nt
from .multiarray import dtype
from .numerictypes import sctypeDict, sctypes

multiarray.set_typeDict(nt.sctypeDict)
ufunc = type(umath.add)


def _DType_reconstruct(scalar_type):
    """The type of a data type, from its scalar's: pickles name this function."""
    return type(dtype(scalar_type))


def _reduce_type(kind):
    if not kind._legacy or kind.__module__ == "numpy.dtypes":
        return kind.__name__
    return _DType_reconstruct, (kind.type,)


copyreg.pickle(ufunc, lambda function: function.__name__)
copyreg.pickle(type(dtype), _reduce_type, _DType_reconstruct)
