"""Decide how a picture enters a model: size, layout, colours, and the range of its pixels.

The user's option decides, else what the file says: metadata, quantization, first operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.tflite import Operator, Tensor, TFLiteModel

_DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "float16")
_STORED_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
# How far the ends of a range may be from a usual one's, as a share of its width: a converter takes
# the range from the pictures it was shown, which need not reach both ends.
_TOLERANCE = 0.05
# Of a pixel's blue, green and red, in models that Caffe trained and in Keras' of that mode.
_CAFFE_MEANS = (103.939, 116.779, 123.68)
# Share of the pixel values that may be beyond what a quantized input holds.
_MAX_CLIPPED = 0.1
# Larger inputs do not fit in an action's memory.
_MAX_PIXELS = 1 << 22
_HINT = (
    "say how a pixel p of 0..255 enters, as (p - mean) / std: --mean 127.5 --std 127.5 for -1..1, "
    "--mean 0 --std 255 for 0..1, --mean 0 --std 1 for 0..255; one number, or one per channel: "
    "--mean A,B,C --std A,B,C. The program that trained the model knows"
)
_ARITHMETIC = ("ADD", "SUB", "MUL", "DIV")
_IN_PLACE = ("QUANTIZE", "DEQUANTIZE", "CAST", *_ARITHMETIC, "PAD", "PADV2", "RELU")
# Operators that leave the range of the pixels as it is.
_SAME_VALUES = (
    *("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "REVERSE_V2"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
)
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Normalization:
    """A pixel p enters the network as (p - mean) / std; one number, or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def range(self) -> tuple[_Floats, _Floats]:
        """Return what 0 and 255 become, float64 of shape (1,) or (channels,)."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (0 - mean) / std, (255 - mean) / std

    def __str__(self) -> str:
        low, high = self.range()
        if len(low) == 1:
            return f"{low[0]:.4g}..{high[0]:.4g}"
        return ", ".join(f"{a:.3g}..{b:.3g}" for a, b in zip(low, high, strict=True))


# The usual ranges of an input. The last is ImageNet's mean and standard deviation.
_BYTES = Normalization((0.0,), (1.0,))
_PLUS_MINUS_ONE = Normalization((127.5,), (127.5,))
_ZERO_TO_ONE = Normalization((0.0,), (255.0,))
_USUAL = (
    *(_BYTES, _PLUS_MINUS_ONE, _ZERO_TO_ONE),
    Normalization((128.0,), (1.0,)),
    Normalization((127.5,), (255.0,)),
    Normalization((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)),
)


@dataclass(frozen=True)
class Preprocessing:
    """How a picture enters a model.

    Attributes:
        height, width, channels: of the picture, in pixels.
        layout: "nhwc", or "nchw" where the channels come first.
        channel_order: "rgb" or "bgr".
        normalization: of the pixels.
        card: all of it in a line, with the reasons.
        doubt: what contradicts the user's normalization; empty if nothing does.
    """

    height: int
    width: int
    channels: int
    layout: str
    channel_order: str
    normalization: Normalization
    card: str
    doubt: str = ""


def decide_preprocessing(
    model: TFLiteModel,
    *,
    normalization: Normalization | None = None,
    known: Normalization | None = None,
    layout: str = "",
    channels: str = "",
) -> Preprocessing:
    """Decide how a picture enters.

    Args:
        model: the model.
        normalization: the user's option.
        known: the catalogue's.
        layout: the user's option, "nhwc" or "nchw"; empty for none.
        channels: the user's option, "rgb" or "bgr"; empty for none.

    Raises:
        ModelError: the input is not a picture, or something is unclear; says what was found and
            which option settles it.
    """
    source = _get_input(model)
    (height, width, depth), layout, layout_reason = _decide_layout(model, source, layout)
    if height * width > _MAX_PIXELS:
        raise ModelError(
            f"{model.name}: expected a picture of at most {_MAX_PIXELS:,} pixels, found {width} x "
            f"{height}: {source}",
            "a function has 512 MB of memory at most; convert the model with a smaller input",
        )
    decided, reason, doubt = _decide_range(model, source, depth, normalization, known)
    for values, option in ((decided.mean, "--mean"), (decided.std, "--std")):
        if len(values) not in (1, depth):
            raise ModelError(
                f"{option}: expected one number or {depth}, one per channel, found {len(values)}"
            )
    if channels and depth == 1:
        raise ModelError(f"--channels {channels}: expected a model of colours, found {source}")
    order = channels or "rgb"
    place = {"nhwc": "last", "nchw": "first"}[layout]
    colours = f"{order.upper()}, channels {place}" if depth == 3 else "grey"
    if not channels and not doubt and np.allclose(decided.mean, _CAFFE_MEANS, atol=1):
        doubt = "they are Caffe's for blue, green, red, and pixels enter as RGB (--channels bgr)"
    card = f"{width} x {height} {colours}{layout_reason}, {source.dtype}; "
    card += f"pixels enter as {decided} ({reason})"
    return Preprocessing(height, width, depth, layout, order, decided, card, doubt)


def _get_input(model: TFLiteModel) -> Tensor:
    """Return the input tensor; raise ModelError if there are several, or it cannot hold pixels."""
    if len(model.inputs) != 1:
        listed = ", ".join(f"{each.name} ({each})" for each in model.inputs[:4])
        raise ModelError(
            f"{model.name}: expected one input, a picture, found {len(model.inputs)}: {listed}",
            "this is another kind of model: it needs more than a picture",
        )
    source = model.inputs[0]
    if source.dtype not in _DTYPES:
        raise ModelError(
            f"{model.name}: expected an input of {', '.join(_DTYPES)}, found {source.name}: "
            f"{source}",
            "convert the model with uint8, int8 or float32 inputs",
        )
    return source


# Size and layout


def _decide_layout(
    model: TFLiteModel, source: Tensor, wanted: str
) -> tuple[tuple[int, int, int], str, str]:
    """Return (height, width, channels), the layout, and the reason if the shape alone is none."""
    sizes = _picture_sizes(model, source)
    if len(sizes) == 2:
        return (sizes[0], sizes[1], 1), "nhwc", ""
    first, second, third = sizes
    readings = {"nhwc": (first, second, third), "nchw": (second, third, first)}
    fitting = {layout: size for layout, size in readings.items() if size[2] in (1, 3)}
    if wanted:
        if wanted not in fitting:
            raise ModelError(
                f"--layout {wanted}: expected 3 or 1 channels, found {source.name}: {source}"
            )
        return fitting[wanted], wanted, " (--layout)"
    if not fitting:
        _refuse_shape(model, source)
    if all(min(height, width) == 1 for height, width, _ in fitting.values()):
        pixels = max(max(height, width) for height, width, _ in fitting.values())
        raise ModelError(
            f"{model.name}: expected a picture, found one row of {pixels} pixels: {source}",
            _guess_kind((pixels,)),
        )
    if len(fitting) == 1:
        [(layout, size)] = fitting.items()
        return size, layout, ""
    layout = _layout_of_first_operator(model, source)
    if not layout:
        raise ModelError(
            f"{model.name}: the input {source} may be read as height, width, channels or as "
            "channels, height, width",
            "say which with --layout nhwc or --layout nchw",
        )
    return fitting[layout], layout, " (by its first operator)"


def _picture_sizes(model: TFLiteModel, source: Tensor) -> tuple[int, ...]:
    """Return the two or three sizes of one picture, without the batch."""
    shape = source.shape
    batch, sizes = (shape[0], shape[1:]) if len(shape) == 4 else (1, shape)
    if len(shape) == 3 and shape[0] in (1, -1) and shape[2] not in (1, 3):
        sizes = shape[1:]  # [1, 28, 28]: a grey picture, whether the 1 is its batch or its channel
    if batch not in (1, -1):
        raise ModelError(
            f"{model.name}: expected a batch of 1 picture, found {batch}: {source.name}: {source}",
            "convert the model with a batch size of 1, or a free one",
        )
    if len(sizes) not in (2, 3) or (len(shape) == 2 and shape[0] in (1, -1)):
        _refuse_shape(model, source)
    if any(size < 1 for size in sizes):
        raise ModelError(
            f"{model.name}: expected an input of a fixed size, found {list(shape)} (-1 is free)",
            "convert the model with a fixed height and width, such as [1, 224, 224, 3]",
        )
    return sizes


def _refuse_shape(model: TFLiteModel, source: Tensor) -> NoReturn:
    raise ModelError(
        f"{model.name}: expected an input of shape [1, height, width, 3 or 1], found {source}",
        _guess_kind(source.shape),
    )


def _guess_kind(shape: tuple[int, ...]) -> str:
    """Return a hint about a model whose input is not a picture."""
    other = "this looks like another kind of model: "
    if len([size for size in shape if size != 1]) <= 1:
        return (
            other + "a vector enters, such as sound, text or measurements. If it is a picture laid "
            "flat, convert the model with its own shape"
        )
    if len(shape) >= 3 and (shape[-1] in (2, 4) or shape[-1] > 4):
        return other + f"{shape[-1]} channels are not an RGB or grey picture"
    return other + "what enters is not a picture"


def _layout_of_first_operator(model: TFLiteModel, source: Tensor) -> str:
    """Return the layout that the first operator with one expects; empty if there is none."""
    for operator in _first_operators(model, source, _IN_PLACE):
        if operator.name == "TRANSPOSE" and operator.inputs[1] is not None:
            axes = operator.inputs[1].values
            to_nhwc = axes is not None and axes.ravel().tolist()[-3:] == [2, 3, 1]
            return "nchw" if to_nhwc else ""
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D"):
            return "nhwc"  # TensorFlow Lite has them in this layout only
    return ""


def _first_operators(
    model: TFLiteModel, source: Tensor, through: tuple[str, ...]
) -> list[Operator]:
    """Return the operators after the input, up to and with the first one not in `through`."""
    found: list[Operator] = []
    while len(consumers := model.consumers(source)) == 1 and consumers[0] not in found:
        found.append(consumers[0])
        if consumers[0].name not in through or len(consumers[0].outputs) != 1:
            break
        source = consumers[0].outputs[0]
    return found


# The range of the pixels


@dataclass(frozen=True)
class _Evidence:
    """What tensors and operators say about the range of the pixels.

    Attributes:
        normalization: a usual one; None if they say no usual one, or nothing.
        reason: how they say it; empty if they say nothing.
    """

    normalization: Normalization | None = None
    reason: str = ""


def _decide_range(
    model: TFLiteModel,
    source: Tensor,
    channels: int,
    wanted: Normalization | None,
    known: Normalization | None,
) -> tuple[Normalization, str, str]:
    """Return the normalization, the reason, and what contradicts it if the user wants it."""
    graph = _judge_graph(model, source)
    if wanted is not None:
        doubt = _find_contradiction(wanted, source, graph)
        return wanted, "--mean and --std" + (f", though {doubt}" if doubt else ""), doubt
    if known is not None:
        return known, "the catalogue", ""
    doubts, metadata = [], model.metadata
    if metadata.mean and len(metadata.mean) == len(metadata.std):
        stated = Normalization(metadata.mean, metadata.std)
        problem = _find_problem(stated, channels)
        doubts.append(f"its metadata's mean and std{f' ({problem})' if problem else ''}")
        if not problem:
            contradiction = _find_contradiction(stated, source, graph)
            if not contradiction:
                return stated, "its metadata", ""
            doubts[0] += f", for {stated}"
            # For integers, 0 and 1 are often written for "the bytes as they are".
            if not (source.is_integer and stated == _BYTES):
                _refuse_unclear(model, source, [*doubts, contradiction])
    if graph.normalization is not None:
        reason = f"{graph.reason}, unlike {doubts[0]}" if doubts else graph.reason
        return graph.normalization, reason, ""
    if graph.reason:
        doubts.append(graph.reason)
    if len(metadata.low) == len(metadata.high) == 1 and not source.is_integer:
        low, high = metadata.low[0], metadata.high[0]
        if usual := _match_usual(low, high):
            return usual, "its metadata's least and largest value", ""
        doubts.append(f"its metadata's {_format_range(low, high)}")
    _refuse_unclear(model, source, doubts)


def _judge_graph(model: TFLiteModel, source: Tensor) -> _Evidence:
    """Return what the input tensor and the first operators say."""
    if source.scale:
        return _judge_quantized(source)
    if source.is_integer:
        return _judge_integers(model, source)
    for operator in _first_operators(model, source, _SAME_VALUES):
        if operator.name == "QUANTIZE" and operator.outputs[0].scale:
            quantized = operator.outputs[0]
            if quantized.dtype not in _STORED_RANGES:
                break
            held = _format_range(*_held_range(quantized))
            return _Evidence(_match_held(quantized), f"its first operator, QUANTIZE, holds {held}")
    return _judge_arithmetic(model, source)


def _find_contradiction(found: Normalization, source: Tensor, graph: _Evidence) -> str:
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
    if graph.normalization is None:
        return ""
    starts, ends = graph.normalization.range()
    width = max(float(high.max() - low.min()), float(ends.max() - starts.min()))
    distance = max(abs(low.min() - starts.min()), abs(high.max() - ends.max()))
    if distance <= width / 4:
        return ""
    return f"{graph.reason}, as for pixels of {graph.normalization}"


def _refuse_unclear(model: TFLiteModel, source: Tensor, doubts: list[str]) -> NoReturn:
    found = "; ".join(doubts) if doubts else "no metadata and no operator that says so"
    raise ModelError(
        f"{model.name} does not say how its input ({source}) is scaled: expected a usual range of "
        f"pixel values, found {found}",
        _HINT,
    )


def _find_problem(stated: Normalization, channels: int) -> str:
    """Return why a normalization is impossible; empty if it is possible."""
    if len(stated.mean) not in (1, channels):
        return f"{len(stated.mean)} numbers for {channels} channels"
    if not (min(stated.std) > 0 and np.isfinite([*stated.mean, *stated.std]).all()):
        return f"a mean of {stated.mean[0]:g} and a std of {min(stated.std):g}"
    return ""


def _held_range(tensor: Tensor) -> tuple[float, float]:
    """Return the least and the largest number that a quantized tensor can hold."""
    low, high = _STORED_RANGES[tensor.dtype]
    return tensor.dequantize(low), tensor.dequantize(high)


def _format_range(low: float, high: float) -> str:
    return f"{low:.4g}..{high:.4g}"


def _judge_quantized(source: Tensor) -> _Evidence:
    """Return what the scale and zero point of a quantized input say."""
    if source.dtype not in _STORED_RANGES:
        return _Evidence(None, f"a scale of {source.scale:g}")
    found = _match_held(source)
    if found is not None and source.dtype != "int16" and len(found.mean) == 1:
        # The bytes as they are: what 0 and 255 mean is in the file, to the last digit.
        low = _STORED_RANGES[source.dtype][0]
        found = Normalization((float(source.zero_point - low),), (1 / source.scale,))
    held = _format_range(*_held_range(source))
    return _Evidence(found, f"its scale and zero point hold {held}")


def _judge_integers(model: TFLiteModel, source: Tensor) -> _Evidence:
    """Return what the first operators say of integers without a scale: bytes, before a CAST."""
    operators = _first_operators(model, source, (*_IN_PLACE, *_SAME_VALUES))
    first = next((each.name for each in operators if each.name not in _SAME_VALUES), "no")
    if source.dtype == "int8" or first != "CAST":
        return _Evidence(None, f"integers without a scale, for {first} operator")
    return _Evidence(_BYTES, "integers without a scale that its first operator, CAST, takes")


def _match_held(tensor: Tensor) -> Normalization | None:
    """Return the usual range that a quantized tensor holds; None if none, or several."""
    low, high = _held_range(tensor)
    if tensor.dtype != "int16":
        return _match_usual(low, high)
    # Symmetric, whatever it holds: only how far it reaches says something.
    fitting = [
        usual
        for usual in _USUAL
        if abs(high - max(abs(end).max() for end in usual.range())) <= _TOLERANCE * high
    ]
    return fitting[0] if len(fitting) == 1 else None


def _match_usual(low: float, high: float) -> Normalization | None:
    """Return the usual range that is nearly low..high; None if none is."""
    for usual in _USUAL:
        starts, ends = usual.range()
        width = float(ends.max() - starts.min())
        if max(abs(low - starts.min()), abs(high - ends.max())) <= _TOLERANCE * width:
            return usual
    # Bright pictures may have been missing, but no other range reaches so far.
    return _BYTES if abs(low) <= 1 and 128 < high <= 256 else None


@dataclass(frozen=True)
class _Step:
    """An operator with a constant: the function that it computes, and its text for messages."""

    apply: Callable[[_Floats], _Floats]
    text: str


def _judge_arithmetic(model: TFLiteModel, source: Tensor) -> _Evidence:
    """Return what additions and multiplications with constants after the input say.

    That is the one usual range which they turn into a usual one.
    """
    steps: list[_Step] = []
    for operator in _first_operators(model, source, (*_IN_PLACE, *_SAME_VALUES)):
        step = _read_step(model, operator)
        if step is not None:
            steps.append(step)
        elif operator.name not in ("CAST", "DEQUANTIZE", *_SAME_VALUES):
            break
    if not steps:
        return _Evidence()
    fitting = []
    for candidate in (_BYTES, _PLUS_MINUS_ONE, _ZERO_TO_ONE):
        low, high = candidate.range()
        for step in steps:
            low, high = step.apply(low), step.apply(high)
        low, high = np.minimum(low, high), np.maximum(low, high)
        if any(_is_close(low, high, usual) for usual in _USUAL):
            fitting.append(candidate)
    reason = f"its first operators, {', '.join(step.text for step in steps)}"
    return _Evidence(fitting[0] if len(fitting) == 1 else None, reason)


def _read_step(model: TFLiteModel, operator: Operator) -> _Step | None:
    """Return the arithmetic of an operator with a constant; None for any other operator."""
    if operator.name not in _ARITHMETIC or operator.activation != "NONE":
        return None
    constants = [each and model.constant_behind(each) for each in operator.inputs]
    constant = next((each for each in constants if each is not None), None)
    if constant is None or constant.values is None or constant.values.size not in (1, 3):
        return None
    value = constant.values.astype(np.float64).ravel()
    is_first = constant is constants[0]
    if operator.name == "DIV" and is_first:
        return None
    apply: Callable[[_Floats], _Floats] = {
        "ADD": lambda x: x + value,
        "SUB": (lambda x: value - x) if is_first else (lambda x: x - value),
        "MUL": lambda x: x * value,
        "DIV": lambda x: x / value,
    }[operator.name]
    numbers = ", ".join(f"{number:.4g}" for number in value)
    return _Step(apply, f"{operator.name} {numbers}")


def _is_close(low: _Floats, high: _Floats, usual: Normalization) -> bool:
    starts, ends = usual.range()
    if len(starts) != len(low) and len(starts) != 1:
        return False
    width = float((ends - starts).max())
    return bool(
        (abs(low - starts) <= _TOLERANCE * width).all()
        and (abs(high - ends) <= _TOLERANCE * width).all()
    )
