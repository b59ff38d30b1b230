"""Small real classifiers, written with TensorFlow Lite's schema: which colour has the picture?

A model takes the mean of each channel over the picture (one MEAN operator), so that its classes
are the channels: red, green, blue. In front or behind may stand what a test asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import flatbuffers
import numpy as np
import tflite

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Colours:
    """What to build.

    Attributes:
        dtype: of input and output; quantized ones have a scale of 1/255.
        size: side of the input, in pixels.
        channels: of the input, and so the number of classes.
        softmax: whether a SOFTMAX follows the mean.
        outputs: how often the output is listed.
        batch: size of the first dimension.
        custom: name of a custom operator in place of MEAN.
        operator: another builtin operator in place of MEAN, for its name only.
        keep_dims: whether the output is [1, 1, 1, channels].
    """

    dtype: str = "float32"
    size: int = 8
    channels: int = 3
    softmax: bool = False
    outputs: int = 1
    batch: int = 1
    custom: str = ""
    operator: str = "MEAN"
    keep_dims: bool = False

    def write(self, path: Path) -> Path:
        """Write the model to `path`."""
        path.write_bytes(_build(self))
        return path

    def but(self, **changes: object) -> Colours:
        """The same with some attributes changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


_TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "uint8": tflite.TensorType.UINT8,
    "int8": tflite.TensorType.INT8,
    "int32": tflite.TensorType.INT32,
}
_ZERO_POINTS = {"uint8": 0, "int8": -128}
_MEAN, _SOFTMAX = 0, 1


def _build(want: Colours) -> bytes:
    b = flatbuffers.Builder(4096)
    axes = b.CreateByteVector(np.array([1, 2], "<i4").tobytes())
    buffers = []
    for data in (None, axes):
        tflite.BufferStart(b)
        if data is not None:
            tflite.BufferAddData(b, data)
        buffers.append(tflite.BufferEnd(b))
    picture = [want.batch, want.size, want.size, want.channels]
    scores = [want.batch, *((1, 1) if want.keep_dims else ()), want.channels]
    tensors = [
        _tensor(b, "picture", picture, want.dtype, 0),
        _tensor(b, "axes", [2], "int32", 1),
        _tensor(b, "scores", scores, want.dtype, 0),
        _tensor(b, "probabilities", scores, want.dtype, 0, 1 / 256),
    ]
    codes = [
        _code(b, getattr(tflite.BuiltinOperator, want.operator)),
        _code(b, tflite.BuiltinOperator.SOFTMAX),
    ]
    if want.custom:
        codes[_MEAN] = _code(b, tflite.BuiltinOperator.CUSTOM, want.custom)
    tflite.ReducerOptionsStart(b)
    tflite.ReducerOptionsAddKeepDims(b, want.keep_dims)
    reducer = tflite.ReducerOptionsEnd(b)
    tflite.SoftmaxOptionsStart(b)
    tflite.SoftmaxOptionsAddBeta(b, 1.0)
    softmax = tflite.SoftmaxOptionsEnd(b)
    kinds = tflite.BuiltinOptions
    operators = [_operator(b, _MEAN, [0, 1], [2], kinds.ReducerOptions, reducer)]
    if want.softmax:
        operators.append(_operator(b, _SOFTMAX, [2], [3], kinds.SoftmaxOptions, softmax))
    vectors = [
        _offsets(b, tensors),
        _integers(b, [0]),
        _integers(b, [3 if want.softmax else 2] * want.outputs),
        _offsets(b, operators),
    ]
    name = b.CreateString("main")
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, vectors[0])
    tflite.SubGraphAddInputs(b, vectors[1])
    tflite.SubGraphAddOutputs(b, vectors[2])
    tflite.SubGraphAddOperators(b, vectors[3])
    tflite.SubGraphAddName(b, name)
    graph = tflite.SubGraphEnd(b)
    parts = [_offsets(b, codes), _offsets(b, [graph]), _offsets(b, buffers)]
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, parts[0])
    tflite.ModelAddSubgraphs(b, parts[1])
    tflite.ModelAddBuffers(b, parts[2])
    b.Finish(tflite.ModelEnd(b), b"TFL3")
    return bytes(b.Output())


def _tensor(
    b: flatbuffers.Builder,
    name: str,
    shape: list[int],
    dtype: str,
    buffer: int,
    scale: float = 1 / 255,
) -> int:
    label = b.CreateString(name)
    dimensions = _integers(b, shape)
    quantization = 0
    if dtype in _ZERO_POINTS:
        tflite.QuantizationParametersStartScaleVector(b, 1)
        b.PrependFloat32(scale)
        scales = b.EndVector()
        tflite.QuantizationParametersStartZeroPointVector(b, 1)
        b.PrependInt64(_ZERO_POINTS[dtype])
        zero_points = b.EndVector()
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scales)
        tflite.QuantizationParametersAddZeroPoint(b, zero_points)
        quantization = tflite.QuantizationParametersEnd(b)
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, dimensions)
    tflite.TensorAddType(b, _TYPES[dtype])
    tflite.TensorAddBuffer(b, buffer)
    tflite.TensorAddName(b, label)
    if quantization:
        tflite.TensorAddQuantization(b, quantization)
    return int(tflite.TensorEnd(b))


def _code(b: flatbuffers.Builder, operator: int, custom: str = "") -> int:
    name = b.CreateString(custom) if custom else 0
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(operator, 127))
    tflite.OperatorCodeAddBuiltinCode(b, operator)
    tflite.OperatorCodeAddVersion(b, 2)
    if name:
        tflite.OperatorCodeAddCustomCode(b, name)
    return int(tflite.OperatorCodeEnd(b))


def _operator(
    b: flatbuffers.Builder,
    code: int,
    inputs: list[int],
    outputs: list[int],
    kind: int,
    options: int,
) -> int:
    sources, sinks = _integers(b, inputs), _integers(b, outputs)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, code)
    tflite.OperatorAddInputs(b, sources)
    tflite.OperatorAddOutputs(b, sinks)
    tflite.OperatorAddBuiltinOptionsType(b, kind)
    tflite.OperatorAddBuiltinOptions(b, options)
    return int(tflite.OperatorEnd(b))


def _integers(b: flatbuffers.Builder, values: list[int]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependInt32(value)
    return int(b.EndVector())


def _offsets(b: flatbuffers.Builder, values: list[int]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependUOffsetTRelative(value)
    return int(b.EndVector())
