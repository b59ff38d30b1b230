"""Small real classifiers, written with TensorFlow Lite's schema: which colour has the picture?

A model takes the mean of each channel over the picture (one MEAN operator), so that its classes
are the channels: red, green, blue. In front or behind may stand what a test asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

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
    "float32": schema.TensorType.FLOAT32,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}
_ZERO_POINTS = {"uint8": 0, "int8": -128}
_MEAN, _SOFTMAX = 0, 1


def _build(want: Colours) -> bytes:
    b = flatbuffers.Builder(4096)
    axes = b.CreateByteVector(np.array([1, 2], "<i4").tobytes())
    buffers = []
    for data in (None, axes):
        schema.BufferStart(b)
        if data is not None:
            schema.BufferAddData(b, data)
        buffers.append(schema.BufferEnd(b))
    picture = [want.batch, want.size, want.size, want.channels]
    scores = [want.batch, *((1, 1) if want.keep_dims else ()), want.channels]
    tensors = [
        _tensor(b, "picture", picture, want.dtype, 0),
        _tensor(b, "axes", [2], "int32", 1),
        _tensor(b, "scores", scores, want.dtype, 0),
        _tensor(b, "probabilities", scores, want.dtype, 0, 1 / 256),
    ]
    codes = [
        _code(b, getattr(schema.BuiltinOperator, want.operator)),
        _code(b, schema.BuiltinOperator.SOFTMAX),
    ]
    if want.custom:
        codes[_MEAN] = _code(b, schema.BuiltinOperator.CUSTOM, want.custom)
    schema.ReducerOptionsStart(b)
    schema.ReducerOptionsAddKeepDims(b, want.keep_dims)
    reducer = schema.ReducerOptionsEnd(b)
    schema.SoftmaxOptionsStart(b)
    schema.SoftmaxOptionsAddBeta(b, 1.0)
    softmax = schema.SoftmaxOptionsEnd(b)
    kinds = schema.BuiltinOptions
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
    schema.SubGraphStart(b)
    schema.SubGraphAddTensors(b, vectors[0])
    schema.SubGraphAddInputs(b, vectors[1])
    schema.SubGraphAddOutputs(b, vectors[2])
    schema.SubGraphAddOperators(b, vectors[3])
    schema.SubGraphAddName(b, name)
    graph = schema.SubGraphEnd(b)
    parts = [_offsets(b, codes), _offsets(b, [graph]), _offsets(b, buffers)]
    schema.ModelStart(b)
    schema.ModelAddVersion(b, 3)
    schema.ModelAddOperatorCodes(b, parts[0])
    schema.ModelAddSubgraphs(b, parts[1])
    schema.ModelAddBuffers(b, parts[2])
    b.Finish(schema.ModelEnd(b), b"TFL3")
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
        schema.QuantizationParametersStartScaleVector(b, 1)
        b.PrependFloat32(scale)
        scales = b.EndVector()
        schema.QuantizationParametersStartZeroPointVector(b, 1)
        b.PrependInt64(_ZERO_POINTS[dtype])
        zero_points = b.EndVector()
        schema.QuantizationParametersStart(b)
        schema.QuantizationParametersAddScale(b, scales)
        schema.QuantizationParametersAddZeroPoint(b, zero_points)
        quantization = schema.QuantizationParametersEnd(b)
    schema.TensorStart(b)
    schema.TensorAddShape(b, dimensions)
    schema.TensorAddType(b, _TYPES[dtype])
    schema.TensorAddBuffer(b, buffer)
    schema.TensorAddName(b, label)
    if quantization:
        schema.TensorAddQuantization(b, quantization)
    return int(schema.TensorEnd(b))


def _code(b: flatbuffers.Builder, operator: int, custom: str = "") -> int:
    name = b.CreateString(custom) if custom else 0
    schema.OperatorCodeStart(b)
    schema.OperatorCodeAddDeprecatedBuiltinCode(b, min(operator, 127))
    schema.OperatorCodeAddBuiltinCode(b, operator)
    schema.OperatorCodeAddVersion(b, 2)
    if name:
        schema.OperatorCodeAddCustomCode(b, name)
    return int(schema.OperatorCodeEnd(b))


def _operator(
    b: flatbuffers.Builder,
    code: int,
    inputs: list[int],
    outputs: list[int],
    kind: int,
    options: int,
) -> int:
    sources, sinks = _integers(b, inputs), _integers(b, outputs)
    schema.OperatorStart(b)
    schema.OperatorAddOpcodeIndex(b, code)
    schema.OperatorAddInputs(b, sources)
    schema.OperatorAddOutputs(b, sinks)
    schema.OperatorAddBuiltinOptionsType(b, kind)
    schema.OperatorAddBuiltinOptions(b, options)
    return int(schema.OperatorEnd(b))


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
