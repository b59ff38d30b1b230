"""Check that an interpreter has every operator of a model, in the version that the model needs."""

from __future__ import annotations

from builder.base.errors import ModelError
from builder.model.tflite import Tensor, TFLiteModel
from builder.packages.operator_versions import HYBRID, HYBRID_SINCE, of_compiled, of_wheels

_DEPTHWISE = "DEPTHWISE_CONV_2D"
_NARROW = ("int4", "uint4", "int2")


def find_missing_operators(model: TFLiteModel, known: dict[str, int]) -> list[str]:
    """Return descriptions of the operators that an interpreter lacks, or computes wrongly.

    `known` has the highest version of each operator that the interpreter registers.
    """
    missing = []
    for name, version in sorted(model.versions.items()):
        if name not in known:
            missing.append(f"{name} version {version} (it has none)")
        elif version > known[name]:
            missing.append(f"{name} version {version} (it has 1 to {known[name]})")
    if known.get(HYBRID, 0) < HYBRID_SINCE:  # the compiled interpreter, of TensorFlow 2.14
        missing += _find_narrow_types(model)
        dense = _list_hybrid_weights(model, HYBRID)
        if not missing and any(weights.scale_count > 1 for weights in dense):
            missing.append("FULLY_CONNECTED of float32 with int8 weights that have several scales")
    # Every interpreter reads a scale per channel, also where there is one: beyond its end.
    if any(
        each.scale_count == 1 and each.shape[-1:] > (1,)
        for each in _list_hybrid_weights(model, _DEPTHWISE)
    ):
        missing.append(f"{_DEPTHWISE} of float32 with int8 weights that have one scale")
    return missing


def check_operators(model: TFLiteModel, known: dict[str, int], interpreter: str) -> None:
    """Raise ModelError if an interpreter would not load a model, or compute it wrongly."""
    missing = find_missing_operators(model, known)
    if not missing:
        return
    hints = []
    for option, operators in (
        ("--ops all compiles an interpreter with all operators", of_compiled("all")),
        ("--runtime wheels takes an interpreter that has them", of_wheels()),
    ):
        if known != operators and not find_missing_operators(model, operators):
            hints.append(option)
    if any(text.startswith(f"{_DEPTHWISE} of") for text in missing):
        hints = ["convert the model with a scale per channel, the converter's default"]
    if not hints:
        hints.append("convert the model for an older TensorFlow Lite, with builtin operators only")
    raise ModelError(
        f"{model.name} needs operators that {interpreter} lacks: {', '.join(missing)}",
        "; ".join(hints),
    )


def _find_narrow_types(model: TFLiteModel) -> list[str]:
    """Return the operators that take tensors of less than 8 bits, and of which type.

    TensorFlow 2.14 has kernels for few of these, and others compute them wrongly: dense layers of
    int4 weights gave the same answer for every picture.
    """
    found = {
        f"{operator.name} of {tensor.dtype}"
        for operator in model.operators
        for tensor in operator.inputs
        if tensor is not None and tensor.dtype in _NARROW
    }
    return sorted(found)


def _list_hybrid_weights(model: TFLiteModel, kind: str) -> list[Tensor]:
    """Return the int8 weights of all operators of a kind that take float32."""
    pairs = [each.inputs[:2] for each in model.operators if each.name == kind]
    return [
        weights
        for source, weights in (pair for pair in pairs if len(pair) == 2)
        if source and source.dtype == "float32" and weights and weights.dtype == "int8"
    ]
