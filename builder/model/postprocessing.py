"""Decide what a model's output means: probabilities, independent scores, logits, or no classes.

The user's option decides, else the file's last operators, else the outputs for some pictures. A
model that gives anything but one score per class is refused, with the kind of model that it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from builder.base.errors import ModelError
from builder.model.run import ModelOutputs
from builder.model.tflite import Operator, Tensor, TFLiteModel

KINDS = ("probabilities", "logits", "scores")
_DTYPES = ("float32", "float16", "uint8", "int8", "int16")
# Operators that pass scores on as they are, up to quantization, in their order.
SAME_ORDER = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
_PASS_ON = (*SAME_ORDER, "CAST", "TRANSPOSE")
# Operators that choose among scores or join them: probabilities stay what they are.
_CHOOSE = (
    *("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK", "GATHER", "GATHER_ND"),
    *("CONCATENATION", "PACK", "PAD", "MAXIMUM", "MINIMUM", "REDUCE_MAX"),
)
# Those after which logits may be something else.
_CUT_OFF = ("PAD", "MAXIMUM", "MINIMUM", "REDUCE_MAX")
# Operators after which probabilities may be none any more, and logits are still logits.
_RESCALE = ("ADD", "SUB", "MUL", "DIV", "NEG", "MEAN", "SUM", "AVERAGE_POOL_2D")
_LINEAR = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL")
_BOUNDED = ("SOFTMAX", "LOGISTIC", "TANH")
# How far probabilities may be from 0..1, and their sum from 1, plus half a step for each class.
_TOLERANCE = 0.02
# How far from 0..1 outputs may be that the user calls probabilities or scores: they are clipped.
_MAX_CLIPPED = 0.25
_HINT = "say what it is: --scores probabilities, --scores logits or --scores scores"


@dataclass(frozen=True)
class Postprocessing:
    """The meaning of a model's output.

    Attributes:
        activation: what the function applies to it: "softmax", "sigmoid" or "".
        card: all of it in a line, with the reason.
        doubt: what contradicts the user's option; empty if nothing does.
    """

    activation: str
    card: str
    doubt: str = ""


@dataclass(frozen=True)
class _Evidence:
    """What a file, or outputs, say about the kind of output, and how they say it.

    Attributes:
        kind: one of KINDS, or another word; empty if unknown.
        reason: for messages.
    """

    kind: str
    reason: str


def decide_postprocessing(
    model: TFLiteModel, count: int, wanted: str, outputs: ModelOutputs
) -> Postprocessing:
    """Decide what the output means.

    Args:
        model: the model.
        count: numbers per picture, from `count_outputs`.
        wanted: the user's option, one of KINDS; empty for none.
        outputs: of the model, for some pictures.

    Raises:
        ModelError: it is unclear, or the evidence contradicts itself; says which option settles it.
    """
    by_file = _judge_last_operators(model, count)
    _check_finite(model, outputs)
    same = ""
    if len(outputs.values) > 1 and (outputs.values == outputs.values[0]).all():
        same = f"its outputs are the same for all {len(outputs.pictures)} pictures that were tried"
    by_outputs = _judge_outputs(model.outputs[0], outputs, count)
    if wanted:
        doubt = _find_doubt(model, count, wanted, by_file, by_outputs, outputs)
        doubt = "; ".join(filter(None, (same, doubt)))
        reason = f"--scores, though {doubt}" if doubt else "--scores"
        return _build(count, wanted, reason, doubt)
    if same:
        raise ModelError(
            f"{model.name}: {same}, whatever is on them",
            "the input's range may be another (--mean, --std), or the model is damaged; if this is "
            f"right, {_HINT}",
        )
    decided = _reconcile(model, count, by_file, by_outputs)
    return _build(count, decided.kind, decided.reason)


def count_outputs(model: TFLiteModel) -> int:
    """Return how many scores a model gives: one per class, or 1 for a score of two classes.

    Raises:
        ModelError: the model is of another kind; says of which.
    """
    for operator in model.operators:
        if operator.is_custom:
            _refuse_custom(model, operator.name)
    if len(model.outputs) != 1:
        raise ModelError(
            f"{model.name}: expected one output, a score per class, found {len(model.outputs)}: "
            + ", ".join(f"{each.name} ({each})" for each in model.outputs[:6]),
            f"this looks like another kind of model: {_guess_kind_by_outputs(model)}",
        )
    output = model.outputs[0]
    _check_last_operator(model, output)
    if output.dtype not in _DTYPES or (output.is_integer and not output.scale):
        found = f"{output.name}: {output}" + (", without a scale" if output.is_integer else "")
        raise ModelError(
            f"{model.name}: expected an output of {', '.join(_DTYPES)}, integers with a scale and "
            f"a zero point, found {found}",
            "convert the model with float32 or quantized outputs",
        )
    if output.shape[:1] not in ((1,), (-1,)) and len(output.shape) > 1:
        raise ModelError(
            f"{model.name}: expected a batch of 1 picture, found {output.shape[0]}: {output.name}: "
            f"{output}",
            "convert the model with a batch size of 1, or a free one",
        )
    if output.shape == (-1,):  # one number for each picture
        return 1
    inner = output.shape[1:] if len(output.shape) > 1 else output.shape
    sizes = [size for size in inner if size != 1]
    if len(sizes) > 1 or any(size < 1 for size in sizes):
        kind = _guess_kind_by_shape(model.inputs[0], output)
        raise ModelError(
            f"{model.name}: expected an output of shape [1, classes], found {output.name}: "
            f"{output}",
            f"this looks like another kind of model: {kind}",
        )
    return sizes[0] if sizes else 1


def trace_back(model: TFLiteModel, pass_on: tuple[str, ...]) -> list[Operator]:
    """Return the operators before the output, backwards, up to the first one not in `pass_on`.

    The list is empty if no such operator computes the output.
    """
    found: list[Operator] = []
    operator = model.producer(model.outputs[0]) if model.outputs else None
    while operator is not None:
        if operator in found:  # a damaged file: its operators form a circle
            return []
        found.append(operator)
        if operator.name not in pass_on or not operator.inputs or not operator.outputs:
            return found
        operator = model.producer(operator.inputs[0])
    return []


def _reconcile(
    model: TFLiteModel, count: int, by_file: _Evidence, by_outputs: _Evidence
) -> _Evidence:
    """Return what file and outputs say together; raise ModelError if they contradict each other."""
    kind, reason = by_outputs.kind, f"its outputs are {by_outputs.reason}"
    if by_file.kind in ("", "linear") and kind == "embedding":
        raise ModelError(
            f"{model.name}: expected a score per class, found {by_outputs.reason}",
            f"this looks like another kind of model, an embedding; if not, {_HINT}",
        )
    if kind in ("percentages", "costs"):
        raise ModelError(
            f"{model.name}: expected probabilities, scores or logits, found {by_outputs.reason} "
            f"({by_file.reason})",
            f"convert the model without its last operators; or {_HINT}",
        )
    fitting = {"": (kind,), "logits": (kind,), "linear": ("logits",)}
    if kind not in fitting.get(by_file.kind, ("probabilities", "scores")):
        likely = ", as for logits" if by_file.kind == "linear" else ""
        raise ModelError(
            f"{model.name}: {by_file.reason}{likely}, but {reason}",
            f"these contradict each other: {_HINT}",
        )
    if by_file.kind in KINDS:
        return by_file
    if by_file.kind:
        reason = f"{by_file.reason}; {by_outputs.reason}"
    if kind == "logits" and count == 1:
        raise ModelError(
            f"{model.name}: expected a score from 0 to 1, found one number that may be any "
            f"({reason})",
            "this looks like another kind of model, a regression (an age, a price); if it is the "
            "logit of two classes: --scores logits",
        )
    return _Evidence(kind, reason)


def _find_doubt(
    model: TFLiteModel,
    count: int,
    wanted: str,
    by_file: _Evidence,
    by_outputs: _Evidence,
    outputs: ModelOutputs,
) -> str:
    """Return what contradicts the user's option; raise ModelError if it cannot be right."""
    low, high = float(outputs.values.min()), float(outputs.values.max())
    if wanted != "logits" and (low < -_MAX_CLIPPED or high > 1 + _MAX_CLIPPED):
        raise ModelError(
            f"{model.name}: --scores {wanted}: expected outputs of 0..1, found {by_outputs.reason}",
            "if they are logits: --scores logits; else convert the model without what follows its "
            "softmax or sigmoid",
        )
    doubts = []
    is_bounded = by_file.kind in ("probabilities", "scores", "bounded")
    if by_file.kind and (wanted == "logits") == is_bounded:
        doubts.append(by_file.reason)
    if wanted == "probabilities" and count > 1 and by_outputs.kind != "probabilities":
        doubts.append(f"its outputs are {by_outputs.reason}")
    return "; ".join(doubts)


def _build(count: int, kind: str, reason: str, doubt: str = "") -> Postprocessing:
    if count > 1:
        card = {
            "probabilities": f"probabilities of {count} classes, as they are",
            "scores": f"independent scores of {count} classes, each 0..1, as they are",
            "logits": f"logits of {count} classes, the function applies a softmax",
        }[kind]
        activation = "softmax" if kind == "logits" else ""
        return Postprocessing(activation, f"{card} ({reason})", doubt)
    answered = "the first is answered with p, the second with 1 - p"
    if kind == "logits":
        card = f"one logit of two classes: {answered} (the function applies a sigmoid; {reason})"
        return Postprocessing("sigmoid", card, doubt)
    return Postprocessing("", f"one score p of two classes: {answered} ({reason})", doubt)


def _judge_last_operators(model: TFLiteModel, count: int) -> _Evidence:
    """Return what the last operators say about the kind of output.

    The kind is one of KINDS; "linear" for any number; "bounded" for what was within 0..1 or -1..1
    and was then rescaled; or empty.
    """
    makers, after = _find_makers(model)
    if not makers:
        return _Evidence("", "no operator makes its output")
    names = sorted(maker.name for maker in makers)
    are, them = ("s are", "them") if len(names) > 1 else (" is", "it")
    reason = f"its last operator{are} {', '.join(names)}"
    if after:
        reason += f", behind {them} {', '.join(after)}"
    if {*names} <= {*_BOUNDED} and ({*after} & {*_RESCALE} or "TANH" in names):
        return _Evidence("bounded", reason)
    if {*names} == {"LOGISTIC"}:
        return _Evidence("scores", reason)
    if len(makers) > 1:  # several softmaxes, each of its own classes
        return _Evidence("", reason)
    if names == ["SOFTMAX"]:
        return _Evidence("probabilities" if count > 1 else "scores", reason)
    if names == ["LOG_SOFTMAX"] and not after:
        return _Evidence("logits", reason)
    is_linear = names[0] in _LINEAR and makers[0].activation == "NONE"
    return _Evidence("linear" if is_linear and not {*after} & {*_CUT_OFF} else "", reason)


def _find_makers(model: TFLiteModel) -> tuple[list[Operator], list[str]]:
    """Return the operators that compute the scores, and the names of those after them.

    Operators that only pass scores on are left out.
    """
    makers: list[Operator] = []
    after: list[str] = []
    waiting, seen = [model.outputs[0]], set()
    while waiting:
        tensor = waiting.pop()
        operator = model.producer(tensor)
        if operator is None or tensor.number in seen:
            continue
        seen.add(tensor.number)
        sources = [each for each in operator.inputs if each and not model.constant_behind(each)]
        is_rescaling = (
            operator.name in _RESCALE and operator.activation == "NONE" and len(sources) == 1
        )
        if operator.name in (*_PASS_ON, *_CHOOSE) or is_rescaling:
            if operator.name not in (*_PASS_ON, *after):
                after.insert(0, operator.name)
            waiting += sources
        elif operator not in makers:
            makers.append(operator)
    return makers, after


def _check_finite(model: TFLiteModel, outputs: ModelOutputs) -> None:
    bad = [
        picture
        for picture, values in zip(outputs.pictures, outputs.values, strict=True)
        if not np.isfinite(values).all()
    ]
    if bad:
        raise ModelError(
            f"{model.name}: expected numbers, found NaN or infinity for {len(bad)} of "
            f"{len(outputs.pictures)} pictures ({', '.join(bad[:4])})",
            "the input's range may be another (--mean, --std), or the model is damaged",
        )


def _judge_outputs(output: Tensor, outputs: ModelOutputs, count: int) -> _Evidence:
    """Return what outputs look like: one of KINDS, "percentages", "costs" or "embedding"."""
    values, step = outputs.values, output.scale / 2
    low, high = float(values.min()), float(values.max())
    sums = values.sum(axis=1)
    ends, pictures = f"{low:.3g}..{high:.3g}", f"for {len(values)} pictures"
    if low >= -_TOLERANCE - step and high <= 1 + _TOLERANCE + step:
        if count > 1 and abs(sums - 1).max() <= _TOLERANCE + step * count:
            return _Evidence("probabilities", f"within 0..1 and add up to 1, {pictures}")
        return _Evidence("scores", f"within 0..1 ({ends}) and do not add up to 1, {pictures}")
    if count > 1 and low >= -step and len(values) > 1:
        if abs(sums - sums[0]).max() <= _TOLERANCE * sums[0]:
            unit = "percentages" if abs(sums[0] - 100) < 2 else "shares"
            return _Evidence("percentages", f"{unit}: {ends}, and they add up to {sums[0]:.4g}")
        with np.errstate(over="ignore"):
            shares = np.exp(-values).sum(axis=1)
        if abs(shares - 1).max() <= _TOLERANCE:
            text = f"costs, least for the likeliest: {ends}, and exp(-x) add up to 1"
            return _Evidence("costs", text)
    lengths = np.sqrt((values**2).sum(axis=1))
    if count > 8 and abs(lengths - 1).max() <= _TOLERANCE:
        return _Evidence("embedding", f"vectors of length 1, {pictures}")
    return _Evidence("logits", f"outside 0..1 ({ends})")


# Other kinds of models


def _check_last_operator(model: TFLiteModel, output: Tensor) -> None:
    """Raise ModelError if the last operator gives something else than a score per class."""
    *_, last = trace_back(model, _PASS_ON) or (None,)
    if last is None:
        return
    hint = "convert the model without its last operator"
    source = last.inputs[0] if last.inputs else None
    if last.name in ("ARG_MAX", "ARG_MIN", "TOPK_V2"):
        found = f"the number of a class, by {last.name}"
    elif (
        last.name == "REDUCE_MAX"
        and source is not None
        and source.shape[-1:] > (1,)
        and all(abs(size) == 1 for size in output.shape)
    ):
        found = "that of the likeliest, by REDUCE_MAX"
    elif last.name == "L2_NORMALIZATION":
        found = "a vector of length 1 (its last operator is L2_NORMALIZATION)"
        hint = "this is another kind of model: an embedding, which is compared with others"
    else:
        return
    raise ModelError(f"{model.name}: expected a score per class, found {found}", hint)


def _refuse_custom(model: TFLiteModel, operator: str) -> NoReturn:
    hint = "convert the model with builtin operators only"
    if operator == "TFLite_Detection_PostProcess":
        hint = "this is another kind of model: a detector, which gives boxes"
    elif operator == "edgetpu-custom-op":
        hint = "it was compiled for Edge TPUs: take the .tflite that was given to the compiler"
    elif operator.startswith("Flex"):
        hint = "convert the model without SELECT_TF_OPS (TensorFlow's operators)"
    raise ModelError(
        f"{model.name} uses an operator that is not built into TFLite: {operator}", hint
    )


def _guess_kind_by_outputs(model: TFLiteModel) -> str:
    shapes = [tensor.shape for tensor in model.outputs]
    names = " ".join(tensor.name.lower() for tensor in model.outputs)
    sizes = [tensor.element_count for tensor in model.outputs]
    has_boxes = any(len(shape) >= 3 and shape[-1] == 4 for shape in shapes) or "box" in names
    if has_boxes or all(len(shape) == 3 and shape[1] == shapes[0][1] > 100 for shape in shapes):
        return "a detector, which gives boxes and scores"
    if any(len(shape) == 4 and min(shape[1:3]) > 1 for shape in shapes):
        return "a detector, or one of poses or outlines, which gives maps"
    if "landmark" in names or all(size == 1 or (size % 3 == 0 and size > 9) for size in sizes):
        return "one of landmarks: points of a face, a hand or a body"
    return "one with several answers; convert it with the one output that has a score per class"


def _guess_kind_by_shape(source: Tensor, output: Tensor) -> str:
    shape = output.shape
    if len(shape) == 4 and min(shape[1:3]) > 1:
        if shape[3] in (1, 3) and shape[1:3] == source.shape[1:3]:
            return "an image for an image (a mask, depth, a style)"
        return "a segmenter, or one of poses: a score per class for each of many places"
    if len(shape) == 4 and shape[2:] == (17, 3):
        return "one of poses: 17 points of the body"
    is_long = len(shape) == 3 and shape[1] != shape[2] and max(shape[1:]) > 500
    if is_long or (len(shape) == 3 and shape[2] == 4):
        return "a detector, which gives boxes"
    if len(shape) == 3 and shape[2] in (2, 3):
        return "one of landmarks: points of a face, a hand or a body"
    if len(shape) == 3:
        return "a sequence, as for reading text, or a segmenter: a score per class for each place"
    return "more than one score per class, as a segmenter or a detector gives"
