# mypy: ignore-errors
# ruff: noqa: F401, F403
"""numpy, cut down to arrays, data types and ufuncs: this takes the place of its `__init__.py`.

Upstream's imports all of numpy, at several times the cost of the rest of the function's start.
Here only what every array needs is loaded at once; other public names of `numpy._core` come from
the modules in `_ON_DEMAND` when they are first used. What is in none of them (`numpy.lib`,
`linalg`, `ma`, `random`, strings, records, ...) is not shipped, and `__getattr__` says so.
"""

from numpy import dtypes, exceptions
from numpy._core.multiarray import *
from numpy._core.numerictypes import *
from numpy._core.umath import *
from numpy._core.umath import NAN as nan
from numpy._core.umath import PINF as inf
from numpy._globals import _CopyMode, _NoValue
from numpy.version import version as __version__

newaxis = None

# In this order: the first is what the function uses, the next are the cheaper ones.
_ON_DEMAND = (
    *("fromnumeric", "shape_base", "function_base", "_ufunc_config", "numeric"),
    *("getlimits", "arrayprint", "_asarray", "einsumfunc"),
)
_ALIASES = {
    **{f"a{name}": f"arc{name}" for name in ("cos", "cosh", "sin", "sinh", "tan", "tanh", "tan2")},
    **{f"bitwise_{name}": name for name in ("invert", "left_shift", "right_shift")},
    "abs": "absolute",
    "concat": "concatenate",
    "permute_dims": "transpose",
    "pow": "power",
}


def __getattr__(name):
    from importlib import import_module

    if name in _ALIASES:
        found = globals().get(_ALIASES[name]) or __getattr__(_ALIASES[name])
        return globals().setdefault(name, found)
    if not name.startswith("__"):
        for place in _ON_DEMAND:
            module = import_module(f"numpy._core.{place}")
            if place == "getlimits" and hasattr(module, "_register_known_types"):
                module._register_known_types()  # before numpy 2.4, numpy itself does it
            if name in module.__all__:
                return globals().setdefault(name, getattr(module, name))
    raise AttributeError(
        f"numpy.{name} is not in this build of numpy {__version__}: it has arrays, data types and "
        "ufuncs only"
    )
