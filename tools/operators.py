"""Find out which operators ai-edge-litert registers, and write operator_versions.toml.

`python3 -m tools.operators` tries a model with each version of each operator.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

from builder.base.environments import enter_environment
from builder.base.errors import run_main
from builder.base.paths import BUILDER
from builder.packages.operator_versions import TABLE, UPSTREAM, WHEELS, table

# The builder's environment has the interpreter.
ENVIRONMENT = "tools"


def main() -> int:
    """Write the table; return the exit status."""
    enter_environment(ENVIRONMENT, BUILDER / "requirements.txt", ["-m", "tools.operators"])
    wheels = {"version": version(WHEELS), "operators": probe()}
    text = "# Written by tools/operators.py: operators and their highest versions.\n"
    for name, section in {UPSTREAM: table()[UPSTREAM], WHEELS: wheels}.items():
        text += f'\n[{name}]\nversion = "{section["version"]}"\n\n[{name}.operators]\n'
        text += "".join(f"{key} = {value}\n" for key, value in section["operators"].items())
    TABLE.write_text(text, "utf-8")
    print(f"written: {TABLE}")
    return 0


def probe() -> dict[str, int]:
    """Return operator -> highest version for the installed ai-edge-litert, by trying each."""
    from builder.model.tflite import OPERATORS

    highest = {}
    for name in sorted(set(OPERATORS.values()) - {"CUSTOM", "DELEGATE"}):
        known = [each for each in range(1, 30) if can_load(name, each)]
        if known:
            highest[name] = known[-1]
    return highest


def can_load(name: str, version: int) -> bool:
    """Return whether the interpreter loads a model that only names this operator."""
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


if __name__ == "__main__":
    sys.exit(run_main(main))
