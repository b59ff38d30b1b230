"""Decide how pixels are normalized before they enter a model: as (p - mean) / std.

The user's --mean and --std decide, else the catalogue, else the metadata, the quantization of the
input and the first operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.evidence import Evidence
from builder.model.metadata import Metadata
from builder.model.tflite import Operator, Tensor, TFLiteModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Normalization:
    """A pixel p enters the network as (p - mean) / std; one number, or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def range(self) -> tuple[Floats, Floats]:
        """Return what 0 and 255 become, float64 of shape (1,) or (channels,)."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (0 - mean) / std, (255 - mean) / std

    def __str__(self) -> str:
        low, high = self.range()
        if len(low) == 1:
            return f"{low[0]:.4g}..{high[0]:.4g}"
        return ", ".join(f"{a:.3g}..{b:.3g}" for a, b in zip(low, high, strict=True))


# What is known about the range: a usual one, or None if it says none; no reason if it says nothing.
_Range = Evidence[Normalization | None]

BYTES = Normalization((0.0,), (1.0,))
PLUS_MINUS_ONE = Normalization((127.5,), (127.5,))
ZERO_TO_ONE = Normalization((0.0,), (255.0,))
# Means and standard deviations of ImageNet, and Caffe's means; for red, green, blue.
IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE = Normalization((123.68, 116.779, 103.939), (1.0,))
# By the names that people know.
RANGES = {
    "0..1": ZERO_TO_ONE,
    "-1..1": PLUS_MINUS_ONE,
    "0..255": BYTES,
    "ImageNet's mean, std": IMAGENET,
    "Caffe's means": CAFFE,
}
# Those that quantization and arithmetic tell.
_USUAL = (
    *(BYTES, PLUS_MINUS_ONE, ZERO_TO_ONE),
    *(Normalization((128.0,), (1.0,)), Normalization((127.5,), (255.0,)), IMAGENET),
)
# How far the ends of a range may be from a usual one's, as a share of its width: a converter takes
# the range from the pictures it was shown, which need not reach both ends.
_TOLERANCE = 0.05
# Share of the pixel values that may be beyond what a quantized input holds.
_MAX_CLIPPED = 0.1
_STORED_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
_ARITHMETIC = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide}
# Operators that leave the range of the pixels as it is.
_SAME_VALUES = (
    *("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "REVERSE_V2"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
)
_BEFORE_NETWORK = (*_SAME_VALUES, "CAST", "DEQUANTIZE", *_ARITHMETIC)
_HINT = (
    "say how a pixel p of 0..255 enters, as (p - mean) / std: --mean 127.5 --std 127.5 for -1..1, "
    "--mean 0 --std 255 for 0..1, --mean 0 --std 1 for 0..255; one number, or one per channel: "
    "--mean A,B,C --std A,B,C. The program that trained the model knows"
)


def decide_normalization(
    model: TFLiteModel,
    source: Tensor,
    depth: int,
    wanted: Normalization | None,
    known: Normalization | None,
    channels: str,
) -> Evidence[Normalization]:
    """Decide how pixels are normalized for an input tensor of `depth` channels.

    `wanted` is that of --mean and --std, `known` the catalogue's, `channels` as in --channels.

    Raises:
        ModelError: the model leaves it open; says what was found and which options settle it.
    """
    by_file = _read_file(model, source)
    if wanted is not None:
        for values, option in ((wanted.mean, "--mean"), (wanted.std, "--std")):
            if len(values) not in (1, depth):
                expected = f"expected one number or {depth}, one per channel"
                raise ModelError(f"{option}: {expected}, found {len(values)}")
        doubt = _find_contradiction(wanted, source, by_file)
        if not (doubt or channels) and np.allclose(wanted.mean, CAFFE.mean[::-1], atol=1):
            doubt = "they are Caffe's for blue, green, red; pixels enter as RGB (--channels bgr)"
        return Evidence(wanted, "option", "--mean, --std", doubt)
    if known is not None:
        return Evidence(known, "catalogue", "the catalogue")
    stated = _read_metadata(model.metadata, depth)
    if stated.value is not None:
        against = _find_contradiction(stated.value, source, by_file)
        if not against:
            return Evidence(stated.value, "metadata", "its metadata")
        # For integers, 0 and 1 are often written for "the bytes as they are".
        if not (source.is_integer and stated.value == BYTES):
            _refuse_unclear(model, source, [stated.reason, against])
    if by_file.value is not None:
        unlike = f", unlike {stated.reason}" if stated.reason else ""
        return Evidence(by_file.value, "file", by_file.reason + unlike)
    _refuse_unclear(model, source, [stated.reason, by_file.reason])


def _read_metadata(metadata: Metadata, depth: int) -> _Range:
    """Return what the metadata's mean and standard deviation say."""
    mean, std, reason = metadata.mean, metadata.std, "its metadata's mean and std"
    if not mean or len(mean) != len(std):
        return _Range(None, "metadata", "")
    if len(mean) not in (1, depth) or not (min(std) > 0 and np.isfinite([*mean, *std]).all()):
        return _Range(None, "metadata", f"{reason} ({mean}, {std}), for {depth} channels")
    stated = Normalization(mean, std)
    return _Range(stated, "metadata", f"{reason}, for {stated}")


def _refuse_unclear(model: TFLiteModel, source: Tensor, reasons: list[str]) -> NoReturn:
    found = "; ".join(filter(None, reasons)) or "no metadata and no operator that says so"
    raise ModelError(
        f"{model.name} does not say how its input ({source}) is scaled: expected a usual range of "
        f"pixel values, found {found}",
        _HINT,
    )


def _find_contradiction(found: Normalization, source: Tensor, by_file: _Range) -> str:
    """Return what tensors and operators say against a normalization; empty if nothing."""
    low, high = found.range()
    if source.dtype in _STORED_RANGES and source.scale:
        least, largest = _held_range(source)
        values = np.linspace(low, high, 256)
        clipped = float(((values < least) | (values > largest)).mean())
        stored = np.unique(np.rint(np.clip(values, least, largest) / abs(source.scale)))
        if not clipped <= _MAX_CLIPPED or len(stored) < 64:
            return by_file.reason
        if source.zero_point == 0 and source.dtype != "uint8":
            return ""  # symmetric: what it holds says nothing of the lower end
    if by_file.value is None:
        return ""
    starts, ends = by_file.value.range()
    width = max(float(high.max() - low.min()), float(ends.max() - starts.min()))
    distance = max(abs(low.min() - starts.min()), abs(high.max() - ends.max()))
    if distance <= width / 4:
        return ""
    return f"{by_file.reason}, as for pixels of {by_file.value}"


# What tensors and operators say


def _read_file(model: TFLiteModel, source: Tensor) -> _Range:
    """Return what the input tensor and the first operators say."""
    if source.scale:
        return _read_quantization(source, "its scale and zero point hold", is_stored=True)
    if source.is_integer:
        return _read_integers(model, source)
    last = model.trace_forward(source, _SAME_VALUES)[-1:]
    if last and last[0].name == "QUANTIZE" and last[0].outputs[0].scale:
        return _read_quantization(last[0].outputs[0], "its first operator, QUANTIZE, holds")
    return _read_arithmetic(model, source)


def _read_quantization(tensor: Tensor, how: str, is_stored: bool = False) -> _Range:
    """Return what the scale and zero point of a tensor say.

    `how` begins the reason. If bytes are stored in it as they are, it says what 0 and 255 mean,
    to the last digit.
    """
    if tensor.dtype not in _STORED_RANGES:
        return _Range(None, "file", f"a scale of {tensor.scale:g}")
    low, high = _held_range(tensor)
    found = _match_usual(np.array([low]), np.array([high]))
    # Bright pictures may have been missing, but no other range reaches so far.
    found = found or (BYTES if abs(low) <= 1 and 128 < high <= 256 else None)
    if tensor.dtype == "int16":  # symmetric: as much below 0 can always be held
        found = None
    elif is_stored and found and len(found.mean) == 1:
        first = _STORED_RANGES[tensor.dtype][0]
        found = Normalization((float(tensor.zero_point - first),), (1 / tensor.scale,))
    return _Range(found, "file", f"{how} {low:.4g}..{high:.4g}")


def _held_range(tensor: Tensor) -> tuple[float, float]:
    """Return the least and the largest number that a quantized tensor can hold."""
    low, high = _STORED_RANGES[tensor.dtype]
    return tensor.dequantize(low), tensor.dequantize(high)


def _match_usual(low: Floats, high: Floats) -> Normalization | None:
    """Return the usual range that a range, of shape (1,) or (channels,), nearly is, or None."""
    for usual in _USUAL:
        starts, ends = usual.range()
        if len(low) == 1:
            starts, ends = starts.min(keepdims=True), ends.max(keepdims=True)
        distance = np.maximum(abs(low - starts), abs(high - ends))
        if (distance <= _TOLERANCE * (ends - starts).max()).all():
            return usual
    return None


def _read_integers(model: TFLiteModel, source: Tensor) -> _Range:
    """Return what the first operators say of integers without a scale: bytes, before a CAST."""
    operators = model.trace_forward(source, _SAME_VALUES)
    first = next((each.name for each in operators if each.name not in _SAME_VALUES), "no")
    if source.dtype == "int8" or first != "CAST":
        return _Range(None, "file", f"integers without a scale, for {first} operator")
    return _Range(BYTES, "file", "integers without a scale that its first operator, CAST, takes")


def _read_arithmetic(model: TFLiteModel, source: Tensor) -> _Range:
    """Return what additions and multiplications with constants after the input say.

    That is the one usual range which they turn into a usual one.
    """
    ends = {each: each.range() for each in (BYTES, PLUS_MINUS_ONE, ZERO_TO_ONE)}
    steps: list[str] = []
    for operator in model.trace_forward(source, _BEFORE_NETWORK):
        if step := _read_step(model, operator):
            compute, text = step
            ends = {each: (compute(low), compute(high)) for each, (low, high) in ends.items()}
            steps.append(text)
        elif operator.name in _ARITHMETIC:
            break
    if not steps:
        return _Range(None, "file", "")
    fitting = [
        each
        for each, (low, high) in ends.items()
        if _match_usual(np.minimum(low, high), np.maximum(low, high))
    ]
    reason = f"its first operators, {', '.join(steps)}"
    return _Range(fitting[0] if len(fitting) == 1 else None, "file", reason)


def _read_step(
    model: TFLiteModel, operator: Operator
) -> tuple[Callable[[Floats], Floats], str] | None:
    """Return the arithmetic of an operator with a constant, and its text; None for any other."""
    compute = _ARITHMETIC.get(operator.name)
    if compute is None or operator.activation != "NONE":
        return None
    constants = [each and model.constant_behind(each) for each in operator.inputs]
    constant = next((each for each in constants if each is not None), None)
    if constant is None or constant.values is None or constant.values.size not in (1, 3):
        return None
    value = constant.values.astype(np.float64).ravel()
    text = f"{operator.name} {', '.join(f'{number:.4g}' for number in value)}"
    if constant is not constants[0]:
        return lambda x: compute(x, value), text
    return None if operator.name == "DIV" else (lambda x: compute(value, x), text)
