"""A small float32 convolutional classifier with random weights, as a converter would write it.

CONV_2D, DEPTHWISE_CONV_2D, CONV_2D (1x1), AVERAGE_POOL_2D, RESHAPE, FULLY_CONNECTED, SOFTMAX: the
operators of MobileNet, at a size that is written in a moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite

SIDE, CLASSES = 32, 10
_OPERATOR = tflite.BuiltinOperator
_OPTIONS = tflite.BuiltinOptions


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
        return self._tensor(shape, tflite.TensorType.FLOAT32, 0)

    def weights(self, *shape: int) -> int:
        spread = (2 / np.prod(shape[1:])) ** 0.5
        return self._constant(self._random.normal(0, spread, shape).astype("<f4"))

    def bias(self, size: int) -> int:
        return self._constant(self._random.uniform(-0.2, 0.2, size).astype("<f4"))

    def integers(self, *values: int) -> int:
        return self._constant(np.array(values, "<i4"))

    def operator(self, code: int, inputs: list[int], output: int, kind: int, options: int) -> int:
        b = self.builder
        tflite.OperatorCodeStart(b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(b, code)
        tflite.OperatorCodeAddBuiltinCode(b, code)
        tflite.OperatorCodeAddVersion(b, 1)
        self._codes.append(tflite.OperatorCodeEnd(b))
        sources, sinks = b.CreateNumpyVector(np.array(inputs, "<i4")), self._vector([output])
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, len(self._codes) - 1)
        tflite.OperatorAddInputs(b, sources)
        tflite.OperatorAddOutputs(b, sinks)
        tflite.OperatorAddBuiltinOptionsType(b, kind)
        tflite.OperatorAddBuiltinOptions(b, options)
        self._operators.append(tflite.OperatorEnd(b))
        return output

    def finish(self, source: int, sink: int) -> bytes:
        b = self.builder
        tensors, operators = self._offsets(self._tensors), self._offsets(self._operators)
        inputs, outputs = self._vector([source]), self._vector([sink])
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors)
        tflite.SubGraphAddInputs(b, inputs)
        tflite.SubGraphAddOutputs(b, outputs)
        tflite.SubGraphAddOperators(b, operators)
        graph = tflite.SubGraphEnd(b)
        codes, graphs = self._offsets(self._codes), self._offsets([graph])
        buffers = self._offsets(self._buffers)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, codes)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def _constant(self, values: np.ndarray[Any, Any]) -> int:
        self._buffers.append(self._buffer(values.tobytes()))
        integer = values.dtype.kind == "i"
        kind = tflite.TensorType.INT32 if integer else tflite.TensorType.FLOAT32
        return self._tensor(values.shape, kind, len(self._buffers) - 1)

    def _tensor(self, shape: tuple[int, ...], kind: int, buffer: int) -> int:
        b = self.builder
        name = b.CreateString(f"tensor {len(self._tensors)}")
        dimensions = self._vector(list(shape))
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, dimensions)
        tflite.TensorAddType(b, kind)
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, name)
        self._tensors.append(tflite.TensorEnd(b))
        return len(self._tensors) - 1

    def _buffer(self, content: bytes | None) -> int:
        b = self.builder
        data = 0 if content is None else b.CreateByteVector(content)
        tflite.BufferStart(b)
        if content is not None:
            tflite.BufferAddData(b, data)
        return int(tflite.BufferEnd(b))

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
        tflite.ActivationFunctionType.RELU6,
        tflite.Padding.SAME,
        tflite.Padding.VALID,
    )

    def convolution(stride: int) -> int:
        tflite.Conv2DOptionsStart(b)
        tflite.Conv2DOptionsAddPadding(b, same)
        tflite.Conv2DOptionsAddStrideW(b, stride)
        tflite.Conv2DOptionsAddStrideH(b, stride)
        tflite.Conv2DOptionsAddFusedActivationFunction(b, relu6)
        return int(tflite.Conv2DOptionsEnd(b))

    picture = w.activation(1, SIDE, SIDE, 3)
    x = w.operator(
        _OPERATOR.CONV_2D,
        [picture, w.weights(16, 3, 3, 3), w.bias(16)],
        w.activation(1, 16, 16, 16),
        _OPTIONS.Conv2DOptions,
        convolution(2),
    )
    tflite.DepthwiseConv2DOptionsStart(b)
    tflite.DepthwiseConv2DOptionsAddPadding(b, same)
    tflite.DepthwiseConv2DOptionsAddStrideW(b, 1)
    tflite.DepthwiseConv2DOptionsAddStrideH(b, 1)
    tflite.DepthwiseConv2DOptionsAddDepthMultiplier(b, 1)
    tflite.DepthwiseConv2DOptionsAddFusedActivationFunction(b, relu6)
    depthwise = tflite.DepthwiseConv2DOptionsEnd(b)
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
    tflite.Pool2DOptionsStart(b)
    tflite.Pool2DOptionsAddPadding(b, valid)
    tflite.Pool2DOptionsAddStrideW(b, 16)
    tflite.Pool2DOptionsAddStrideH(b, 16)
    tflite.Pool2DOptionsAddFilterWidth(b, 16)
    tflite.Pool2DOptionsAddFilterHeight(b, 16)
    pool = tflite.Pool2DOptionsEnd(b)
    x = w.operator(
        _OPERATOR.AVERAGE_POOL_2D, [x], w.activation(1, 1, 1, 32), _OPTIONS.Pool2DOptions, pool
    )
    tflite.ReshapeOptionsStart(b)
    reshape = tflite.ReshapeOptionsEnd(b)
    x = w.operator(
        _OPERATOR.RESHAPE,
        [x, w.integers(1, 32)],
        w.activation(1, 32),
        _OPTIONS.ReshapeOptions,
        reshape,
    )
    tflite.FullyConnectedOptionsStart(b)
    dense = tflite.FullyConnectedOptionsEnd(b)
    x = w.operator(
        _OPERATOR.FULLY_CONNECTED,
        [x, w.weights(CLASSES, 32), w.bias(CLASSES)],
        w.activation(1, CLASSES),
        _OPTIONS.FullyConnectedOptions,
        dense,
    )
    tflite.SoftmaxOptionsStart(b)
    tflite.SoftmaxOptionsAddBeta(b, 1.0)
    softmax = tflite.SoftmaxOptionsEnd(b)
    x = w.operator(
        _OPERATOR.SOFTMAX, [x], w.activation(1, CLASSES), _OPTIONS.SoftmaxOptions, softmax
    )
    path.write_bytes(w.finish(picture, x))
    return path
