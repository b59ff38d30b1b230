"""Decide how a picture enters a model: size, layout, colours, and the range of its pixels.

The user's option decides, else what the file says: metadata, quantization, first operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from builder.base.errors import ModelError
from builder.model.decision import Evidence
from builder.model.metadata import Metadata
from builder.model.normalization import (
    BYTES,
    CAFFE,
    PLUS_MINUS_ONE,
    ZERO_TO_ONE,
    Floats,
    Normalization,
    match_symmetric,
    match_usual,
)
from builder.model.tflite import Operator, Tensor, TFLiteModel
from builder.model.vision_task import check_batch, find_picture_input, refuse_input

_STORED_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
# Share of the pixel values that may be beyond what a quantized input holds.
_MAX_CLIPPED = 0.1
# Larger inputs do not fit in an action's memory.
_MAX_PIXELS = 1 << 22
_HINT = (
    "say how a pixel p of 0..255 enters, as (p - mean) / std: --mean 127.5 --std 127.5 for -1..1, "
    "--mean 0 --std 255 for 0..1, --mean 0 --std 1 for 0..255; one number, or one per channel: "
    "--mean A,B,C --std A,B,C. The program that trained the model knows"
)
_ARITHMETIC = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide}
_IN_PLACE = ("QUANTIZE", "DEQUANTIZE", "CAST", *_ARITHMETIC, "PAD", "PADV2", "RELU")
# Operators that leave the range of the pixels as it is.
_SAME_VALUES = (
    *("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "REVERSE_V2"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
)


# What is known about the range: a usual one, or None if it says none; no reason if it says nothing.
_Range = Evidence[Normalization | None]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture enters a model.

    Attributes:
        source: the input tensor.
        height, width, depth: of the picture, in pixels and channels.
        layout: "nhwc", or "nchw" where the channels come first.
        channels: the order of colours, "rgb" or "bgr".
        normalization: of the pixels.
        doubt: what contradicts the user's normalization; empty if nothing does.
    """

    source: Tensor
    height: int
    width: int
    depth: int
    layout: Evidence[str]
    channels: Evidence[str]
    normalization: Evidence[Normalization]
    doubt: str

    @property
    def card(self) -> str:
        """All of it in a line, with the reasons."""
        place = {"nhwc": "channels last", "nchw": "channels first"}[self.layout.value]
        colours = f"{self.channels.value.upper()}, {place}" if self.depth == 3 else "grey"
        reason = f" ({self.layout.reason})" if self.layout.reason else ""
        though = f", though {self.doubt}" if self.doubt else ""
        return (
            f"{self.width} x {self.height} {colours}{reason}, {self.source.dtype}; pixels enter as "
            f"{self.normalization.value} ({self.normalization.reason}{though})"
        )


def decide_preprocessing(
    model: TFLiteModel,
    *,
    normalization: Normalization | None = None,
    known: Normalization | None = None,
    layout: str = "",
    channels: str = "",
) -> Preprocessing:
    """Decide how a picture enters.

    The user's options are empty or None if not given; `known` is the catalogue's normalization.

    Raises:
        ModelError: the input is not a picture, or something is unclear; says what was found and
            which option settles it.
    """
    source = find_picture_input(model)
    decided_layout, size = _decide_layout(model, source, layout)
    height, width, depth = size
    if height * width > _MAX_PIXELS:
        raise ModelError(
            f"{model.name}: expected a picture of at most {_MAX_PIXELS:,} pixels, found {width} x "
            f"{height}: {source}",
            "a function has 512 MB of memory at most; convert the model with a smaller input",
        )
    if channels and depth == 1:
        raise ModelError(f"--channels {channels}: expected a model of colours, found {source}")
    graph = _judge_graph(model, source)
    doubt = ""
    if normalization is not None:
        _check_counts(normalization, depth)
        doubt = _find_doubt(normalization, source, graph, channels)
        decided = Evidence(normalization, "option", "--mean and --std")
    elif known is not None:
        decided = Evidence(known, "catalogue", "the catalogue")
    else:
        decided = _decide_range(model, source, depth, graph)
    order: Evidence[str] = Evidence("rgb", "default", "the default")
    if channels:
        order = Evidence(channels, "option", "--channels")
    return Preprocessing(source, *size, decided_layout, order, decided, doubt)


# Size and layout


def _decide_layout(
    model: TFLiteModel, source: Tensor, wanted: str
) -> tuple[Evidence[str], tuple[int, int, int]]:
    """Return the layout, and the picture's height, width and channels."""
    sizes = _picture_sizes(model, source)
    if len(sizes) == 2:
        sizes = (*sizes, 1)
    first, second, third = sizes
    readings = {"nhwc": (first, second, third), "nchw": (second, third, first)}
    fitting = {layout: size for layout, size in readings.items() if size[2] in (1, 3)}
    if wanted:
        if wanted not in fitting:
            raise ModelError(
                f"--layout {wanted}: expected 3 or 1 channels, found {source.name}: {source}"
            )
        return Evidence(wanted, "option", "--layout"), fitting[wanted]
    if not fitting:
        refuse_input(model, source)
    if all(min(height, width) == 1 for height, width, _ in fitting.values()):
        refuse_input(model, source)
    if len(fitting) == 1:
        [(layout, size)] = fitting.items()
        return Evidence(layout, "file", ""), size
    layout = _layout_of_first_operator(model, source)
    if not layout:
        raise ModelError(
            f"{model.name}: the input {source} may be read as height, width, channels or as "
            "channels, height, width",
            "say which with --layout nhwc or --layout nchw",
        )
    return Evidence(layout, "file", "by its first operator"), fitting[layout]


def _picture_sizes(model: TFLiteModel, source: Tensor) -> tuple[int, ...]:
    """Return the two or three sizes of one picture, without the batch."""
    shape = source.shape
    batch, sizes = (shape[0], shape[1:]) if len(shape) == 4 else (1, shape)
    if len(shape) == 3 and shape[0] in (1, -1) and shape[2] not in (1, 3):
        sizes = shape[1:]  # [1, 28, 28]: a grey picture, whether the 1 is its batch or its channel
    check_batch(model, source, batch)
    if len(sizes) not in (2, 3) or (len(shape) == 2 and shape[0] in (1, -1)):
        refuse_input(model, source)
    if any(size < 1 for size in sizes):
        raise ModelError(
            f"{model.name}: expected an input of a fixed size, found {list(shape)} (-1 is free)",
            "convert the model with a fixed height and width, such as [1, 224, 224, 3]",
        )
    return sizes


def _layout_of_first_operator(model: TFLiteModel, source: Tensor) -> str:
    """Return the layout that the first operator with one expects; empty if there is none."""
    for operator in model.trace_forward(source, _IN_PLACE):
        if operator.name == "TRANSPOSE" and operator.inputs[1] is not None:
            axes = operator.inputs[1].values
            to_nhwc = axes is not None and axes.ravel().tolist()[-3:] == [2, 3, 1]
            return "nchw" if to_nhwc else ""
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D"):
            return "nhwc"  # TensorFlow Lite has them in this layout only
    return ""


# The range of the pixels


def _decide_range(
    model: TFLiteModel, source: Tensor, depth: int, graph: _Range
) -> Evidence[Normalization]:
    """Return the range that metadata and graph say; raise ModelError if they leave it open."""
    stated = _read_stated_range(model.metadata, depth)
    if stated.value is not None:
        against = _find_contradiction(stated.value, source, graph)
        if not against:
            return Evidence(stated.value, "metadata", "its metadata")
        # For integers, 0 and 1 are often written for "the bytes as they are".
        if not (source.is_integer and stated.value == BYTES):
            _refuse_unclear(model, source, [stated.reason, against])
    if graph.value is not None:
        unlike = f", unlike {stated.reason}" if stated.reason else ""
        return Evidence(graph.value, "file", graph.reason + unlike)
    _refuse_unclear(model, source, [stated.reason, graph.reason])


def _read_stated_range(metadata: Metadata, depth: int) -> _Range:
    """Return what the metadata's mean and standard deviation say."""
    if not metadata.mean or len(metadata.mean) != len(metadata.std):
        return _Range(None, "metadata", "")
    reason = "its metadata's mean and std"
    mean, std = metadata.mean, metadata.std
    if len(mean) not in (1, depth):
        return _Range(None, "metadata", f"{reason} ({len(mean)} numbers for {depth} channels)")
    if not (min(std) > 0 and np.isfinite([*mean, *std]).all()):
        text = f"{reason} (a mean of {mean[0]:g} and a std of {min(std):g})"
        return _Range(None, "metadata", text)
    stated = Normalization(mean, std)
    return _Range(stated, "metadata", f"{reason}, for {stated}")


def _refuse_unclear(model: TFLiteModel, source: Tensor, reasons: list[str]) -> NoReturn:
    found = "; ".join(filter(None, reasons)) or "no metadata and no operator that says so"
    raise ModelError(
        f"{model.name} does not say how its input ({source}) is scaled: expected a usual range of "
        f"pixel values, found {found}",
        _HINT,
    )


def _check_counts(normalization: Normalization, depth: int) -> None:
    """Raise ModelError unless there is one number for all channels, or one for each."""
    for values, option in ((normalization.mean, "--mean"), (normalization.std, "--std")):
        if len(values) not in (1, depth):
            raise ModelError(
                f"{option}: expected one number or {depth}, one per channel, found {len(values)}"
            )


def _find_doubt(wanted: Normalization, source: Tensor, graph: _Range, channels: str) -> str:
    """Return what contradicts the user's normalization; empty if nothing does."""
    doubt = _find_contradiction(wanted, source, graph)
    if not doubt and not channels and np.allclose(wanted.mean, CAFFE.mean[::-1], atol=1):
        return "they are Caffe's for blue, green, red, and pixels enter as RGB (--channels bgr)"
    return doubt


def _find_contradiction(found: Normalization, source: Tensor, graph: _Range) -> str:
    """Return what tensors and operators say against a normalization; empty if nothing."""
    low, high = found.range()
    if source.dtype in _STORED_RANGES and source.scale:
        least, largest = _held_range(source)
        values = np.linspace(low, high, 256)
        clipped = float(((values < least) | (values > largest)).mean())
        stored = np.unique(np.rint(np.clip(values, least, largest) / abs(source.scale)))
        if not clipped <= _MAX_CLIPPED or len(stored) < 64:
            return graph.reason
        if source.zero_point == 0 and source.dtype != "uint8":
            return ""  # symmetric: what it holds says nothing of the lower end
    if graph.value is None:
        return ""
    starts, ends = graph.value.range()
    width = max(float(high.max() - low.min()), float(ends.max() - starts.min()))
    distance = max(abs(low.min() - starts.min()), abs(high.max() - ends.max()))
    if distance <= width / 4:
        return ""
    return f"{graph.reason}, as for pixels of {graph.value}"


# What tensors and operators say about the range


def _judge_graph(model: TFLiteModel, source: Tensor) -> _Range:
    """Return what the input tensor and the first operators say."""
    if source.scale:
        return _judge_quantized(source, "its scale and zero point hold", is_stored=True)
    if source.is_integer:
        return _judge_integers(model, source)
    last = model.trace_forward(source, _SAME_VALUES)[-1:]
    if last and last[0].name == "QUANTIZE" and last[0].outputs[0].scale:
        return _judge_quantized(last[0].outputs[0], "its first operator, QUANTIZE, holds")
    return _judge_arithmetic(model, source)


def _judge_quantized(tensor: Tensor, how: str, is_stored: bool = False) -> _Range:
    """Return what the scale and zero point of a tensor say.

    `how` begins the reason. If bytes are stored in it as they are, it says what 0 and 255 mean,
    to the last digit.
    """
    if tensor.dtype not in _STORED_RANGES:
        return _Range(None, "file", f"a scale of {tensor.scale:g}")
    low, high = _held_range(tensor)
    found = match_symmetric(high)
    if tensor.dtype != "int16":
        found = match_usual(np.array([low]), np.array([high]))
        # Bright pictures may have been missing, but no other range reaches so far.
        found = found or (BYTES if abs(low) <= 1 and 128 < high <= 256 else None)
    if is_stored and found and tensor.dtype != "int16" and len(found.mean) == 1:
        first = _STORED_RANGES[tensor.dtype][0]
        found = Normalization((float(tensor.zero_point - first),), (1 / tensor.scale,))
    return _Range(found, "file", f"{how} {low:.4g}..{high:.4g}")


def _held_range(tensor: Tensor) -> tuple[float, float]:
    """Return the least and the largest number that a quantized tensor can hold."""
    low, high = _STORED_RANGES[tensor.dtype]
    return tensor.dequantize(low), tensor.dequantize(high)


def _judge_integers(model: TFLiteModel, source: Tensor) -> _Range:
    """Return what the first operators say of integers without a scale: bytes, before a CAST."""
    operators = model.trace_forward(source, (*_IN_PLACE, *_SAME_VALUES))
    first = next((each.name for each in operators if each.name not in _SAME_VALUES), "no")
    if source.dtype == "int8" or first != "CAST":
        return _Range(None, "file", f"integers without a scale, for {first} operator")
    return _Range(BYTES, "file", "integers without a scale that its first operator, CAST, takes")


def _judge_arithmetic(model: TFLiteModel, source: Tensor) -> _Range:
    """Return what additions and multiplications with constants after the input say.

    That is the one usual range which they turn into a usual one.
    """
    ends = {each: each.range() for each in (BYTES, PLUS_MINUS_ONE, ZERO_TO_ONE)}
    steps: list[str] = []
    for operator in model.trace_forward(source, (*_IN_PLACE, *_SAME_VALUES)):
        if step := _read_step(model, operator):
            compute, text = step
            ends = {each: (compute(low), compute(high)) for each, (low, high) in ends.items()}
            steps.append(text)
        elif operator.name not in ("CAST", "DEQUANTIZE", *_SAME_VALUES):
            break
    if not steps:
        return _Range(None, "file", "")
    fitting = [
        each
        for each, (low, high) in ends.items()
        if match_usual(np.minimum(low, high), np.maximum(low, high))
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
