"""How a picture enters a model: size, layout, colours, and what range its pixels are scaled to.

Decided by what the user says, else by what the file says: metadata, quantization, first operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.tflite import Operator, Tensor, TFLiteModel

LAYOUTS = ("nhwc", "nchw")
_DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "float16")
_STORED = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
_IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
_CLOSE = 0.05
"""How far the ends of a range may be from a usual one's, as a share of its width: a converter takes
the range from the pictures it was shown, which need not reach both ends."""
_CUT_OFF = 0.1
"""Share of the pixel values that may be beyond what a quantized input holds."""
_MOST_PIXELS = 1 << 22
"""Of a picture: with more, what enters and what is made of it is more than an action's memory."""
_HINT = (
    "say how a pixel p of 0..255 enters, as (p - mean) / std: --mean 127.5 --std 127.5 for -1..1, "
    "--mean 0 --std 255 for 0..1, --mean 0 --std 1 for 0..255; one number, or one per channel: "
    "--mean A,B,C --std A,B,C. The program that trained the model knows"
)


@dataclass(frozen=True)
class Normalization:
    """A pixel p enters the network as (p - mean) / std; one number, or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What 0 and 255 become, float64 of shape (1,) or (channels,)."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (0 - mean) / std, (255 - mean) / std

    def __str__(self) -> str:
        low, high = self.range()
        if len(low) == 1:
            return f"{low[0]:.4g}..{high[0]:.4g}"
        return ", ".join(f"{a:.3g}..{b:.3g}" for a, b in zip(low, high, strict=True))


_RANGES = {
    "0..255": Normalization((0.0,), (1.0,)),
    "-1..1": Normalization((127.5,), (127.5,)),
    "0..1": Normalization((0.0,), (255.0,)),
    "-128..127": Normalization((128.0,), (1.0,)),
    "-0.5..0.5": Normalization((127.5,), (255.0,)),
    "ImageNet's mean and deviation": Normalization(_IMAGENET_MEAN, _IMAGENET_STD),
}
"""The usual ranges of an input."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture enters.

    Attributes:
        height, width, channels: of the picture, in pixels.
        layout: "nhwc", or "nchw" where the channels come first.
        normalization: of the pixels.
        card: all of it in a line, with where it is from.
        doubt: what speaks against the normalization that the user says; empty if nothing does.
    """

    height: int
    width: int
    channels: int
    layout: str
    normalization: Normalization
    card: str
    doubt: str = ""


def decide_preprocessing(
    model: TFLiteModel,
    *,
    normalization: Normalization | None = None,
    known: Normalization | None = None,
    layout: str = "",
) -> Preprocessing:
    """Decide how a picture enters.

    Args:
        model: what its file says.
        normalization: what the user says.
        known: what the catalogue says.
        layout: what the user says, "nhwc" or "nchw"; empty for nothing.

    Raises:
        ModelError: the input is no picture, or it is not clear how one enters; says what was found
            and which option settles it.
    """
    source = _one_picture(model)
    size, layout, why = _layout(model, source, layout)
    height, width, channels = size
    if height * width > _MOST_PIXELS:
        raise ModelError(
            f"{model.name}: expected a picture of at most {_MOST_PIXELS:,} pixels, found {width} x "
            f"{height}: {source}",
            "a function has 512 MB of memory at most; convert the model with a smaller input",
        )
    decided, origin, doubt = _range(model, source, channels, normalization, known)
    for values, option in ((decided.mean, "--mean"), (decided.std, "--std")):
        if len(values) not in (1, channels):
            raise ModelError(
                f"{option}: expected one number or {channels}, one per channel, found {len(values)}"
            )
    colours = "RGB" if channels == 3 else "grey"
    order = {"nhwc": "channels last", "nchw": "channels first"}[layout] if channels == 3 else ""
    card = f"{width} x {height} {colours}{f', {order}' if order else ''}{why}, {source.dtype}; "
    card += f"pixels enter as {decided} ({origin})"
    return Preprocessing(height, width, channels, layout, decided, card, doubt)


def _one_picture(model: TFLiteModel) -> Tensor:
    """The input tensor, if there is one and its type can hold pixels."""
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


def _layout(
    model: TFLiteModel, source: Tensor, wanted: str
) -> tuple[tuple[int, int, int], str, str]:
    """(height, width, channels), the layout, and words of where it is from, if it was asked."""
    shape = source.shape
    batch, inner = (shape[0], shape[1:]) if len(shape) == 4 else (1, shape)
    if len(shape) == 3 and shape[0] in (1, -1) and shape[2] not in (1, 3):
        inner = shape[1:]  # [1, 28, 28]: a grey picture, whether the 1 is its batch or its channel
    if batch not in (1, -1):
        raise ModelError(
            f"{model.name}: expected a batch of 1 picture, found {batch}: {source.name}: {source}",
            "convert the model with a batch size of 1, or a free one",
        )
    if len(inner) not in (2, 3) or (len(shape) == 2 and shape[0] in (1, -1)):
        raise ModelError(
            f"{model.name}: expected an input of shape [1, height, width, 3 or 1], found {source}",
            _no_picture(shape),
        )
    if any(size < 1 for size in inner):
        raise ModelError(
            f"{model.name}: expected an input of a fixed size, found {list(shape)} (-1 is free)",
            "convert the model with a fixed height and width, such as [1, 224, 224, 3]",
        )
    if len(inner) == 2:
        return (inner[0], inner[1], 1), "nhwc", ""
    last, first = inner[2] in (1, 3), inner[0] in (1, 3)
    readings = {
        "nhwc": ((inner[0], inner[1], inner[2]), last),
        "nchw": ((inner[1], inner[2], inner[0]), first),
    }
    if wanted:
        size, fits = readings[wanted]
        if not fits:
            raise ModelError(
                f"--layout {wanted}: expected 3 or 1 channels, found {source.name}: {source}"
            )
        return size, wanted, " (--layout)"
    if not last and not first:
        raise ModelError(
            f"{model.name}: expected an input of shape [1, height, width, 3 or 1], found {source}",
            _no_picture(shape),
        )
    rows = [max(size[:2]) for size, fits in readings.values() if fits and min(size[:2]) == 1]
    if len(rows) == last + first > 0:
        raise ModelError(
            f"{model.name}: expected a picture, found one row of {rows[0]} pixels: {source}",
            _no_picture((rows[0],)),
        )
    if last and first:
        seen = _layout_of_first_operator(model, source)
        if not seen:
            raise ModelError(
                f"{model.name}: the input {source} may be read as height, width, channels or as "
                "channels, height, width",
                "say which with --layout nhwc or --layout nchw",
            )
        return readings[seen][0], seen, " (by its first operator)"
    layout = "nhwc" if last else "nchw"
    return readings[layout][0], layout, ""


def _no_picture(shape: tuple[int, ...]) -> str:
    sizes = [size for size in shape if size != 1]
    if len(sizes) <= 1:
        return (
            "this looks like another kind of model: a vector enters, such as sound, text or "
            "measurements. If it is a picture laid flat, convert the model with its own shape"
        )
    if len(shape) >= 3 and (shape[-1] in (2, 4) or shape[-1] > 4):
        return (
            f"this looks like another kind of model: {shape[-1]} channels are no RGB or grey "
            "picture"
        )
    return "this looks like another kind of model: what enters is no picture"


def _layout_of_first_operator(model: TFLiteModel, source: Tensor) -> str:
    """The layout that the first operator with one expects; empty if none is seen."""
    for operator in _first_operators(model, source):
        if operator.name == "TRANSPOSE" and operator.inputs[1] is not None:
            axes = operator.inputs[1].values
            if axes is not None and axes.ravel().tolist()[-3:] == [2, 3, 1]:
                return "nchw"
            return ""
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D"):
            return "nhwc"  # TensorFlow Lite has them in this layout only
    return ""


_IN_PLACE = ("QUANTIZE", "DEQUANTIZE", "CAST", "ADD", "SUB", "MUL", "DIV", "PAD", "PADV2", "RELU")
_SAME_VALUES = (
    *("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "REVERSE_V2"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
)
"""Operators that leave the range of the pixels as it is."""


def _first_operators(
    model: TFLiteModel, source: Tensor, through: tuple[str, ...] = _IN_PLACE
) -> list[Operator]:
    """The operators from the input on, as long as they are those of `through`, and the next one."""
    found: list[Operator] = []
    while len(consumers := model.consumers(source)) == 1 and consumers[0] not in found:
        found.append(consumers[0])
        if consumers[0].name not in through or len(consumers[0].outputs) != 1:
            break
        source = consumers[0].outputs[0]
    return found


# The range of the pixels


def _range(
    model: TFLiteModel,
    source: Tensor,
    channels: int,
    said: Normalization | None,
    known: Normalization | None,
) -> tuple[Normalization, str, str]:
    """The normalization, where it is from, and what speaks against it if the user says it."""
    graph, where = _by_graph(model, source)
    if said is not None:
        doubt = _contradiction(said, source, graph, where)
        origin = "--mean and --std" + (f", though {doubt}" if doubt else "")
        return said, origin, doubt
    if known is not None:
        return known, "the catalogue", ""
    doubts = []
    metadata = model.metadata
    if metadata.mean and len(metadata.mean) == len(metadata.std):
        found = Normalization(metadata.mean, metadata.std)
        what = f"its metadata's mean and std, for {found}"
        problem = _misfit(found, channels)
        against = "" if problem else _contradiction(found, source, graph, where)
        if not problem and not against:
            return found, "its metadata", ""
        doubts.append(f"its metadata's mean and std ({problem})" if problem else what)
        # For integers, 0 and 1 are often written for "the bytes as they are".
        if against and not (source.is_integer and found == _RANGES["0..255"]):
            _unclear(model.name, source, [what, against])
    if graph is not None:
        return graph, f"{where}, unlike {doubts[0]}" if doubts else where, ""
    if where:
        doubts.append(where)
    if len(metadata.low) == len(metadata.high) == 1 and not source.is_integer:
        found_range = _usual(metadata.low[0], metadata.high[0])
        if found_range is not None:
            return found_range, "its metadata's least and largest value", ""
        doubts.append(f"its metadata's {_said((metadata.low[0], metadata.high[0]))}")
    _unclear(model.name, source, doubts)


def _by_graph(model: TFLiteModel, source: Tensor) -> tuple[Normalization | None, str]:
    """What tensors and operators say: a usual range, or None; and how they say it, if they do."""
    if source.scale:
        return _of_quantized(source)
    if source.is_integer:
        return _of_integers(model, source)
    quantized = _quantized_first(model, source)
    if quantized is not None:
        limits = _limits(quantized)
        return _usual_of(quantized), f"its first operator, QUANTIZE, holds {_said(limits)}"
    arithmetic = _arithmetic(model, source)
    if arithmetic:
        steps = ", ".join(step.text for step in arithmetic)
        return _by_arithmetic(arithmetic), f"its first operators, {steps}"
    return None, ""


def _contradiction(
    found: Normalization, source: Tensor, graph: Normalization | None, where: str
) -> str:
    """What tensors and operators say against a normalization, in words; empty if nothing."""
    low, high = found.range()
    if source.dtype in _STORED and source.scale:
        ends = _limits(source)
        values = np.linspace(low, high, 256)
        beyond = float(((values < ends[0]) | (values > ends[1])).mean())
        stored = np.unique(np.rint(np.clip(values, *ends) / abs(source.scale)))
        if not beyond <= _CUT_OFF or len(stored) < 64:
            return where
        if source.zero_point == 0 and source.dtype != "uint8":
            return ""  # symmetric: what it holds says nothing of the lower end
    if graph is None:
        return ""
    starts, ends_ = graph.range()
    width = max(float(high.max() - low.min()), float(ends_.max() - starts.min()))
    apart = max(abs(low.min() - starts.min()), abs(high.max() - ends_.max()))
    return f"{where}, as for pixels of {graph}" if apart > width / 4 else ""


def _unclear(name: str, source: Tensor, doubts: list[str]) -> NoReturn:
    found = "; ".join(doubts) if doubts else "no metadata and no operator that says so"
    raise ModelError(
        f"{name} does not say how its input ({source}) is scaled: expected a usual range of pixel "
        f"values, found {found}",
        _HINT,
    )


def _misfit(found: Normalization, channels: int) -> str:
    """Why a normalization cannot be one; empty if it can."""
    if len(found.mean) not in (1, channels):
        return f"{len(found.mean)} numbers for {channels} channels"
    if not (min(found.std) > 0 and np.isfinite([*found.mean, *found.std]).all()):
        return f"a mean of {found.mean[0]:g} and a std of {min(found.std):g}"
    return ""


def _limits(tensor: Tensor) -> tuple[float, float]:
    """The least and the largest number that a quantized tensor can hold."""
    low, high = _STORED[tensor.dtype]
    return tensor.dequantize(low), tensor.dequantize(high)


def _said(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.4g}..{limits[1]:.4g}"


def _of_quantized(source: Tensor) -> tuple[Normalization | None, str]:
    """Of a quantized input: its scale and zero point say what its 256 values mean."""
    if source.dtype not in _STORED:
        return None, f"a scale of {source.scale:g}"
    where = f"its scale and zero point hold {_said(_limits(source))}"
    found = _usual_of(source)
    if found is not None and source.dtype != "int16" and len(found.mean) == 1:
        # The bytes as they are: what 0 and 255 mean is in the file, to the last digit.
        low = _STORED[source.dtype][0]
        found = Normalization((float(source.zero_point - low),), (1 / source.scale,))
    return found, where


def _of_integers(model: TFLiteModel, source: Tensor) -> tuple[Normalization | None, str]:
    """Of integers that are not quantized: pixels as they are, behind a CAST."""
    first = _first_operators(model, source, (*_IN_PLACE, *_SAME_VALUES))
    first = [each for each in first if each.name not in _SAME_VALUES]
    if source.dtype == "int8" or not first or first[0].name != "CAST":
        return None, f"integers without a scale, for {first[0].name if first else 'no'} operator"
    return _RANGES["0..255"], "integers without a scale that its first operator, CAST, takes"


def _usual_of(tensor: Tensor) -> Normalization | None:
    """The usual range that a quantized tensor holds; None if none, or not just one."""
    low, high = _limits(tensor)
    if tensor.dtype != "int16":
        return _usual(low, high)
    # Symmetric, whatever it holds: only how far it reaches says something.
    fitting = [
        usual
        for usual in _RANGES.values()
        if abs(high - max(abs(end).max() for end in usual.range())) <= _CLOSE * high
    ]
    return fitting[0] if len(fitting) == 1 else None


def _usual(low: float, high: float) -> Normalization | None:
    """The usual range that is nearly low..high; None if none is."""
    for usual in _RANGES.values():
        starts, ends = usual.range()
        width = float(ends.max() - starts.min())
        if max(abs(low - starts.min()), abs(high - ends.max())) <= _CLOSE * width:
            return usual
    # Bright pictures may have been missing, but no other range reaches so far.
    return _RANGES["0..255"] if abs(low) <= 1 and 128 < high <= 256 else None


def _quantized_first(model: TFLiteModel, source: Tensor) -> Tensor | None:
    """What a float input is quantized to at once; None if it is not."""
    for first in _first_operators(model, source, _SAME_VALUES):
        if first.name == "QUANTIZE" and first.outputs[0].scale:
            output = first.outputs[0]
            return output if output.dtype in _STORED else None
    return None


@dataclass(frozen=True)
class _Step:
    """An operator with a constant: what it does to an array, and in words."""

    apply: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    text: str


def _arithmetic(model: TFLiteModel, source: Tensor) -> list[_Step]:
    """The additions and multiplications with constants that the input goes through first."""
    steps = []
    for operator in _first_operators(model, source, (*_IN_PLACE, *_SAME_VALUES)):
        step = _step(model, operator)
        if step is None:
            if operator.name in ("CAST", "DEQUANTIZE", *_SAME_VALUES):
                continue
            break
        steps.append(step)
    return steps


def _step(model: TFLiteModel, operator: Operator) -> _Step | None:
    if operator.name not in ("ADD", "SUB", "MUL", "DIV") or operator.activation != "NONE":
        return None
    constants = [each and model.constant_behind(each) for each in operator.inputs]
    constant = next((each for each in constants if each is not None), None)
    if constant is None or constant.values is None or constant.values.size not in (1, 3):
        return None
    value = constant.values.astype(np.float64).ravel()
    first = constant is constants[0]
    if operator.name == "DIV" and first:
        return None
    apply: Callable[[NDArray[np.float64]], NDArray[np.float64]] = {
        "ADD": lambda x: x + value,
        "SUB": (lambda x: value - x) if first else (lambda x: x - value),
        "MUL": lambda x: x * value,
        "DIV": lambda x: x / value,
    }[operator.name]
    shown = ", ".join(f"{number:.4g}" for number in value)
    return _Step(apply, f"{operator.name} {shown}")


def _by_arithmetic(steps: list[_Step]) -> Normalization | None:
    """The one usual range of the input that becomes another usual one; None if not just one."""
    fitting = []
    for name in ("0..255", "-1..1", "0..1"):
        ends = [np.array([end.min()]) for end in _RANGES[name].range()]
        low, high = (_through(steps, end) for end in ends)
        low, high = np.minimum(low, high), np.maximum(low, high)
        if any(_matches(low, high, usual) for usual in _RANGES.values()):
            fitting.append(_RANGES[name])
    return fitting[0] if len(fitting) == 1 else None


def _through(steps: list[_Step], values: NDArray[np.float64]) -> NDArray[np.float64]:
    for step in steps:
        values = step.apply(values)
    return values


def _matches(low: NDArray[np.float64], high: NDArray[np.float64], usual: Normalization) -> bool:
    starts, ends = usual.range()
    if len(starts) != len(low) and len(starts) != 1:
        return False
    width = float((ends - starts).max())
    return bool(
        (abs(low - starts) <= _CLOSE * width).all() and (abs(high - ends) <= _CLOSE * width).all()
    )
