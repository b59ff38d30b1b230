"""Read and write .tflite files through their FlatBuffers schema: tensors, operators, metadata."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.file_format import recognize_format
from builder.model.metadata import Metadata, read_metadata
from builder.model.table_limits import check_tables

DTYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()}
OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
_ACTIVATIONS = {
    value: name for name, value in vars(schema.ActivationFunctionType).items() if name.isupper()
}

# Constants of up to this many bytes are read: means, axes and shapes, but no weights.
_MAX_CONSTANT_BYTES = 1 << 16
_CONSTANT_DTYPES = ("float16", "float32", "int8", "uint8", "int16", "int32", "int64")

# Operators that run another subgraph.
_CALLING = ("CALL", "CALL_ONCE", "IF", "WHILE")

# What reading a damaged file raises: an offset leads past its end, or to something else.
_DAMAGED = (
    *(struct.error, IndexError, ValueError, TypeError, AttributeError, KeyError, OverflowError),
    MemoryError,
)


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph.

    Attributes:
        number: its index in the graph.
        name: as the converter called it.
        shape: -1 where a dimension is free.
        dtype: such as "uint8".
        scale, zero_point: a stored value q means scale * (q - zero_point). The scale is 0 if the
            tensor is not quantized, or has several scales.
        scale_count: how many scales it has.
        is_constant: whether its content is in the file.
        values: that content, of a small constant that is not quantized.
    """

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    scale_count: int = 0
    is_constant: bool = False
    values: NDArray[Any] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"

    @property
    def is_integer(self) -> bool:
        """Return whether it stores integers, quantized or not."""
        return self.dtype.startswith(("int", "uint"))

    @property
    def element_count(self) -> int:
        """Return how many numbers it holds; a free dimension counts as 1."""
        return abs(math.prod(self.shape))

    def dequantize(self, stored: float) -> float:
        """Return the number that a stored value means."""
        return self.scale * (stored - self.zero_point) if self.scale else stored


@dataclass(frozen=True)
class Operator:
    """An operator of a graph.

    Attributes:
        name: a builtin operator's name in the schema, or a custom operator's own.
        version: of the operator, as the schema counts them.
        inputs: its tensors, in the operator's order; None for one that is left out.
        outputs: its tensors.
        activation: name of the fused activation function; "NONE" without one.
        beta: factor of a softmax's inputs; 1 for other operators.
        is_custom: whether it is not built into TensorFlow Lite.
    """

    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    activation: str = "NONE"
    beta: float = 1.0
    is_custom: bool = False


@dataclass(frozen=True)
class TFLiteModel:
    """The content of a .tflite file.

    Attributes:
        name: the file's name, for messages.
        inputs, outputs: tensors of the main subgraph.
        operators: of the main subgraph, in order.
        versions: builtin operator -> highest version that the file lists, used or not: an
            interpreter looks for all of them when it loads the model.
        metadata: TensorFlow Lite's, with the files behind the model.
        tables: the whole file as the schema's ModelT.
        signature: name of the one that the main subgraph belongs to; empty without any.
        signatures: names of all.
        is_part: whether the file has other signatures, which `tables` lacks.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    versions: dict[str, int]
    metadata: Metadata
    tables: Any = field(compare=False, repr=False)
    signature: str = ""
    signatures: tuple[str, ...] = ()
    is_part: bool = False

    def producer(self, tensor: Tensor | None) -> Operator | None:
        """Return the operator that computes a tensor; None for a constant or an input."""
        for operator in self.operators:
            if tensor is not None and any(out.number == tensor.number for out in operator.outputs):
                return operator
        return None

    def consumers(self, tensor: Tensor) -> list[Operator]:
        """Return the operators that take a tensor."""
        return [
            operator
            for operator in self.operators
            if any(each is not None and each.number == tensor.number for each in operator.inputs)
        ]

    def trace_forward(self, tensor: Tensor, through: tuple[str, ...]) -> list[Operator]:
        """Return the operators after a tensor, up to and with the first one not in `through`."""
        found: list[Operator] = []
        while len(consumers := self.consumers(tensor)) == 1 and consumers[0] not in found:
            found.append(consumers[0])
            if consumers[0].name not in through or len(consumers[0].outputs) != 1:
                break
            tensor = consumers[0].outputs[0]
        return found

    def trace_back(self, tensor: Tensor, through: tuple[str, ...]) -> list[Operator]:
        """Return the operators before a tensor, backwards, up to the first one not in `through`.

        Of several inputs it follows the first that is computed. The list is empty if no such
        operator computes the tensor.
        """
        found: list[Operator] = []
        operator = self.producer(tensor)
        while operator is not None and operator not in found:  # else: a circle, in a damaged file
            found.append(operator)
            if operator.name not in through or not operator.inputs or not operator.outputs:
                return found
            operator = next(filter(None, map(self.producer, operator.inputs)), None)
        return []

    def constant_behind(self, tensor: Tensor) -> Tensor | None:
        """Return the constant that a tensor is, or is dequantized from; None if it is computed."""
        if tensor.is_constant:
            return tensor
        producer = self.producer(tensor)
        if producer is None or producer.name != "DEQUANTIZE" or not producer.inputs:
            return None
        source = producer.inputs[0]
        return source if source is not None and source.is_constant else None


def read_model(path: Path, signature: str = "") -> TFLiteModel:
    """Read a .tflite file.

    Without a signature it is read for serving_default.

    Raises:
        ModelError: it is not a TFLite file, or is damaged; or its signature is unclear.
    """
    return parse_model(path.read_bytes(), path.name, signature)


def parse_model(content: bytes, name: str, signature: str = "") -> TFLiteModel:
    """Parse the content of a .tflite file; raises ModelError as `read_model` does."""
    tables = _unpack(content, name)
    signatures = {_text(s.signatureKey): s.subgraphIndex for s in tables.signatureDefs or ()}
    chosen = _choose_signature(signatures, name, signature)
    has_others = len(set(signatures.values())) > 1
    if has_others:
        _keep_subgraph(tables, signatures[chosen], name)
    graph = tables.subgraphs[0]
    tensors = [_read_tensor(tables, graph, number) for number in range(len(graph.tensors))]
    return TFLiteModel(
        name=name,
        inputs=tuple(tensors[i] for i in _numbers(graph.inputs)),
        outputs=tuple(tensors[i] for i in _numbers(graph.outputs)),
        operators=tuple(_read_operator(tables, each, tensors) for each in graph.operators or ()),
        versions=_operator_versions(tables),
        signature=chosen,
        signatures=tuple(signatures),
        is_part=has_others,
        metadata=read_metadata(_metadata_table(tables), content, name),
        tables=tables,
    )


def pack_model(tables: Any) -> bytes:
    """Return the content of a .tflite file with these tables, a ModelT."""
    tables.buffers = [_AlignedBuffer(b.data, b.offset, b.size) for b in tables.buffers]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(tables.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def drop_unused(tables: Any) -> None:
    """Drop the operator codes that no operator has, and the content that no tensor has."""
    operators = [each for graph in tables.subgraphs for each in graph.operators or ()]
    codes = sorted({operator.opcodeIndex for operator in operators})
    tables.operatorCodes = [tables.operatorCodes[index] for index in codes]
    for operator in operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    buffers = {tensor.buffer for graph in tables.subgraphs for tensor in graph.tensors}
    buffers |= {entry.buffer for entry in tables.metadata or ()}
    for number, buffer in enumerate(tables.buffers):
        if number not in buffers:
            buffer.data = None


def operator_name(tables: Any, operator: Any) -> str:
    """Return the name of an OperatorT: the schema's for a builtin one, a custom one's own."""
    return _code_name(tables.operatorCodes[operator.opcodeIndex])


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that is aligned as the schema demands (force_align: 16), which Pack() is not."""

    def Pack(self, builder: flatbuffers.Builder) -> int:
        if self.data is not None:
            builder.Prep(16, len(self.data))
        return int(super().Pack(builder))


def _unpack(content: bytes, name: str) -> Any:
    """Return the file as a ModelT of which every table and buffer can be read."""
    if content[4:8] != b"TFL3":
        other = recognize_format(content, "model")
        found = other.name if other else f"{content[:8]!r} in {len(content):,} bytes"
        raise ModelError(
            f"{name} is not a TFLite model: expected the identifier TFL3 at byte 4, found {found}",
            (other and other.remedy) or "pass a .tflite file",
        )
    try:
        check_tables(content)
        tables = schema.ModelT.InitFromPackedBuf(content)
        _check_indices(tables)
    except _DAMAGED as error:
        raise ModelError(
            f"{name} is a broken TFLite model of {len(content):,} bytes: truncated or corrupt, "
            "offsets point past its end or to the same tables again and again",
            "download or convert it again, and compare its size with the original's",
        ) from error
    return tables


def _choose_signature(subgraphs: dict[str, int], name: str, wanted: str) -> str:
    """Return the name of the signature to run; empty if the file has none."""
    names = ", ".join(map(repr, subgraphs)) or "none"
    if wanted and wanted not in subgraphs:
        raise ModelError(f"--signature {wanted}: expected one of those in {name}, found {names}")
    chosen = wanted or ("serving_default" if "serving_default" in subgraphs else "")
    if not chosen and len(set(subgraphs.values())) > 1:
        raise ModelError(
            f"{name}: expected a signature 'serving_default', found {names}",
            "say which one takes a picture and gives scores: --signature NAME",
        )
    return chosen or next(iter(subgraphs), "")


def _keep_subgraph(tables: Any, number: int, name: str) -> None:
    """Drop all subgraphs but one, which interpreters then run, and what only the others need."""
    graph = tables.subgraphs[number]
    kinds = {operator_name(tables, operator) for operator in graph.operators or ()}
    if kinds & {*_CALLING}:
        raise ModelError(
            f"{name}: expected a signature that needs no other subgraph, found "
            f"{', '.join(sorted(kinds & {*_CALLING}))}",
            "convert the model with the one signature that takes a picture and gives scores",
        )
    tables.subgraphs = [graph]
    tables.signatureDefs = [s for s in tables.signatureDefs if s.subgraphIndex == number]
    for signature in tables.signatureDefs:
        signature.subgraphIndex = 0
    drop_unused(tables)


def _check_indices(tables: Any) -> None:
    """Raise IndexError if there is no subgraph, or a table refers to one that does not exist."""
    tables.subgraphs[0]
    for graph in tables.subgraphs:
        vectors = [graph.inputs, graph.outputs]
        for operator in graph.operators or ():
            tables.operatorCodes[operator.opcodeIndex]
            vectors += [operator.inputs, operator.outputs]
        for number in (number for vector in vectors for number in _numbers(vector)):
            if not -1 <= number < len(graph.tensors):
                raise IndexError(number)
        for tensor in graph.tensors:
            tables.buffers[tensor.buffer]
    for entry in tables.metadata or ():
        tables.buffers[entry.buffer]
    for signature in tables.signatureDefs or ():
        tables.subgraphs[signature.subgraphIndex]


def _code_name(code: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = str(OPERATORS.get(number, f"operator {number}"))
    return _text(code.customCode) or "?" if name == "CUSTOM" else name


def _operator_versions(tables: Any) -> dict[str, int]:
    versions: dict[str, int] = {}
    for code in tables.operatorCodes or ():
        if not code.customCode:
            name = _code_name(code)
            versions[name] = max(versions.get(name, 1), code.version)
    return versions


def _metadata_table(tables: Any) -> bytes:
    for entry in tables.metadata or ():
        if _text(entry.name) == "TFLITE_METADATA":
            data = tables.buffers[entry.buffer].data
            return b"" if data is None else bytes(data)
    return b""


def _read_operator(tables: Any, operator: Any, tensors: list[Tensor]) -> Operator:
    code = tables.operatorCodes[operator.opcodeIndex]
    options, name = operator.builtinOptions, operator_name(tables, operator)
    activation = getattr(options, "fusedActivationFunction", 0)
    return Operator(
        name=name,
        version=code.version,
        inputs=tuple(tensors[i] if i >= 0 else None for i in _numbers(operator.inputs)),
        outputs=tuple(tensors[i] for i in _numbers(operator.outputs) if i >= 0),
        activation=_ACTIVATIONS.get(activation, f"function {activation}"),
        beta=float(getattr(options, "beta", 1.0)) if name == "SOFTMAX" else 1.0,
        is_custom=bool(code.customCode) or name.startswith("operator "),
    )


def _read_tensor(tables: Any, graph: Any, number: int) -> Tensor:
    tensor = graph.tensors[number]
    shape, dtype = _numbers(tensor.shape), DTYPES.get(tensor.type, f"type {tensor.type}")
    quantization = tensor.quantization or schema.QuantizationParametersT()
    scales, zero_points = _numbers(quantization.scale), _numbers(quantization.zeroPoint)
    has_one_scale = len(scales) == 1
    data = tables.buffers[tensor.buffer].data
    is_constant = data is not None and len(data) > 0
    return Tensor(
        number=number,
        name=_text(tensor.name),
        shape=_numbers(tensor.shapeSignature) or shape,
        dtype=dtype,
        scale=scales[0] if has_one_scale else 0.0,
        zero_point=zero_points[0] if has_one_scale and zero_points else 0,
        scale_count=len(scales),
        is_constant=is_constant,
        values=_read_constant(dtype, shape, data) if is_constant and not scales else None,
    )


def _read_constant(
    dtype: str, shape: tuple[int, ...], data: NDArray[np.uint8]
) -> NDArray[Any] | None:
    """Return a small constant's content; None if it is large, or not of its tensor's size."""
    if dtype not in _CONSTANT_DTYPES or len(data) > _MAX_CONSTANT_BYTES:
        return None
    if len(data) != np.dtype(dtype).itemsize * math.prod(shape):
        return None
    values: NDArray[Any] = np.asarray(data, np.uint8).view(dtype).reshape(shape)
    return values


def _numbers(vector: Any) -> tuple[Any, ...]:
    """Return the numbers of a vector, which may be missing, as Python's own."""
    return () if vector is None else tuple(np.asarray(vector).tolist())


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")
