"""Decide what a model's output means: probabilities, independent scores, or logits.

The user's option decides, else the file's last operators, else the outputs for some pictures. A
quantized softmax or sigmoid at the end is stripped: the function computes it in float.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.evidence import Evidence
from builder.model.run import ModelOutputs
from builder.model.tflite import Operator, Tensor, TFLiteModel, drop_unused, pack_model
from builder.model.vision_task import PASS_ON, SAME_ORDER

KINDS = ("probabilities", "logits", "scores")
# Operators whose outputs may be any numbers.
_LINEAR = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL")
# Operators that choose, join or rescale: only within 0..1 what was scores still is such.
_CHANGING = (
    *("ADD", "SUB", "MUL", "DIV", "NEG", "MEAN", "SUM", "AVERAGE_POOL_2D"),
    *("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "GATHER", "CONCATENATION"),
)
# How far probabilities may be from 0..1, and their sum from 1, plus half a step for each class.
_TOLERANCE = 0.02
# How far from 0..1 outputs may be that the user calls probabilities or scores: they are clipped.
_MAX_CLIPPED = 0.25
_HINT = "say what it is: --scores probabilities, --scores logits or --scores scores"
_HINT_RANGE = "the input's range may be another (--mean, --std), or the model is damaged"
# What the function applies in place of an operator.
# A softmax of LOG_SOFTMAX's output is a softmax of its input.
REPLACED_BY = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid", "LOG_SOFTMAX": "softmax"}
# What is known about the kind of output: one of KINDS, or another word; empty if it is none.
_Kind = Evidence[str]


@dataclass(frozen=True)
class Postprocessing:
    """The meaning of a model's output.

    Attributes:
        count: numbers per picture.
        kind: one of KINDS.
    """

    count: int
    kind: Evidence[str]

    @property
    def activation(self) -> str:
        """What the function applies to the output: "softmax", "sigmoid" or ""."""
        if self.kind.value != "logits":
            return ""
        return "softmax" if self.count > 1 else "sigmoid"

    @property
    def card(self) -> str:
        """Return the meaning in a line, with the reason."""
        count, reason = self.count, self.kind.explanation
        if count > 1:
            text = {
                "probabilities": f"probabilities of {count} classes, as they are",
                "scores": f"independent scores of {count} classes, each 0..1, as they are",
                "logits": f"logits of {count} classes, the function applies a softmax",
            }[self.kind.value]
            return f"{text} ({reason})"
        what = "score p"
        if self.kind.value == "logits":
            what, reason = "logit", f"the function applies a sigmoid; {reason}"
        answered = "the first is answered with p, the second with 1 - p"
        return f"one {what} of two classes: {answered} ({reason})"


def decide_postprocessing(
    model: TFLiteModel, count: int, wanted: str, outputs: ModelOutputs
) -> Postprocessing:
    """Decide what the output means.

    Raises:
        ModelError: it is unclear, or the evidence contradicts itself; says which option settles it.
    """
    pictures = len(outputs.pictures)
    if broken := sum(not np.isfinite(values).all() for values in outputs.values):
        raise ModelError(
            f"{model.name}: expected numbers, found NaN or infinity for {broken} of "
            f"{pictures} pictures",
            _HINT_RANGE,
        )
    by_file = _judge_last_operators(model, count)
    by_outputs = judge_outputs(model.outputs[0], outputs.values, count)
    same = ""
    if pictures > 1 and (outputs.values == outputs.values[0]).all():
        same = f"its outputs are the same for all {pictures} pictures that were tried"
    if wanted:
        low, high = outputs.values.min(), outputs.values.max()
        if wanted != "logits" and (low < -_MAX_CLIPPED or high > 1 + _MAX_CLIPPED):
            raise ModelError(
                f"{model.name}: --scores {wanted}: expected outputs of 0..1, found "
                f"{by_outputs.reason}",
                "if they are logits: --scores logits; else convert the model without what follows "
                "its softmax or sigmoid",
            )
        doubts = [same, *_find_doubts(count, wanted, by_file, by_outputs)]
        doubt = "; ".join(filter(None, doubts))
        return Postprocessing(count, Evidence(wanted, "option", "--scores", doubt))
    if same:
        raise ModelError(
            f"{model.name}: {same}, whatever is on them",
            f"{_HINT_RANGE}; if this is right, {_HINT}",
        )
    return Postprocessing(count, _reconcile(model, by_file, by_outputs))


def _find_doubts(count: int, wanted: str, by_file: _Kind, by_outputs: _Kind) -> list[str]:
    """Return what contradicts the user's option."""
    doubts = []
    is_unbounded = by_file.value in ("logits", "linear")
    if by_file.value and (wanted == "logits") != is_unbounded:
        doubts.append(by_file.reason)
    if wanted == "probabilities" and count > 1 and by_outputs.value != "probabilities":
        doubts.append(f"its outputs are {by_outputs.reason}")
    return doubts


def _reconcile(model: TFLiteModel, by_file: _Kind, by_outputs: _Kind) -> _Kind:
    """Return what file and outputs say together; raise ModelError if they contradict each other."""
    kind, found = by_outputs.value, f"its outputs are {by_outputs.reason}"
    is_bounded, is_linear = kind in ("probabilities", "scores"), by_file.value == "linear"
    if not kind or (by_file.value not in ("", "logits") and is_bounded == is_linear):
        likely = ", as for logits" if is_linear else ""
        raise ModelError(
            f"{model.name}: expected probabilities, scores or logits; {by_file.reason}{likely}, "
            f"but {found}",
            "this looks like another kind of model, such as an embedding or a regression (an age, "
            f"a price), or like one to convert without its last operators; if not, {_HINT}",
        )
    if by_file.value in KINDS:
        return by_file
    return _Kind(kind, "behaviour", f"{by_file.reason}; {found}" if by_file.value else found)


def _judge_last_operators(model: TFLiteModel, count: int) -> _Kind:
    """Return what the last operators say about the kind of output.

    The kind is one of KINDS; "linear" for any number; "changed" for what had another range before;
    or empty.
    """
    found = model.trace_back(model.outputs[0], (*PASS_ON, *_CHANGING))
    if not found:
        return _Kind("", "file", "no operator makes its output")
    *after, last = found
    changes = ", ".join(each.name for each in reversed(after) if each.name in _CHANGING)
    is_linear = last.name in _LINEAR and all(each.activation == "NONE" for each in found)
    kind = {
        "SOFTMAX": "probabilities" if count > 1 else "scores",
        "LOGISTIC": "scores",
        "LOG_SOFTMAX": "logits",
        "TANH": "changed",
    }.get(last.name, "linear" if is_linear else "")
    if changes and kind in KINDS:
        kind = "changed"
    behind = f", behind it {changes}" if changes else ""
    return _Kind(kind, "file", f"its last operator is {last.name}{behind}")


def judge_outputs(output: Tensor, values: NDArray[np.float64], count: int) -> _Kind:
    """Return what outputs, of shape (pictures, outputs), look like: one of KINDS, or empty."""
    step = output.scale / 2
    low, high = float(values.min()), float(values.max())
    sums, lengths = values.sum(axis=1), np.sqrt((values**2).sum(axis=1))
    ends, pictures = f"{low:.3g}..{high:.3g}", f"for {len(values)} pictures"
    if low >= -_TOLERANCE - step and high <= 1 + _TOLERANCE + step:
        if count > 1 and abs(sums - 1).max() <= _TOLERANCE + step * count:
            return _Kind("probabilities", "behaviour", f"within 0..1 and add up to 1, {pictures}")
        return _Kind(
            "scores", "behaviour", f"within 0..1 ({ends}) and do not add up to 1, {pictures}"
        )
    if count == 1:
        return _Kind("", "behaviour", f"one number that may be any ({ends})")
    if low >= -step and len(sums) > 1 and abs(sums - sums[0]).max() <= _TOLERANCE * sums[0]:
        return _Kind("", "behaviour", f"shares of {sums[0]:.4g}, which they add up to")
    if count > 8 and abs(lengths - 1).max() <= _TOLERANCE:
        return _Kind("", "behaviour", f"vectors of length 1, {pictures}")
    return _Kind("logits", "behaviour", f"outside 0..1 ({ends})")


# The final activation, which the function applies in float


def strip_activation(model: TFLiteModel) -> tuple[bytes, str] | None:
    """Return the model without its final activation, if that is of 8 bits or a LOG_SOFTMAX.

    A quantized softmax knows 256 steps: what is likelier than 0.998 is 0.996094, and what is less
    likely than 0.002 is 0. What enters it tells more, and the function's own softmax of that keeps
    the order, but for what was a tie. XNNPACK's graphs have no quantized softmax either.

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
    is_coarse = any(tensor.dtype in ("uint8", "int8") for tensor in outputs)
    is_over_classes = activation.name == "LOGISTIC" or abs(logits.shape[-1]) == logits.element_count
    return (
        (is_coarse or activation.name == "LOG_SOFTMAX")
        and bool(logits.scale or logits.dtype == "float32")
        and is_over_classes
        and len(model.tables.subgraphs) == 1
        # nothing else depends on them
        and all(len(model.consumers(tensor)) <= 1 for tensor in (logits, *outputs))
    )
