"""The operators that each interpreter registers, with their highest versions.

Of an interpreter with all of TFLite's operators, and of the wheels', `operator_versions.toml` has
them; of the compiled one, tflite/runtime/ops.cc. The table is written by

    python -m builder.packages.operator_versions
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
_MOST = 30


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


def probe() -> dict[str, int]:
    """Operator -> highest version, of the ai-edge-litert that is installed: by trying each."""
    from builder.model.tflite import OPERATORS

    names = [name for name in OPERATORS.values() if name not in ("CUSTOM", "DELEGATE")]
    known = {
        name: max((each for each in range(1, _MOST) if _knows(name, each)), default=0)
        for name in sorted(names)
    }
    return {name: version for name, version in known.items() if version}


def _knows(name: str, version: int) -> bool:
    """Whether a model that only names an operator can be loaded."""
    import flatbuffers
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    number = getattr(schema.BuiltinOperator, name)
    code = schema.OperatorCodeT(min(number, 127), None, version, number)
    tensor = schema.TensorT(shape=np.array([1], np.int32), name=b"t")
    ends = np.array([0], np.int32)
    graph = schema.SubGraphT([tensor], ends, ends, [], b"main")
    model = schema.ModelT(3, [code], [graph], b"", [schema.BufferT()])
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    try:
        Interpreter(model_content=bytes(builder.Output()))
    except ValueError:
        return False
    return True


def _write() -> None:
    from importlib.metadata import version

    sections: dict[str, Any] = {WHEELS: {"version": version(WHEELS), "operators": probe()}}
    sections = {UPSTREAM: table()[UPSTREAM], **sections}
    text = "# Written by operator_versions.py: operators and their highest versions.\n"
    for name, section in sections.items():
        text += f'\n[{name}]\nversion = "{section["version"]}"\n\n[{name}.operators]\n'
        text += "".join(f"{key} = {value}\n" for key, value in section["operators"].items())
    TABLE.write_text(text, "utf-8")


if __name__ == "__main__":
    _write()
