"""The operators that each interpreter registers, with their highest versions.

Of an interpreter with all of TFLite's operators, and of the wheels', `operator_versions.toml` has
them; of the compiled one, tflite/runtime/ops.cc. The table is written by

    python3 -m tools.operators
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from builder.base.toml import read_toml
from builder.native.tflite.build import registered_operators

TABLE = Path(__file__).with_name("operator_versions.toml")
UPSTREAM, WHEELS = "tensorflow", "ai-edge-litert"
# From HYBRID_SINCE on, FULLY_CONNECTED takes float32 inputs with int8 weights that have a scale per
# channel. TFLite marks those with version 12. Ours registers 12 for all other operators that share
# the mark, which its kernel computes rightly; it has one scale for such weights.
HYBRID = "FULLY_CONNECTED"
HYBRID_SINCE = 13


@cache
def table() -> dict[str, Any]:
    """Return operator_versions.toml: version and operators of each interpreter."""
    return read_toml(TABLE)


def of_wheels() -> dict[str, int]:
    """Return operator -> highest version for the wheels' interpreter."""
    return dict(table()[WHEELS]["operators"])


def of_compiled(ops: str) -> dict[str, int]:
    """Return operator -> highest version for an interpreter compiled with `--ops`."""
    if ops == "all":
        return dict(table()[UPSTREAM]["operators"])
    return registered_operators()
