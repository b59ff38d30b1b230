"""Small .tflite models for tests, written with the object API of TensorFlow Lite's schema.

`Graph` writes any model, operator by operator. `ColourModel` and `DenseModel` are classifiers with
known answers, `QuantizedNetwork` is a uint8 network with random weights, and
`write_float_network` writes a float32 one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Array = np.ndarray[Any, Any]
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


# Any graph


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its number, shape, scale and zero point."""

    number: int
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0


_REDUCERS = ("MEAN", "SUM", "REDUCE_MAX")


def _default_options(kind: str) -> Any:
    """Return an operator's options, of the object API; None if it has none."""
    name = "Reducer" if kind in _REDUCERS else kind.title().replace("_", "")
    options = getattr(schema, f"{name}OptionsT", None)
    return options and options(**{"beta": 1.0} if kind == "SOFTMAX" else {})


class Graph:
    """A graph that grows operator by operator.

    Attributes:
        tensors, buffers, operators, codes: of the schema's object API, as far as it has grown.
        last: the newest operator's output.
    """

    last: Value

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.buffers = [schema.BufferT()]
        self.operators: list[Any] = []
        self.codes: list[Any] = []

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: str = "float32",
        scale: float = 0.0,
        zero_point: int = 0,
        data: Array | None = None,
        name: str = "",
    ) -> Value:
        """Add any tensor; with `data` a constant, with a scale a quantized one."""
        dtype_number = getattr(schema.TensorType, dtype.upper())
        tensor = schema.TensorT(shape=np.array(shape, np.int32), type=dtype_number)
        tensor.name = (name or f"t{len(self.tensors)}").encode()
        if scale:
            tensor.quantization = schema.QuantizationParametersT(
                scale=np.array([scale], np.float32), zeroPoint=np.array([zero_point], np.int64)
            )
        if data is not None:
            content = np.frombuffer(data.tobytes(), np.uint8)
            self.buffers.append(schema.BufferT(data=content))
            tensor.buffer = len(self.buffers) - 1
        self.tensors.append(tensor)
        return Value(len(self.tensors) - 1, tuple(shape), float(np.float32(scale)), zero_point)

    def constant(self, data: Array) -> Value:
        """Add values that are not quantized."""
        return self.tensor(data.shape, data.dtype.name, data=data)

    def integers(self, *values: Any) -> Value:
        """Add an int32 constant, such as axes or a shape."""
        return self.constant(np.array(values, np.int32))

    def operator(
        self,
        kind: str,
        inputs: Sequence[Value],
        output: Value | tuple[int, ...],
        options: Any = None,
        version: int = 1,
        custom: str = "",
    ) -> Value:
        """Add an operator; return its output.

        Args:
            kind: its name among the schema's builtin operators.
            inputs: in the operator's order.
            output: the only one; the shape of a new one of float32.
            options: of the object API, such as `Conv2DOptionsT`; None for the operator's defaults.
            version: of the operator.
            custom: name of a custom operator, whose kind is CUSTOM.
        """
        if not isinstance(output, Value):
            output = self.tensor(output)
        options = options or _default_options(kind)
        code = getattr(schema.BuiltinOperator, kind)
        name = custom.encode() if custom else None
        # Codes of 128 and more do not fit the older of the two fields (the schema's comment).
        self.codes.append(schema.OperatorCodeT(min(code, 127), name, version, code))
        union = type(options).__name__.removesuffix("T")
        self.operators.append(
            schema.OperatorT(
                len(self.codes) - 1,
                np.array([value.number for value in inputs], np.int32),
                np.array([output.number], np.int32),
                getattr(schema.BuiltinOptions, union) if options else 0,
                options,
            )
        )
        self.last = output
        return output

    def file(self, sources: Sequence[Value], outputs: Sequence[Value]) -> bytes:
        """Return the .tflite file of the graph from its inputs to its outputs."""
        graph = schema.SubGraphT(
            self.tensors,
            np.array([value.number for value in sources], np.int32),
            np.array([value.number for value in outputs], np.int32),
            self.operators,
            b"main",
        )
        model = schema.ModelT(3, self.codes, [graph], b"a test", self.buffers)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


# Classifiers in all the forms that models come in

COLOURS = ("red", "green", "blue")
_ZERO_POINTS = {"uint8": 0, "int8": -128}
SIDE = 8
# Scale of a quantized dense layer's output, which holds -6.4..6.35.
_LOGIT_SCALE = 1 / 20


@dataclass(frozen=True)
class DenseModel:
    """The mean of each channel over the picture enters one dense layer, and that the head.

    Attributes:
        weights: their dtype; "uint8" and "int8" make the whole model of that type.
        channels: of the picture: 3 or 1.
        layout: "nhwc" or "nchw".
        head: "softmax", "logits", "sigmoid", or "decomposed" for EXP, SUM and DIV.
        outputs: of the dense layer; 0 for a model without it, whose logits are the means.
        seed: of the weights.
        size: side of the input, in pixels.
    """

    weights: str = "float32"
    channels: int = 3
    layout: str = "nhwc"
    head: str = "softmax"
    outputs: int = 3
    seed: int = 0
    size: int = SIDE

    @property
    def is_quantized(self) -> bool:
        return self.weights in _ZERO_POINTS

    def answer(self, picture: Array) -> Array:
        """Return the scores for a picture, uint8 (height, width, channels), by numpy."""
        weights, bias = self._numbers()
        logits = picture.reshape(-1, self.channels).mean(axis=0) / 255 @ weights.T + bias
        if self.outputs == 1:
            share = 1 / (1 + np.exp(-logits[0]))
            return np.array([share, 1 - share])
        if self.head == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-logits)))
        powers = np.exp(logits - logits.max())
        return np.asarray(powers / powers.sum())

    def write(self, path: Path) -> Path:
        """Write the model to `path`."""
        graph, size = Graph(), (self.size, self.size)
        shape = (1, self.channels, *size) if self.layout == "nchw" else (1, *size, self.channels)
        source = x = self._activation(graph, shape, 1 / 255, 0)
        axes = graph.integers(*((2, 3) if self.layout == "nchw" else (1, 2)))
        mean = self._activation(graph, (1, self.channels), 1 / 255, 0)
        x = graph.operator("MEAN", [x, axes], mean, version=2)
        x = self._add_head(graph, self._add_dense(graph, x) if self.outputs else x)
        path.write_bytes(graph.file([source], [x]))
        return path

    def _numbers(self) -> tuple[Array, Array]:
        """Return weights of shape (outputs, channels) and bias, as the model has them."""
        random = np.random.default_rng(self.seed)
        weights = random.integers(-127, 128, (self.outputs, self.channels)) / 64
        bias = random.integers(-255, 256, self.outputs) / (64 * 255)
        if self.outputs == 1:
            weights[0, 0] = 1.5  # so that pictures differ
        return weights, bias

    def _activation(
        self, graph: Graph, shape: tuple[int, ...], scale: float, zero_point: int
    ) -> Value:
        """Add a tensor of the model's type; the zero point is uint8's."""
        if not self.is_quantized:
            return graph.tensor(shape)
        zero_point += _ZERO_POINTS[self.weights]
        return graph.tensor(shape, self.weights, scale, zero_point)

    def _add_dense(self, graph: Graph, x: Value) -> Value:
        values, bias = self._numbers()
        if self.is_quantized:
            zero = 128 if self.weights == "uint8" else 0
            stored = np.rint(values * 64 + zero).astype(self.weights)
            weights = graph.tensor(values.shape, self.weights, 1 / 64, zero, stored)
            sums = np.rint(bias * 64 * 255).astype(np.int32)
            offsets = graph.tensor(bias.shape, "int32", 1 / (64 * 255), 0, sums)
        else:
            weights = graph.constant(values.astype(self.weights))
            if self.weights == "float16":
                weights = graph.operator("DEQUANTIZE", [weights], values.shape, version=3)
            offsets = graph.constant(bias.astype(np.float32))
        output = self._activation(graph, (1, self.outputs), _LOGIT_SCALE, 128)
        version = 4 if self.weights == "int8" else 1
        return graph.operator("FULLY_CONNECTED", [x, weights, offsets], output, version=version)

    def _add_head(self, graph: Graph, x: Value) -> Value:
        if self.head == "logits":
            return x
        shape = x.shape
        if self.head in ("softmax", "sigmoid"):
            kind = "SOFTMAX" if self.head == "softmax" else "LOGISTIC"
            output = self._activation(graph, shape, 1 / 256, 0)
            return graph.operator(kind, [x], output, version=2 if self.weights == "int8" else 1)
        if self.is_quantized:
            x = graph.operator("DEQUANTIZE", [x], shape, version=2)
        powers = graph.operator("EXP", [x], shape)
        options = schema.ReducerOptionsT(keepDims=True)
        total = graph.operator("SUM", [powers, graph.integers(1)], (1, 1), options)
        return graph.operator("DIV", [powers, total], shape)


class ColourModel(DenseModel):
    """A classifier whose classes are the channels: it takes the mean of each over the picture.

    Quantized ones have a scale of 1/255 for input and output.
    """

    def __init__(
        self, dtype: str = "float32", size: int = SIDE, channels: int = 3, softmax: bool = False
    ) -> None:
        head = "softmax" if softmax else "logits"
        super().__init__(dtype, channels, head=head, outputs=0, size=size)


# Networks with random weights

# Standard deviation of an output in steps, so that it neither saturates nor vanishes.
_SPREAD = 40.0


class QuantizedNetwork(Graph):
    """A uint8 network as TensorFlow's quantization-aware training made them.

    Each method adds an operator to `self.last`, which is the source at first. Each channel's
    weights leave the reach of int8 with probability `wide`.
    """

    def __init__(self, seed: int, shape: tuple[int, ...] = (1, 8, 8, 3), wide: float = 0.5) -> None:
        super().__init__()
        self.wide = wide
        self.random = np.random.default_rng(seed)
        self.source = self.last = self.activation(shape, 1 / 128, 128)

    def activation(
        self, shape: tuple[int, ...], scale: float, zero_point: int | None = None
    ) -> Value:
        zero = int(self.random.integers(256)) if zero_point is None else zero_point
        return self.tensor(shape, "uint8", scale, zero)

    def weights(self, shape: tuple[int, ...], axis: int) -> Value:
        """Add weights whose channels are dimension `axis`."""
        zero = int(self.random.integers(40, 216))
        low, high = max(0, zero - 127), min(255, zero + 127)
        data = self.random.integers(low, high + 1, shape, np.uint8)
        for row in np.moveaxis(data, axis, 0):
            if self.random.random() < self.wide:
                row[(0,) * row.ndim] = 0 if zero > 127 else 255
        return self.tensor(shape, "uint8", float(self.random.uniform(0.002, 0.02)), zero, data)

    def _weighted(self, kind: str, weights: Value, depth: int, options: Any = None) -> Value:
        """Add an operator with weights and bias, of the size of the sums, and `depth` channels."""
        source, shape = self.last, (*self.last.shape[:-1], depth)
        fan = int(np.prod(weights.shape)) // depth
        spread = source.scale * 70 * weights.scale * 70 * fan**0.5 * 1.4
        data = self.random.normal(0, 60 * 60 * fan**0.5, depth).astype(np.int32)
        bias = self.tensor((depth,), "int32", source.scale * weights.scale, 0, data)
        output = self.activation(shape, spread / _SPREAD)
        return self.operator(kind, [source, weights, bias], output, options)

    def convolution(self, channels: int = 4) -> Value:
        weights = self.weights((channels, 3, 3, self.last.shape[3]), 0)
        return self._weighted("CONV_2D", weights, channels, schema.Conv2DOptionsT(SAME, 1, 1))

    def depthwise(self, multiplier: int = 1, weights: Value | None = None) -> Value:
        channels = self.last.shape[3] * multiplier
        weights = weights or self.weights((1, 3, 3, channels), 3)
        options = schema.DepthwiseConv2DOptionsT(SAME, 1, 1, multiplier)
        return self._weighted("DEPTHWISE_CONV_2D", weights, channels, options)

    def dense(self, classes: int) -> Value:
        weights = self.weights((classes, self.last.shape[1]), 0)
        return self._weighted("FULLY_CONNECTED", weights, classes)

    def _same_scale(
        self, kind: str, shape: tuple[int, ...], inputs: Sequence[Value], options: Any = None
    ) -> Value:
        """Add an operator whose output is quantized as its input."""
        output = self.activation(shape, self.last.scale, self.last.zero_point)
        return self.operator(kind, [self.last, *inputs], output, options)

    def pool(self, kind: str) -> Value:
        """Add a pool of 2 x 2 pixels."""
        _, height, width, depth = self.last.shape
        options = schema.Pool2DOptionsT(SAME, 2, 2, 2, 2)
        return self._same_scale(kind, (1, -(-height // 2), -(-width // 2), depth), [], options)

    def combine(self, kind: str, other: Value | None = None) -> Value:
        """Add ADD, SUB or MUL with another tensor, or with a constant."""
        source = self.last
        if other is None:
            data = self.random.integers(0, 256, source.shape, np.uint8)
            zero = int(self.random.integers(256))
            other = self.tensor(source.shape, "uint8", source.scale, zero, data)
        scale = source.scale * other.scale * 100 if kind == "MUL" else source.scale + other.scale
        return self.operator(kind, [source, other], self.activation(source.shape, scale))

    def join(self, kind: str) -> Value:
        """Add a convolution, and an ADD or a CONCATENATION of its output and its input."""
        other = self.last
        source = self.convolution(other.shape[3])
        if kind == "ADD":
            return self.combine(kind, other)
        output = self.activation(
            (*source.shape[:3], 2 * source.shape[3]), max(source.scale, other.scale)
        )
        options = schema.ConcatenationOptionsT(axis=3)
        return self.operator(kind, [source, other], output, options)

    def pad(self, value: int | None = None) -> Value:
        source, paddings = self.last, self.integers([0, 0], [1, 0], [0, 1], [0, 0])
        shape = (1, source.shape[1] + 1, source.shape[2] + 1, source.shape[3])
        if value is None:
            return self._same_scale("PAD", shape, [paddings])
        data = np.array([value], np.uint8)
        constant = self.tensor((1,), "uint8", source.scale, source.zero_point, data)
        return self._same_scale("PADV2", shape, [paddings, constant])

    def mean(self) -> Value:
        source = self.last
        output = self.activation((1, source.shape[3]), source.scale / 2)
        return self.operator("MEAN", [source, self.integers(1, 2)], output)

    def reshape(self) -> Value:
        shape = (1, int(np.prod(self.last.shape)))
        return self._same_scale("RESHAPE", shape, [self.integers(*shape)])

    def squeeze(self) -> Value:
        """Add the average over the picture, and a SQUEEZE that removes its two dimensions."""
        _, height, width, depth = self.last.shape
        options = schema.Pool2DOptionsT(VALID, width, height, width, height)
        self._same_scale("AVERAGE_POOL_2D", (1, 1, 1, depth), [], options)
        options = schema.SqueezeOptionsT(squeezeDims=np.array([1, 2], np.int32))
        return self._same_scale("SQUEEZE", (1, depth), [], options)

    def activate(self, kind: str) -> Value:
        """Add RELU, RELU6, SOFTMAX or LOGISTIC."""
        scale = {"RELU": self.last.scale, "RELU6": 6 / 255}.get(kind, 1 / 256)
        return self.operator(kind, [self.last], self.activation(self.last.shape, scale, 0))

    def classifier(self, classes: int = 10) -> QuantizedNetwork:
        """End as classifiers do."""
        self.mean()
        self.dense(classes)
        self.activate("SOFTMAX")
        return self

    def content(self) -> bytes:
        """Return the .tflite file."""
        return self.file([self.source], [self.last])


def write_float_network(path: Path) -> Path:
    """Write a float32 network with MobileNet's operators: [1, 32, 32, 3] in -1..1 to [1, 10]."""
    graph, random = Graph(), np.random.default_rng(2018)
    relu6 = schema.ActivationFunctionType.RELU6
    depthwise = schema.DepthwiseConv2DOptionsT(SAME, 1, 1, 1, relu6)
    x = picture = graph.tensor((1, 32, 32, 3))

    def weights(*shape: int) -> Value:
        spread = (2 / np.prod(shape[1:])) ** 0.5
        return graph.constant(random.normal(0, spread, shape).astype(np.float32))

    def bias(size: int) -> Value:
        return graph.constant(random.uniform(-0.2, 0.2, size).astype(np.float32))

    for kind, options, kernel, channels in (
        ("CONV_2D", schema.Conv2DOptionsT(SAME, 2, 2, relu6), (16, 3, 3, 3), 16),
        ("DEPTHWISE_CONV_2D", depthwise, (1, 3, 3, 16), 16),
        ("CONV_2D", schema.Conv2DOptionsT(SAME, 1, 1, relu6), (32, 1, 1, 16), 32),
    ):
        inputs = [x, weights(*kernel), bias(channels)]
        x = graph.operator(kind, inputs, (1, 16, 16, channels), options)
    pool = schema.Pool2DOptionsT(VALID, 16, 16, 16, 16)
    x = graph.operator("AVERAGE_POOL_2D", [x], (1, 1, 1, 32), pool)
    x = graph.operator("RESHAPE", [x, graph.integers(1, 32)], (1, 32))
    x = graph.operator("FULLY_CONNECTED", [x, weights(10, 32), bias(10)], (1, 10))
    x = graph.operator("SOFTMAX", [x], (1, 10))
    path.write_bytes(graph.file([picture], [x]))
    return path


def write_template_network(path: Path, templates: Array, softmax: bool) -> Path:
    """Write a float32 classifier whose classes are the nearest of some pictures.

    Args:
        path: of the file.
        templates: what enters for each class, of shape (classes, height, width, channels).
        softmax: whether a SOFTMAX follows.
    """
    graph = Graph()
    flat = templates.reshape(len(templates), -1)
    # The nearest is likelier by some e**10 than one at the usual distance.
    weights = flat * 20 / ((flat - flat.mean(axis=0)) ** 2).sum(axis=1).mean()
    bias = -(weights * flat).sum(axis=1) / 2
    source = graph.tensor((1, *templates.shape[1:]))
    shape = (1, flat.shape[1])
    x = graph.operator("RESHAPE", [source, graph.integers(*shape)], shape)
    inputs = [x, *(graph.constant(each.astype(np.float32)) for each in (weights, bias))]
    x = graph.operator("FULLY_CONNECTED", inputs, (1, len(flat)))
    if softmax:
        x = graph.operator("SOFTMAX", [x], x.shape)
    path.write_bytes(graph.file([source], [x]))
    return path
