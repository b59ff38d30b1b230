"""A small float32 convolutional classifier with random weights, as a converter would write it.

CONV_2D, DEPTHWISE_CONV_2D, CONV_2D (1x1), AVERAGE_POOL_2D, RESHAPE, FULLY_CONNECTED, SOFTMAX: the
operators of MobileNet, at a size that is written in a moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

SIDE, CLASSES = 32, 10
_OPERATOR = schema.BuiltinOperator
_OPTIONS = schema.BuiltinOptions


class _Writer:
    """Collects tensors and operators of one graph."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 16)
        self._buffers = [self._buffer(None)]
        self._tensors: list[int] = []
        self._operators: list[int] = []
        self._codes: list[int] = []
        self._random = np.random.default_rng(2018)

    def activation(self, *shape: int) -> int:
        return self._tensor(shape, schema.TensorType.FLOAT32, 0)

    def weights(self, *shape: int) -> int:
        spread = (2 / np.prod(shape[1:])) ** 0.5
        return self._constant(self._random.normal(0, spread, shape).astype("<f4"))

    def bias(self, size: int) -> int:
        return self._constant(self._random.uniform(-0.2, 0.2, size).astype("<f4"))

    def integers(self, *values: int) -> int:
        return self._constant(np.array(values, "<i4"))

    def operator(self, code: int, inputs: list[int], output: int, kind: int, options: int) -> int:
        b = self.builder
        schema.OperatorCodeStart(b)
        schema.OperatorCodeAddDeprecatedBuiltinCode(b, code)
        schema.OperatorCodeAddBuiltinCode(b, code)
        schema.OperatorCodeAddVersion(b, 1)
        self._codes.append(schema.OperatorCodeEnd(b))
        sources, sinks = b.CreateNumpyVector(np.array(inputs, "<i4")), self._vector([output])
        schema.OperatorStart(b)
        schema.OperatorAddOpcodeIndex(b, len(self._codes) - 1)
        schema.OperatorAddInputs(b, sources)
        schema.OperatorAddOutputs(b, sinks)
        schema.OperatorAddBuiltinOptionsType(b, kind)
        schema.OperatorAddBuiltinOptions(b, options)
        self._operators.append(schema.OperatorEnd(b))
        return output

    def finish(self, source: int, sink: int) -> bytes:
        b = self.builder
        tensors, operators = self._offsets(self._tensors), self._offsets(self._operators)
        inputs, outputs = self._vector([source]), self._vector([sink])
        schema.SubGraphStart(b)
        schema.SubGraphAddTensors(b, tensors)
        schema.SubGraphAddInputs(b, inputs)
        schema.SubGraphAddOutputs(b, outputs)
        schema.SubGraphAddOperators(b, operators)
        graph = schema.SubGraphEnd(b)
        codes, graphs = self._offsets(self._codes), self._offsets([graph])
        buffers = self._offsets(self._buffers)
        schema.ModelStart(b)
        schema.ModelAddVersion(b, 3)
        schema.ModelAddOperatorCodes(b, codes)
        schema.ModelAddSubgraphs(b, graphs)
        schema.ModelAddBuffers(b, buffers)
        b.Finish(schema.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def _constant(self, values: np.ndarray[Any, Any]) -> int:
        self._buffers.append(self._buffer(values.tobytes()))
        integer = values.dtype.kind == "i"
        kind = schema.TensorType.INT32 if integer else schema.TensorType.FLOAT32
        return self._tensor(values.shape, kind, len(self._buffers) - 1)

    def _tensor(self, shape: tuple[int, ...], kind: int, buffer: int) -> int:
        b = self.builder
        name = b.CreateString(f"tensor {len(self._tensors)}")
        dimensions = self._vector(list(shape))
        schema.TensorStart(b)
        schema.TensorAddShape(b, dimensions)
        schema.TensorAddType(b, kind)
        schema.TensorAddBuffer(b, buffer)
        schema.TensorAddName(b, name)
        self._tensors.append(schema.TensorEnd(b))
        return len(self._tensors) - 1

    def _buffer(self, content: bytes | None) -> int:
        b = self.builder
        data = 0 if content is None else b.CreateByteVector(content)
        schema.BufferStart(b)
        if content is not None:
            schema.BufferAddData(b, data)
        return int(schema.BufferEnd(b))

    def _vector(self, values: list[int]) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, "<i4")))

    def _offsets(self, values: list[int]) -> int:
        b = self.builder
        b.StartVector(4, len(values), 4)
        for value in reversed(values):
            b.PrependUOffsetTRelative(value)
        return int(b.EndVector())


def write(path: Path) -> Path:
    """Write the network to `path`: input [1, 32, 32, 3] in -1..1, output [1, 10]."""
    w = _Writer()
    b = w.builder
    relu6, same, valid = (
        schema.ActivationFunctionType.RELU6,
        schema.Padding.SAME,
        schema.Padding.VALID,
    )

    def convolution(stride: int) -> int:
        schema.Conv2DOptionsStart(b)
        schema.Conv2DOptionsAddPadding(b, same)
        schema.Conv2DOptionsAddStrideW(b, stride)
        schema.Conv2DOptionsAddStrideH(b, stride)
        schema.Conv2DOptionsAddFusedActivationFunction(b, relu6)
        return int(schema.Conv2DOptionsEnd(b))

    picture = w.activation(1, SIDE, SIDE, 3)
    x = w.operator(
        _OPERATOR.CONV_2D,
        [picture, w.weights(16, 3, 3, 3), w.bias(16)],
        w.activation(1, 16, 16, 16),
        _OPTIONS.Conv2DOptions,
        convolution(2),
    )
    schema.DepthwiseConv2DOptionsStart(b)
    schema.DepthwiseConv2DOptionsAddPadding(b, same)
    schema.DepthwiseConv2DOptionsAddStrideW(b, 1)
    schema.DepthwiseConv2DOptionsAddStrideH(b, 1)
    schema.DepthwiseConv2DOptionsAddDepthMultiplier(b, 1)
    schema.DepthwiseConv2DOptionsAddFusedActivationFunction(b, relu6)
    depthwise = schema.DepthwiseConv2DOptionsEnd(b)
    x = w.operator(
        _OPERATOR.DEPTHWISE_CONV_2D,
        [x, w.weights(1, 3, 3, 16), w.bias(16)],
        w.activation(1, 16, 16, 16),
        _OPTIONS.DepthwiseConv2DOptions,
        depthwise,
    )
    x = w.operator(
        _OPERATOR.CONV_2D,
        [x, w.weights(32, 1, 1, 16), w.bias(32)],
        w.activation(1, 16, 16, 32),
        _OPTIONS.Conv2DOptions,
        convolution(1),
    )
    schema.Pool2DOptionsStart(b)
    schema.Pool2DOptionsAddPadding(b, valid)
    schema.Pool2DOptionsAddStrideW(b, 16)
    schema.Pool2DOptionsAddStrideH(b, 16)
    schema.Pool2DOptionsAddFilterWidth(b, 16)
    schema.Pool2DOptionsAddFilterHeight(b, 16)
    pool = schema.Pool2DOptionsEnd(b)
    x = w.operator(
        _OPERATOR.AVERAGE_POOL_2D, [x], w.activation(1, 1, 1, 32), _OPTIONS.Pool2DOptions, pool
    )
    schema.ReshapeOptionsStart(b)
    reshape = schema.ReshapeOptionsEnd(b)
    x = w.operator(
        _OPERATOR.RESHAPE,
        [x, w.integers(1, 32)],
        w.activation(1, 32),
        _OPTIONS.ReshapeOptions,
        reshape,
    )
    schema.FullyConnectedOptionsStart(b)
    dense = schema.FullyConnectedOptionsEnd(b)
    x = w.operator(
        _OPERATOR.FULLY_CONNECTED,
        [x, w.weights(CLASSES, 32), w.bias(CLASSES)],
        w.activation(1, CLASSES),
        _OPTIONS.FullyConnectedOptions,
        dense,
    )
    schema.SoftmaxOptionsStart(b)
    schema.SoftmaxOptionsAddBeta(b, 1.0)
    softmax = schema.SoftmaxOptionsEnd(b)
    x = w.operator(
        _OPERATOR.SOFTMAX, [x], w.activation(1, CLASSES), _OPTIONS.SoftmaxOptions, softmax
    )
    path.write_bytes(w.finish(picture, x))
    return path
