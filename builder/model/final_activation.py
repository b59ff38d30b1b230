"""Strip a quantized softmax or sigmoid off the end of a model: the function computes it in float.

A quantized softmax knows 256 steps: what is likelier than 0.998 is 0.996094, and what is less
likely than 0.002 is 0. What enters it tells more, and the function's own softmax of that keeps the
order, but for what was a tie. XNNPACK's graphs have no quantized softmax either.
"""

from __future__ import annotations

import copy

import numpy as np

from builder.model.tflite import Operator, TFLiteModel, drop_unused, pack_model
from builder.model.vision_task import SAME_ORDER

# What the function applies in place of an operator. A softmax of LOG_SOFTMAX's output is a softmax
# of its input.
REPLACED_BY = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid", "LOG_SOFTMAX": "softmax"}


def strip_activation(model: TFLiteModel) -> tuple[bytes, str] | None:
    """Return the model without its final activation, if that is quantized or a LOG_SOFTMAX.

    Returns:
        The .tflite file, without files appended to the original (labels), and the operator's name,
        a key of REPLACED_BY. None if the model does not end with such an operator.
    """
    *after, activation = model.trace_back(model.outputs[0], SAME_ORDER) or (None,)
    if activation is None or not _is_replaceable(model, activation, after):
        return None
    logits = activation.inputs[0]
    assert logits is not None
    tables = copy.deepcopy(model.tables)
    graph = tables.subgraphs[0]
    stripped = {operator.outputs[0].number for operator in (activation, *after)}
    graph.operators = [
        operator
        for operator in graph.operators
        if operator.outputs is None or not stripped.intersection(map(int, operator.outputs))
    ]
    drop_unused(tables)
    graph.outputs = np.array([logits.number], np.int32)
    for signature in tables.signatureDefs or ():
        for output in signature.outputs or ():
            output.tensorIndex = logits.number
    return pack_model(tables), activation.name


def _is_replaceable(model: TFLiteModel, activation: Operator, after: list[Operator]) -> bool:
    """Return whether the function can replace an activation and the operators after it."""
    logits = activation.inputs[0] if activation.inputs else None
    if logits is None or activation.name not in REPLACED_BY or activation.beta != 1:
        return False
    outputs = [operator.outputs[0] for operator in (activation, *after)]
    is_quantized = any(tensor.scale for tensor in outputs)
    if not (is_quantized or activation.name == "LOG_SOFTMAX"):
        return False
    if len(model.outputs) != 1 or len(model.tables.subgraphs) != 1:
        return False
    if any(len(model.consumers(tensor)) > 1 for tensor in (logits, *outputs)):
        return False  # something else depends on them
    is_over_classes = activation.name == "LOGISTIC" or abs(logits.shape[-1]) == logits.element_count
    return (
        bool(logits.scale or logits.dtype == "float32")
        and logits.element_count == model.outputs[0].element_count
        and is_over_classes
    )
