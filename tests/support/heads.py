"""A small dense classifier in all the forms that models come in, with its arithmetic beside it.

The mean of each channel over the picture enters one dense layer; what follows it, the head, is what
models differ in. `Small.answer` computes the same with numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.graphs import Array, Graph, Value

SIDE = 8
STEP = 1 / 20
"""The scale of a quantized dense layer's output, which holds -6.4..6.35."""


@dataclass(frozen=True)
class Small:
    """What to build.

    Attributes:
        weights: their dtype; "uint8" and "int8" make the whole model of that type.
        channels: of the picture: 3 or 1.
        layout: "nhwc", "nchw", or "hwc" for no batch.
        head: "softmax", "logits", "sigmoid", or "decomposed" for EXP, SUM and DIV.
        outputs: of the dense layer.
        seed: of the weights.
    """

    weights: str = "float32"
    channels: int = 3
    layout: str = "nhwc"
    head: str = "softmax"
    outputs: int = 3
    seed: int = 0

    def write(self, path: Path) -> Path:
        """Write the model to `path`."""
        path.write_bytes(_Built(self).content)
        return path

    @property
    def quantized(self) -> bool:
        return self.weights in ("uint8", "int8")

    def answer(self, picture: Array) -> Array:
        """The scores for a picture, uint8 (height, width, channels), as they should be."""
        weights, bias = self.numbers()
        logits = picture.reshape(-1, self.channels).mean(axis=0) / 255 @ weights.T + bias
        if self.outputs == 1:
            share = 1 / (1 + np.exp(-logits[0]))
            return np.array([share, 1 - share])
        if self.head == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-logits)))
        powers = np.exp(logits - logits.max())
        return np.asarray(powers / powers.sum())

    def numbers(self) -> tuple[Array, Array]:
        """Weights of shape (outputs, channels) and bias, as the model has them."""
        random = np.random.default_rng(self.seed)
        weights = random.integers(-127, 128, (self.outputs, self.channels)) / 64
        bias = random.integers(-255, 256, self.outputs) / (64 * 255)
        if self.outputs == 1:
            weights[0, 0] = 1.5  # so that pictures differ
        return weights, bias


class _Built:
    """Builds a `Small`."""

    def __init__(self, want: Small) -> None:
        self._want, self._graph = want, Graph()
        spatial = (SIDE, SIDE)
        if want.layout == "nchw":
            shape: tuple[int, ...] = (1, want.channels, *spatial)
        else:
            shape = (*(() if want.layout == "hwc" else (1,)), *spatial, want.channels)
        source = x = self._activation(shape, 1 / 255, 0)
        if want.layout == "hwc":
            x = self._reshape(x, (1, *shape), 1 / 255, 0)
        mean = self._activation((1, want.channels), 1 / 255, 0)
        axes = self._graph.integers(*((2, 3) if want.layout == "nchw" else (1, 2)))
        x = self._graph.operator("MEAN", [x, axes], mean, schema.ReducerOptionsT(), 2)
        x = self._head(self._dense(x))
        self.content = self._graph.file([source], [x])

    def _activation(self, shape: tuple[int, ...], scale: float, zero: int) -> Value:
        """A tensor of the model's type; `zero` is what 0 is stored as, for uint8."""
        want = self._want
        if not want.quantized:
            return self._graph.tensor(shape, "float32")
        return self._graph.tensor(shape, want.weights, scale, zero - 128 * (want.weights == "int8"))

    def _reshape(self, x: Value, shape: tuple[int, ...], scale: float, zero: int) -> Value:
        options = schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
        output = self._activation(shape, scale, zero)
        return self._graph.operator("RESHAPE", [x, self._graph.integers(*shape)], output, options)

    def _dense(self, x: Value) -> Value:
        want, graph = self._want, self._graph
        values, bias = want.numbers()
        options: Any = schema.FullyConnectedOptionsT()
        if want.quantized:
            zero = 128 if want.weights == "uint8" else 0
            stored = np.rint(values * 64 + zero).astype(want.weights)
            weights = graph.tensor(values.shape, want.weights, 1 / 64, zero, stored)
            sums = np.rint(bias * 64 * 255).astype(np.int32)
            offsets = graph.tensor(bias.shape, "int32", 1 / (64 * 255), 0, sums)
        else:
            dtype = np.float16 if want.weights == "float16" else np.float32
            weights = graph.constant(values.astype(dtype))
            if want.weights == "float16":
                weights = graph.operator(
                    "DEQUANTIZE", [weights], graph.tensor(values.shape, "float32"), None, 3
                )
            offsets = graph.constant(bias.astype(np.float32))
        output = self._activation((1, want.outputs), STEP, 128)
        version = 4 if want.weights == "int8" else 1
        return graph.operator("FULLY_CONNECTED", [x, weights, offsets], output, options, version)

    def _head(self, x: Value) -> Value:
        want, graph, shape = self._want, self._graph, (1, self._want.outputs)
        if want.head == "logits":
            return x
        if want.head in ("softmax", "sigmoid"):
            kind = "SOFTMAX" if want.head == "softmax" else "LOGISTIC"
            options = schema.SoftmaxOptionsT(beta=1.0) if want.head == "softmax" else None
            output = self._activation(shape, 1 / 256, 0)
            return graph.operator(kind, [x], output, options, 2 if want.weights == "int8" else 1)
        if want.quantized:
            x = graph.operator("DEQUANTIZE", [x], graph.tensor(shape, "float32"), None, 2)
        powers = graph.operator("EXP", [x], graph.tensor(shape, "float32"), schema.ExpOptionsT())
        total = graph.operator(
            "SUM",
            [powers, graph.integers(1)],
            graph.tensor((1, 1), "float32"),
            schema.ReducerOptionsT(keepDims=True),
        )
        shares = graph.tensor(shape, "float32")
        return graph.operator("DIV", [powers, total], shares, schema.DivOptionsT())
