"""Take a quantized softmax or sigmoid off the end of a model, for the function to do in float.

A quantized softmax knows 256 steps: what is likelier than 0.998 is 0.996094, and what is less
likely than 0.002 is 0. What enters it tells more, and the function's own softmax of that keeps the
order, but for what was a tie. XNNPACK's graphs have no quantized softmax either.
"""

from __future__ import annotations

import numpy as np

from builder.model.postprocessing import SAME_ORDER, tail
from builder.model.tflite import Signature, Tensor, packed, parsed

APPLIED = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid", "LOG_SOFTMAX": "softmax"}


def without(content: bytes, name: str, model: Signature) -> tuple[bytes, str] | None:
    """The model without its last activation, where that is quantized.

    Args:
        content: of the .tflite file. Files appended to it (labels) are not carried over.
        name: what messages call it.
        model: its signature.

    Returns:
        The content of the file, and the operator's name, a key of APPLIED. None if it has no such
        activation, or not a plain one. LOG_SOFTMAX is taken off in float32 as well, since a
        softmax of its output is that of its input.
    """
    *behind, last = tail(model, SAME_ORDER) or (None,)
    if last is None or last.name not in APPLIED or last.beta != 1 or not last.inputs:
        return None
    if last.inputs[0] is None:
        return None
    source, sink = last.inputs[0], model.outputs[0]
    taken = [last, *behind]
    stored = [operator.outputs[0] for operator in taken]
    quantized = any(tensor.scale for tensor in stored)
    if not (quantized or last.name == "LOG_SOFTMAX") or len(model.outputs) != 1:
        return None
    if any(len(model.consumers(tensor)) > 1 for tensor in (source, *stored)):
        return None  # something else is made of it
    if not (source.scale or source.dtype == "float32") or _size(source) != _size(sink):
        return None
    if last.name != "LOGISTIC" and abs(source.shape[-1]) != _size(source):
        return None  # it does not go over the classes
    made = parsed(content, name)
    if len(made.subgraphs) != 1:
        return None
    graph, numbers = made.subgraphs[0], {tensor.number for tensor in stored}
    graph.operators = [
        operator
        for operator in graph.operators
        if operator.outputs is None or not numbers.intersection(map(int, operator.outputs))
    ]
    used = sorted({operator.opcodeIndex for operator in graph.operators})
    made.operatorCodes = [made.operatorCodes[index] for index in used]
    for operator in graph.operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)
    graph.outputs = np.array([source.number], np.int32)
    for signature in made.signatureDefs or ():
        for output in signature.outputs or ():
            output.tensorIndex = source.number
    return packed(made), last.name


def _size(tensor: Tensor) -> int:
    """How many numbers a tensor has, where its batch may be free."""
    return abs(int(np.prod(tensor.shape)))
