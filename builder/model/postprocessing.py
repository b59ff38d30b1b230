"""What a model's output means: probabilities, independent scores or logits; or no class at all.

Decided by what the user says, else by what the file says (its last operators), else by what the
model does (its outputs for some pictures). A model that gives anything else than one score per
class is named for what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.run import ModelOutputs
from builder.model.tflite import Operator, Tensor, TFLiteModel

KINDS = ("probabilities", "logits", "scores")
_DTYPES = ("float32", "float16", "uint8", "int8", "int16")
SAME_ORDER = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
"""Operators that hand scores on as they are, up to quantization, in their order."""
_PASS_ON = (*SAME_ORDER, "CAST", "TRANSPOSE")
_CHOOSE = (
    *("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK", "GATHER", "GATHER_ND"),
    *("CONCATENATION", "PACK", "PAD", "MAXIMUM", "MINIMUM", "REDUCE_MAX"),
)
"""Operators that choose among scores or join them: probabilities stay what they are."""
_RESCALE = ("ADD", "SUB", "MUL", "DIV", "NEG")
_AVERAGE = ("MEAN", "SUM", "AVERAGE_POOL_2D")
"""Operators after which probabilities may be none any more, and logits still are logits."""
_CUT_OFF = ("PAD", "MAXIMUM", "MINIMUM", "REDUCE_MAX")
"""Operators of _CHOOSE after which logits may be something else."""
_LINEAR = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL")
_BOUNDED = ("SOFTMAX", "LOGISTIC", "TANH")
_DETECTOR = "TFLite_Detection_PostProcess"
_EDGE_TPU = "edgetpu-custom-op"
_NEAR = 0.02
"""How far probabilities may be from 0..1, and their sum from 1, plus half a step for each class."""
_FAR = 0.25
"""How far from 0..1 what the user calls probabilities or scores may be: it is cut off there."""
_SETTLE = "say what it is: --scores probabilities, --scores logits or --scores scores"


@dataclass(frozen=True)
class Postprocessing:
    """What the output means.

    Attributes:
        classes: how many names it needs.
        kind: one of KINDS, of what the model itself gives.
        activation: what the function applies to it: "softmax", "sigmoid", or nothing.
        card: all of it in a line, with where it is from.
        doubt: what speaks against what the user says; empty if nothing does.
    """

    classes: int
    kind: str
    activation: str
    card: str
    doubt: str = ""


def count_classes(model: TFLiteModel) -> int:
    """How many numbers the output has, if it is one per class; 1 for a score of two classes.

    Raises:
        ModelError: the model is of another kind; names it.
    """
    for operator in model.operators:
        if operator.is_custom:
            _refuse_custom(model.name, operator.name)
    if len(model.outputs) != 1:
        raise ModelError(
            f"{model.name}: expected one output, a score per class, found {len(model.outputs)}: "
            + ", ".join(f"{each.name} ({each})" for each in model.outputs[:6]),
            f"this looks like another kind of model: {_of_several(model)}",
        )
    sink = model.outputs[0]
    last = _last(model)
    if last is not None and last.name in ("ARG_MAX", "ARG_MIN", "TOPK_V2"):
        raise ModelError(
            f"{model.name}: expected a score per class, found the number of a class, by "
            f"{last.name}",
            "convert the model without its last operator",
        )
    likeliest = last is not None and last.name == "REDUCE_MAX" and last.inputs[0]
    if likeliest and likeliest.shape[-1:] > (1,) and all(abs(size) == 1 for size in sink.shape):
        raise ModelError(
            f"{model.name}: expected a score per class, found that of the likeliest, by REDUCE_MAX",
            "convert the model without its last operator",
        )
    if sink.dtype not in _DTYPES or (sink.is_integer and not sink.scale):
        what = f"{sink.name}: {sink}" + (", without a scale" if sink.is_integer else "")
        raise ModelError(
            f"{model.name}: expected an output of {', '.join(_DTYPES)}, integers with a scale "
            f"and a zero point, found {what}",
            "convert the model with float32 or quantized outputs",
        )
    if sink.shape[:1] not in ((1,), (-1,)) and len(sink.shape) > 1:
        raise ModelError(
            f"{model.name}: expected a batch of 1 picture, found {sink.shape[0]}: {sink.name}: "
            f"{sink}",
            "convert the model with a batch size of 1, or a free one",
        )
    inner = sink.shape[1:] if len(sink.shape) > 1 else sink.shape
    sizes = [size for size in inner if size != 1]
    if sink.shape == (-1,):  # one number for each picture
        sizes = []
    if len(sizes) > 1 or any(size < 1 for size in sizes):
        raise ModelError(
            f"{model.name}: expected an output of shape [1, classes], found {sink.name}: {sink}",
            f"this looks like another kind of model: {_of_shape(model.inputs[0], sink)}",
        )
    if last is not None and last.name == "L2_NORMALIZATION":
        raise ModelError(
            f"{model.name}: expected a score per class, found a vector of length 1 (its last "
            "operator is L2_NORMALIZATION)",
            "this is another kind of model: an embedding, which is compared with others",
        )
    return sizes[0] if sizes else 1


def decide_postprocessing(
    model: TFLiteModel,
    count: int,
    wanted: str = "",
    outputs: ModelOutputs | None = None,
) -> Postprocessing:
    """Decide what the output means.

    Args:
        model: what its file says.
        count: what `count_classes` returned.
        wanted: what the user says, one of KINDS; empty for nothing.
        outputs: what the model gives for some pictures; None if it was not run.

    Raises:
        ModelError: it is not clear, or the evidence contradicts itself; says what was found, and
            which option settles it.
    """
    said, where = _by_file(model, count)
    if outputs is None:
        if wanted:
            return _made(count, wanted, "--scores")
        if said in KINDS:
            return _made(count, said, where)
        raise ModelError(f"{model.name}: {where}, and the model was not run", _SETTLE)
    same = _check_numbers(model, outputs)
    if same and not wanted:
        raise ModelError(
            f"{model.name}: {same}",
            "the input's range may be another (--mean, --std), or the model is damaged; if this is "
            f"right, {_SETTLE}",
        )
    seen, how = _by_behaviour(model.outputs[0], outputs.values, count)
    if wanted:
        return _as_wanted(model, count, wanted, said, where, seen, how, same, outputs)
    if said in ("", "linear") and seen == "embedding":
        raise ModelError(
            f"{model.name}: expected a score per class, found {how}",
            f"this looks like another kind of model, an embedding; if not, {_SETTLE}",
        )
    if seen in ("percentages", "costs"):
        raise ModelError(
            f"{model.name}: expected probabilities, scores or logits, found {how} ({where})",
            f"convert the model without its last operators; or {_SETTLE}",
        )
    if said == "linear":
        if seen != "logits":
            raise ModelError(
                f"{model.name}: {where}, as for logits, but its outputs are {how}",
                f"these contradict each other: {_SETTLE}",
            )
        if count == 1:
            raise ModelError(
                f"{model.name}: expected a score, found one number that may be any ({where}; "
                f"{how})",
                "this looks like another kind of model, a regression (an age, a price); if it is "
                "the logit of two classes: --scores logits",
            )
        return _made(count, "logits", f"{where}; {how}")
    if said in ("probabilities", "scores", "bounded") and seen not in ("probabilities", "scores"):
        raise ModelError(
            f"{model.name}: {where}, but its outputs are {how}",
            f"these contradict each other: {_SETTLE}",
        )
    if said == "bounded":
        return _made(count, seen, f"{where}; {how}")
    if said:
        return _made(count, said, where)
    if count == 1 and seen == "logits":
        raise ModelError(
            f"{model.name}: expected a score from 0 to 1, found one number that may be any ({how})",
            "this looks like another kind of model, a regression (an age, a price); if it is the "
            "logit of two classes: --scores logits",
        )
    return _made(count, seen, f"its outputs are {how}")


def _as_wanted(
    model: TFLiteModel,
    count: int,
    wanted: str,
    said: str,
    where: str,
    seen: str,
    how: str,
    same: str,
    outputs: ModelOutputs,
) -> Postprocessing:
    """What the user says, with what speaks against it; refused if it cannot be."""
    low, high = float(outputs.values.min()), float(outputs.values.max())
    if wanted != "logits" and (low < -_FAR or high > 1 + _FAR):
        raise ModelError(
            f"{model.name}: --scores {wanted}: expected outputs of 0..1, found {how}",
            "if they are logits: --scores logits; else convert the model without what follows its "
            "softmax or sigmoid",
        )
    doubts = [same] if same else []
    if (wanted == "logits") == (said in ("probabilities", "scores", "bounded")) and said:
        doubts.append(where)
    if wanted == "probabilities" and count > 1 and seen != "probabilities":
        doubts.append(f"its outputs are {how}")
    doubt = "; ".join(doubts)
    found = _made(count, wanted, f"--scores, though {doubt}" if doubt else "--scores")
    return replace(found, doubt=doubt)


def _made(count: int, kind: str, why: str) -> Postprocessing:
    if count == 1:
        if kind == "probabilities":
            kind = "scores"
        activation = "sigmoid" if kind == "logits" else ""
        said = {"scores": "one score p of two classes", "logits": "one logit of two classes"}[kind]
        text = f"{said}: the first is answered with p, the second with 1 - p ({why})"
        if activation:
            text = text.replace("(", "(the function applies a sigmoid; ", 1)
        return Postprocessing(2, kind, activation, text)
    activation = "softmax" if kind == "logits" else ""
    said = {
        "probabilities": f"probabilities of {count} classes, as they are",
        "scores": f"independent scores of {count} classes, each 0..1, as they are",
        "logits": f"logits of {count} classes, the function applies a softmax",
    }[kind]
    return Postprocessing(count, kind, activation, f"{said} ({why})")


def trace_back(model: TFLiteModel, pass_on: tuple[str, ...]) -> list[Operator]:
    """The operator that makes the output, last, and in front of it those that hand it on.

    From the output backwards, through operators named in `pass_on`; empty if none makes it.
    """
    found: list[Operator] = []
    operator = model.producer(model.outputs[0]) if model.outputs else None
    while operator is not None:
        if operator in found:  # a damaged file: it goes in circles
            return []
        found.append(operator)
        if operator.name not in pass_on or not operator.inputs or not operator.outputs:
            return found
        operator = model.producer(operator.inputs[0])
    return []


def _last(model: TFLiteModel) -> Operator | None:
    return next(reversed(trace_back(model, _PASS_ON)), None)


def _by_file(model: TFLiteModel, count: int) -> tuple[str, str]:
    """(kind, where it is from), as far as the last operators say it.

    The kind is one of KINDS, or "linear" for what may be any number, or "bounded" for what was
    within 0..1 or -1..1 and was then rescaled; empty for not known.
    """
    makers, through = _makers(model)
    behind = f", behind {'it' if len(makers) == 1 else 'them'} {', '.join(through)}"
    if not makers:
        return "", "no operator makes its output"
    names = sorted(maker.name for maker in makers)
    first = makers[0]
    where = (
        f"its last operator is {names[0]}"
        if len(names) == 1
        else (f"its last operators are {', '.join(names)}")
    )
    where += behind if through else ""
    rescaled = {*through} & {*_RESCALE, *_AVERAGE}
    if {*names} <= {*_BOUNDED} and (rescaled or "TANH" in names):
        return "bounded", where
    if {*names} == {"LOGISTIC"}:
        return "scores", where
    if len(makers) > 1:  # as many softmaxes, each of its own classes
        return "", where
    if first.name == "SOFTMAX":
        return ("probabilities" if count > 1 else "scores"), where
    if first.name == "LOG_SOFTMAX" and not through:
        return "logits", where
    linear = first.name in _LINEAR and first.activation == "NONE"
    return "linear" if linear and not {*through} & {*_CUT_OFF} else "", where


def _makers(model: TFLiteModel) -> tuple[list[Operator], list[str]]:
    """The operators that make the scores, and the names of those that the scores then go through.

    Operators that only hand scores on are left out.
    """
    makers: list[Operator] = []
    through: list[str] = []
    waiting, met = [model.outputs[0]], set()
    while waiting:
        tensor = waiting.pop()
        operator = model.producer(tensor)
        if operator is None or tensor.number in met:
            continue
        met.add(tensor.number)
        sources = [each for each in operator.inputs if each and not model.constant_behind(each)]
        one = operator.activation == "NONE" and len(sources) == 1
        if operator.name in (*_PASS_ON, *_CHOOSE) or (
            operator.name in (*_RESCALE, *_AVERAGE) and one
        ):
            if operator.name not in (*_PASS_ON, *through):
                through.insert(0, operator.name)
            waiting += sources
        elif operator not in makers:
            makers.append(operator)
    return makers, through


def _check_numbers(model: TFLiteModel, outputs: ModelOutputs) -> str:
    """What is odd about them, in words; refuses what is no number."""
    bad = [
        picture
        for picture, row in zip(outputs.pictures, outputs.values, strict=True)
        if not np.isfinite(row).all()
    ]
    if bad:
        raise ModelError(
            f"{model.name}: expected numbers, found NaN or infinity for {len(bad)} of "
            f"{len(outputs.pictures)} pictures ({', '.join(bad[:4])})",
            "the input's range may be another (--mean, --std), or the model is damaged",
        )
    if len(outputs.values) > 1 and (outputs.values == outputs.values[0]).all():
        return (
            f"its outputs are the same for all {len(outputs.pictures)} pictures that were tried, "
            "whatever is on them"
        )
    return ""


def _by_behaviour(sink: Tensor, real: NDArray[np.float64], count: int) -> tuple[str, str]:
    """(kind, or "percentages", "costs" or "embedding"; how the outputs are)."""
    step = sink.scale / 2
    low, high = float(real.min()), float(real.max())
    sums = real.sum(axis=1)
    ends = f"{low:.3g}..{high:.3g}"
    if low >= -_NEAR - step and high <= 1 + _NEAR + step:
        if count > 1 and abs(sums - 1).max() <= _NEAR + step * count:
            return "probabilities", f"within 0..1 and add up to 1, for {len(real)} pictures"
        return "scores", f"within 0..1 ({ends}) and do not add up to 1, for {len(real)} pictures"
    if count > 1 and low >= -step and len(real) > 1:
        if abs(sums - sums[0]).max() <= _NEAR * sums[0]:
            what = "percentages" if abs(sums[0] - 100) < 2 else "shares"
            return "percentages", f"{what}: {ends}, and they add up to {sums[0]:.4g}"
        with np.errstate(over="ignore"):
            shares = np.exp(-real).sum(axis=1)
        if abs(shares - 1).max() <= _NEAR:
            return "costs", f"costs, least for the likeliest: {ends}, and exp(-x) add up to 1"
    lengths = np.sqrt((real**2).sum(axis=1))
    if count > 8 and abs(lengths - 1).max() <= _NEAR:
        return "embedding", f"vectors of length 1, for {len(real)} pictures"
    return "logits", f"outside 0..1 ({ends})"


# Other kinds of models


def _refuse_custom(name: str, operator: str) -> None:
    said = f"{name} uses an operator that is not built into TFLite: {operator}"
    if operator == _DETECTOR:
        raise ModelError(said, "this is another kind of model: a detector, which gives boxes")
    if operator == _EDGE_TPU:
        raise ModelError(
            said, "it was compiled for Edge TPUs: take the .tflite that was given to the compiler"
        )
    if operator.startswith("Flex"):
        raise ModelError(said, "convert the model without SELECT_TF_OPS (TensorFlow's operators)")
    raise ModelError(said, "convert the model with builtin operators only")


def _of_several(model: TFLiteModel) -> str:
    shapes = [tensor.shape for tensor in model.outputs]
    names = " ".join(tensor.name.lower() for tensor in model.outputs)
    sizes = [abs(int(np.prod(shape))) for shape in shapes]
    if len(shapes) > 3 and any(len(shape) == 3 and shape[-1] == 4 for shape in shapes):
        return "a detector, which gives boxes, their classes and scores"
    if any(len(shape) >= 3 and shape[-1] == 4 for shape in shapes) or "box" in names:
        return "a detector, which gives boxes and scores"
    if all(len(shape) == 3 and shape[1] == shapes[0][1] > 100 for shape in shapes):
        return "a detector, which gives boxes and scores for many places"
    if any(len(shape) == 4 and min(shape[1:3]) > 1 for shape in shapes):
        return "a detector, or one of poses or outlines, which gives maps"
    if "landmark" in names or all(size == 1 or (size % 3 == 0 and size > 9) for size in sizes):
        return "one of landmarks: points of a face, a hand or a body"
    return "one with several answers; convert it with the one output that has a score per class"


def _of_shape(source: Tensor, sink: Tensor) -> str:
    shape = sink.shape
    if len(shape) == 4 and min(shape[1:3]) > 1:
        if shape[3] in (1, 3) and shape[1:3] == source.shape[1:3]:
            return "an image for an image (a mask, depth, a style)"
        return "a segmenter, or one of poses: a score per class for each of many places"
    if len(shape) == 4 and shape[2:] == (17, 3):
        return "one of poses: 17 points of the body"
    if len(shape) == 3 and shape[1] != shape[2] and max(shape[1:]) > 500:
        return "a detector, which gives boxes: one per row or column"
    if len(shape) == 3 and shape[2] == 4:
        return "a detector, which gives boxes"
    if len(shape) == 3 and shape[2] in (2, 3):
        return "one of landmarks: points of a face, a hand or a body"
    if len(shape) == 3:
        return "a sequence, as for reading text, or a segmenter: a score per class for each place"
    return "more than one score per class, as a segmenter or a detector gives"
