"""Hold a model's operators against what an interpreter registers, by name and version."""

from __future__ import annotations

from builder.base.errors import ModelError
from builder.model.tflite import Signature
from builder.packages import operator_versions

_OPTION = "converter._experimental_disable_per_channel_quantization_for_dense_layers = True"


def missing(model: Signature, known: dict[str, int]) -> list[str]:
    """What a model needs and an interpreter lacks, each in words; empty if it has all.

    Args:
        model: what its file says.
        known: operator -> highest version that the interpreter registers.
    """
    found = []
    for name, version in sorted(model.versions.items()):
        if name not in known:
            found.append(f"{name} version {version} (it has none)")
        elif version > known[name]:
            found.append(f"{name} version {version} (it has 1 to {known[name]})")
    if (
        not found
        and known.get(operator_versions.HYBRID, 0) < operator_versions.HYBRID_SINCE
        and hybrid(model)
    ):
        found.append(
            f"{operator_versions.HYBRID} of float32 with int8 weights that have several scales"
        )
    return found


def hybrid(model: Signature) -> bool:
    """Whether a float32 tensor meets int8 weights with a scale per channel in a dense layer."""
    return any(
        operator.name == operator_versions.HYBRID
        and operator.inputs[0] is not None
        and operator.inputs[0].dtype == "float32"
        and operator.inputs[1] is not None
        and operator.inputs[1].dtype == "int8"
        and operator.inputs[1].scales > 1
        for operator in model.operators
    )


def check(name: str, model: Signature, known: dict[str, int], runtime: str) -> None:
    """Refuse a model that an interpreter would not load, or would compute wrongly.

    Args:
        name: of the model, for messages.
        model: what its file says.
        known: operator -> highest version that the interpreter registers.
        runtime: what the interpreter is, in words.

    Raises:
        ModelError: it lacks something; names operators, versions, and the way out.
    """
    lacking = missing(model, known)
    if not lacking:
        return
    ways = []
    if not missing(
        model, operator_versions.of_compiled("all")
    ) and known != operator_versions.of_compiled("all"):
        ways.append("--ops all compiles an interpreter with all operators")
    if not missing(model, operator_versions.of_wheels()) and known != operator_versions.of_wheels():
        ways.append("--runtime wheels takes an interpreter that has them")
    dense = hybrid(model) or model.versions.get(operator_versions.HYBRID, 0) >= 12
    if dense and any(text.startswith(operator_versions.HYBRID) for text in lacking):
        ways.append(f"or convert the model with {_OPTION}")
    if not ways:
        ways.append("convert the model for an older TensorFlow Lite, with builtin operators only")
    raise ModelError(
        f"{name} needs operators that {runtime} lacks: {', '.join(lacking)}", "; ".join(ways)
    )
