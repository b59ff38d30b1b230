"""Read and write .tflite files, through their FlatBuffers schema: tensors, operators, metadata."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.metadata import NOTHING, Metadata, read

TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()}
OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
_FUSED = {
    value: name for name, value in vars(schema.ActivationFunctionType).items() if name.isupper()
}
_SMALL = 1 << 16
"""Bytes up to which a constant's values are read: means and axes, not weights."""


@dataclass(frozen=True)
class Tensor:
    """A tensor: its number, name, shape (-1 where it is free), dtype, and quantization.

    Attributes:
        scale, zero_point: a stored value q means scale * (q - zero_point); scale 0 for none, or
            where there are several (`scales`, their number).
        constant: whether its content is in the file.
        values: that content, of a small constant of numbers that are not quantized.
    """

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    scales: int = 0
    constant: bool = False
    values: NDArray[Any] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"

    @property
    def integer(self) -> bool:
        """Whether it stores integers, quantized or not."""
        return self.dtype.startswith(("int", "uint"))

    def real(self, stored: float) -> float:
        """What a stored value means."""
        return self.scale * (stored - self.zero_point) if self.scale else stored


@dataclass(frozen=True)
class Operator:
    """An operator of the graph.

    Attributes:
        name: builtin ones by the schema's name, custom ones by their own.
        version: of the operator, as the schema counts them.
        inputs: in the operator's order; None for one that is left out.
        outputs: its tensors.
        fused: name of the activation function that it ends with; NONE if it has none.
        beta: of a softmax; 1 elsewhere.
        custom: whether it is not built in.
    """

    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    fused: str = "NONE"
    beta: float = 1.0
    custom: bool = False


@dataclass(frozen=True)
class Signature:
    """What a model takes, does and gives.

    Attributes:
        inputs, outputs: of the main subgraph.
        operators: of the main subgraph, in order.
        versions: name and highest version of each builtin operator that an interpreter looks for
            when it loads the model: those that the file lists, whether or not it uses them.
        metadata: TensorFlow Lite's, with the files that it names.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    versions: dict[str, int]
    metadata: Metadata = NOTHING

    def producer(self, tensor: Tensor | None) -> Operator | None:
        """The operator that computes a tensor; None for a constant or an input."""
        for operator in self.operators:
            if tensor is not None and any(out.number == tensor.number for out in operator.outputs):
                return operator
        return None

    def constant(self, tensor: Tensor) -> Tensor | None:
        """The constant that a tensor is, or that it is made of by one DEQUANTIZE; else None."""
        if tensor.constant:
            return tensor
        made = self.producer(tensor)
        source = made.inputs[0] if made and made.name == "DEQUANTIZE" and made.inputs else None
        return source if source is not None and source.constant else None

    def consumers(self, tensor: Tensor) -> list[Operator]:
        """The operators that take a tensor."""
        number = tensor.number
        return [
            operator
            for operator in self.operators
            if any(each is not None and each.number == number for each in operator.inputs)
        ]


_BROKEN = (
    *(struct.error, IndexError, ValueError, TypeError, AttributeError, KeyError, OverflowError),
    MemoryError,
)
"""What reading a damaged file ends in: an offset that leads out of it, or to something else."""


def signature(path: Path) -> Signature:
    """Read a model's signature.

    Raises:
        ModelError: not a TFLite file, or a broken one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    return signature_of(content, path.name)


@lru_cache(maxsize=4)  # a build asks for that of one or two models, several times
def signature_of(content: bytes, name: str) -> Signature:
    """The signature of a .tflite file with this content; `name` is for messages, as are errors."""
    return _signature(parsed(content, name), content, name)


def parsed(content: bytes, name: str) -> Any:
    """A .tflite file as the schema's ModelT, whole: every table and buffer can be read.

    Raises:
        ModelError: it is not one, or it is cut short or damaged.
    """
    if content[4:8] != b"TFL3":
        found = f"{content[4:8]!r} in {len(content):,} bytes" if content else "an empty file"
        raise ModelError(
            f"{name} is not a TFLite model: expected the identifier TFL3 at byte 4, found {found}",
            "pass a .tflite file; a SavedModel or .h5 file has to be converted first",
        )
    try:
        model = schema.ModelT.InitFromPackedBuf(content)
        for graph in model.subgraphs:
            _check_numbers(model, graph)
        if not model.subgraphs:
            raise ValueError
    except _BROKEN as error:
        raise ModelError(
            f"{name} is a broken TFLite model: its {len(content):,} bytes are cut short or "
            "damaged, since its tables lead out of them",
            "fetch or convert it again, and compare its size with the original's",
        ) from error
    outside = any(buffer.offset > 1 for buffer in model.buffers or ()) or any(
        tensor.externalBuffer for graph in model.subgraphs for tensor in graph.tensors
    )
    if outside:  # TensorFlow Lite 2.14 would take them for empty, without a word
        raise ModelError(
            f"{name} keeps weights outside of its tables, as models of 2 GB and more do",
            "convert it with its weights inside",
        )
    return model


def packed(model: Any) -> bytes:
    """A ModelT as the content of a .tflite file."""
    model.buffers = [_Buffer(b.data, b.offset, b.size) for b in model.buffers]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operator_name(model: Any, operator: Any) -> str:
    """Name of an OperatorT: of a builtin one in the schema, of a custom one its own."""
    return _code_name(model.operatorCodes[operator.opcodeIndex])


def _code_name(code: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = str(OPERATORS.get(number, f"operator {number}"))
    return _text(code.customCode) or "?" if name == "CUSTOM" else name


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that is aligned as the schema demands (force_align: 16), which Pack() is not."""

    def Pack(self, builder: flatbuffers.Builder) -> int:
        if self.data is not None:
            builder.Prep(16, len(self.data))
        return int(super().Pack(builder))


def _check_numbers(model: Any, graph: Any) -> None:
    """That operators use tensors, and tensors buffers, that are there; raises IndexError."""
    for operator in graph.operators or ():
        operator_name(model, operator)
        for number in (*_numbers(operator.inputs), *_numbers(operator.outputs)):
            if not -1 <= number < len(graph.tensors):
                raise IndexError(number)
    for number in (*_numbers(graph.inputs), *_numbers(graph.outputs)):
        graph.tensors[number]
    for tensor in graph.tensors:
        model.buffers[tensor.buffer]


def _signature(model: Any, content: bytes, name: str) -> Signature:
    graph = model.subgraphs[0]
    tensors = [_tensor(model, graph, number) for number in range(len(graph.tensors))]
    operators = tuple(_operator(model, each, tensors) for each in graph.operators or ())
    versions: dict[str, int] = {}
    for code in model.operatorCodes or ():
        if not code.customCode:
            kind = _code_name(code)
            versions[kind] = max(versions.get(kind, 1), code.version)
    buffers = [
        model.buffers[entry.buffer].data
        for entry in model.metadata or ()
        if entry.name in (b"TFLITE_METADATA", "TFLITE_METADATA")
    ]
    table = bytes(buffers[0]) if buffers and buffers[0] is not None else b""
    return Signature(
        inputs=tuple(tensors[i] for i in _numbers(graph.inputs)),
        outputs=tuple(tensors[i] for i in _numbers(graph.outputs)),
        operators=operators,
        versions=versions,
        metadata=read(table, content, name),
    )


def _operator(model: Any, operator: Any, tensors: Sequence[Tensor]) -> Operator:
    code = model.operatorCodes[operator.opcodeIndex]
    fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
    name = operator_name(model, operator)
    return Operator(
        name=name,
        version=code.version,
        inputs=tuple(tensors[i] if i >= 0 else None for i in _numbers(operator.inputs)),
        outputs=tuple(tensors[i] for i in _numbers(operator.outputs) if i >= 0),
        fused=_FUSED.get(fused, f"function {fused}"),
        beta=float(getattr(operator.builtinOptions, "beta", 1.0)) if name == "SOFTMAX" else 1.0,
        custom=bool(code.customCode) or name.startswith("operator "),
    )


def _tensor(model: Any, graph: Any, number: int) -> Tensor:
    tensor = graph.tensors[number]
    shape, free = _numbers(tensor.shape), _numbers(tensor.shapeSignature)
    found = tensor.quantization
    scales = 0 if found is None or found.scale is None else len(found.scale)
    zero_points = () if found is None else _numbers(found.zeroPoint)
    data = model.buffers[tensor.buffer].data
    constant = data is not None and len(data) > 0
    return Tensor(
        number=number,
        name=_text(tensor.name),
        shape=free or shape,
        dtype=TYPES.get(tensor.type, f"type {tensor.type}"),
        scale=float(found.scale[0]) if scales == 1 else 0.0,
        zero_point=zero_points[0] if scales == 1 and zero_points else 0,
        scales=scales,
        constant=constant,
        values=_values(tensor, shape, data) if constant and not scales else None,
    )


def _values(tensor: Any, shape: tuple[int, ...], data: NDArray[Any]) -> NDArray[Any] | None:
    dtype = np.dtype(TYPES.get(tensor.type, "")) if TYPES.get(tensor.type) in _NUMPY else None
    if dtype is None or len(data) > _SMALL or len(data) != dtype.itemsize * math.prod(shape):
        return None
    values: NDArray[Any] = np.asarray(data, np.uint8).view(dtype).reshape(shape)
    return values


_NUMPY = ("float16", "float32", "int8", "uint8", "int16", "int32", "int64")


def _numbers(vector: Any) -> tuple[int, ...]:
    return () if vector is None else tuple(int(number) for number in vector)


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")
