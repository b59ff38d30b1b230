"""Small uint8 networks with random weights, as TensorFlow's quantization-aware training made them.

Scales are chosen so that outputs neither saturate nor vanish.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.graphs import SAME, VALID, Array, Graph, Value

__all__ = ["ACTIVATIONS", "Array", "Network", "Value"]

ACTIVATIONS = (0, schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6)
SPREAD = 40.0
"""Standard deviation of an output that is aimed at, in steps."""


class Network(Graph):
    """A graph that grows operator by operator; `self.last` is the newest output."""

    def __init__(self, seed: int, shape: tuple[int, ...] = (1, 8, 8, 3)) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        self.source = self.last = self.activation(shape, 1 / 128, 128)

    def activation(
        self, shape: tuple[int, ...], scale: float, zero_point: int | None = None
    ) -> Value:
        zero = int(self.random.integers(256)) if zero_point is None else zero_point
        return self.tensor(shape, "uint8", scale, zero)

    def operator(
        self,
        kind: str,
        inputs: Sequence[Value],
        output: Value,
        options: Any = None,
        version: int = 1,
        custom: str = "",
    ) -> Value:
        self.last = super().operator(kind, inputs, output, options, version, custom)
        return self.last

    def weights(self, shape: tuple[int, ...], axis: int, wide: float) -> Value:
        """Constant weights; each channel leaves the reach of int8 with probability `wide`."""
        zero = int(self.random.integers(40, 216))
        low, high = max(0, zero - 127), min(255, zero + 127)
        data = self.random.integers(low, high + 1, shape, np.uint8)
        rows = np.moveaxis(data, axis, 0)
        for row in rows:
            if self.random.random() < wide:
                row[(0,) * row.ndim] = 0 if zero > 127 else 255
        return self.tensor(shape, "uint8", float(self.random.uniform(0.002, 0.02)), zero, data)

    def bias(self, source: Value, weights: Value, size: int) -> Value:
        """Constant int32 bias, of the size of the sums that it is added to."""
        fan = int(np.prod(weights.shape)) // size
        data = self.random.normal(0, 60 * 60 * fan**0.5, size).astype(np.int32)
        return self.tensor((size,), "int32", source.scale * weights.scale, 0, data)

    def _output(self, source: Value, weights: Value, fan: int, shape: tuple[int, ...]) -> Value:
        spread = source.scale * 70 * weights.scale * 70 * fan**0.5 * 1.4
        return self.activation(shape, spread / SPREAD)

    def _spatial(self, kernel: int, stride: int, same: bool) -> tuple[int, int]:
        sizes = (n if same else n - kernel + 1 for n in self.last.shape[1:3])
        height, width = (-(-n // stride) for n in sizes)
        return height, width

    def convolution(
        self,
        channels: int = 4,
        kernel: int = 3,
        stride: int = 1,
        same: bool = True,
        activation: int = 0,
        wide: float = 0.5,
    ) -> Value:
        source = self.last
        depth = source.shape[3]
        weights = self.weights((channels, kernel, kernel, depth), 0, wide)
        shape = (1, *self._spatial(kernel, stride, same), channels)
        options = schema.Conv2DOptionsT(
            padding=SAME if same else VALID,
            strideW=stride,
            strideH=stride,
            fusedActivationFunction=activation,
        )
        output = self._output(source, weights, kernel * kernel * depth, shape)
        bias = self.bias(source, weights, channels)
        return self.operator("CONV_2D", [source, weights, bias], output, options)

    def depthwise(
        self,
        multiplier: int = 1,
        kernel: int = 3,
        stride: int = 1,
        same: bool = True,
        activation: int = 0,
        wide: float = 0.5,
        weights: Value | None = None,
    ) -> Value:
        source = self.last
        channels = source.shape[3] * multiplier
        weights = weights or self.weights((1, kernel, kernel, channels), 3, wide)
        shape = (1, *self._spatial(kernel, stride, same), channels)
        options = schema.DepthwiseConv2DOptionsT(
            padding=SAME if same else VALID,
            strideW=stride,
            strideH=stride,
            depthMultiplier=multiplier,
            fusedActivationFunction=activation,
        )
        output = self._output(source, weights, kernel * kernel, shape)
        bias = self.bias(source, weights, channels)
        return self.operator("DEPTHWISE_CONV_2D", [source, weights, bias], output, options)

    def dense(self, classes: int, wide: float = 0.5) -> Value:
        source = self.last
        fan = source.shape[1]
        weights = self.weights((classes, fan), 0, 0.0)
        if self.random.random() < wide:
            weights = self.weights((classes, fan), 0, 1.0)
        output = self._output(source, weights, fan, (1, classes))
        bias = self.bias(source, weights, classes)
        return self.operator(
            "FULLY_CONNECTED", [source, weights, bias], output, schema.FullyConnectedOptionsT()
        )

    def pool(self, kind: str, size: int = 2) -> Value:
        source = self.last
        height, width = self._spatial(size, size, True)
        output = self.activation(
            (1, height, width, source.shape[3]), source.scale, source.zero_point
        )
        options = schema.Pool2DOptionsT(
            padding=SAME, strideW=size, strideH=size, filterWidth=size, filterHeight=size
        )
        return self.operator(kind, [source], output, options)

    def combine(self, kind: str, other: Value | None = None) -> Value:
        """ADD, SUB or MUL with another tensor, or with a constant."""
        source = self.last
        if other is None:
            data = self.random.integers(0, 256, source.shape, np.uint8)
            zero = int(self.random.integers(256))
            other = self.tensor(source.shape, "uint8", source.scale, zero, data)
        scale = source.scale * other.scale * 100 if kind == "MUL" else source.scale + other.scale
        output = self.activation(source.shape, scale)
        options = {
            "ADD": schema.AddOptionsT,
            "SUB": schema.SubOptionsT,
            "MUL": schema.MulOptionsT,
        }[kind]()
        return self.operator(kind, [source, other], output, options)

    def concatenation(self, other: Value) -> Value:
        """With another tensor that may be quantized otherwise."""
        source = self.last
        shape = (*source.shape[:3], source.shape[3] + other.shape[3])
        output = self.activation(shape, max(source.scale, other.scale))
        options = schema.ConcatenationOptionsT(axis=3)
        return self.operator("CONCATENATION", [source, other], output, options)

    def pad(self, value: int | None = None) -> Value:
        source = self.last
        paddings = self.integers([0, 0], [1, 0], [0, 1], [0, 0])
        shape = (1, source.shape[1] + 1, source.shape[2] + 1, source.shape[3])
        output = self.activation(shape, source.scale, source.zero_point)
        if value is None:
            return self.operator("PAD", [source, paddings], output, schema.PadOptionsT())
        data = np.array([value], np.uint8)
        constant = self.tensor((1,), "uint8", source.scale, source.zero_point, data)
        return self.operator("PADV2", [source, paddings, constant], output, schema.PadV2OptionsT())

    def mean(self) -> Value:
        source = self.last
        output = self.activation((1, source.shape[3]), source.scale / 2)
        return self.operator(
            "MEAN", [source, self.integers(1, 2)], output, schema.ReducerOptionsT()
        )

    def reshape(self) -> Value:
        source = self.last
        shape = (1, int(np.prod(source.shape)))
        output = self.activation(shape, source.scale, source.zero_point)
        options = schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
        return self.operator("RESHAPE", [source, self.integers(*shape)], output, options)

    def squeeze(self) -> Value:
        """The average over the picture, and then its two dimensions away."""
        source = self.pool("AVERAGE_POOL_2D", max(self.last.shape[1:3]))
        output = self.activation((1, source.shape[3]), source.scale, source.zero_point)
        options = schema.SqueezeOptionsT(squeezeDims=np.array([1, 2], np.int32))
        return self.operator("SQUEEZE", [source], output, options)

    def relu(self, kind: str) -> Value:
        source = self.last
        scale = 6 / 255 if kind == "RELU6" else source.scale
        return self.operator(kind, [source], self.activation(source.shape, scale, 0))

    def probabilities(self, kind: str = "SOFTMAX") -> Value:
        output = self.activation(self.last.shape, 1 / 256, 0)
        options = schema.SoftmaxOptionsT(beta=1.0) if kind == "SOFTMAX" else None
        return self.operator(kind, [self.last], output, options)

    def classifier(self, classes: int = 10, wide: float = 0.5) -> Network:
        """End as classifiers do."""
        self.mean()
        self.dense(classes, wide)
        self.probabilities()
        return self

    def content(self) -> bytes:
        """The .tflite file."""
        return self.file([self.source], [self.last])
