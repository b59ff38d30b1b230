"""Read what the builder needs to know of a .tflite file, through its FlatBuffers schema."""

import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from flatbuffers.number_types import Float32Flags, UOffsetTFlags
from flatbuffers.table import Table

from builder.errors import ModelError

TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()}
OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
# Operators that hand a probability on unchanged (up to quantization).
_PASS_ON = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")
_PROBABILITIES = ("SOFTMAX", "LOGISTIC")


@dataclass(frozen=True)
class Tensor:
    """A tensor's name, shape (-1 where it is free), dtype, and quantization if it has one."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        inputs, outputs: of the main subgraph.
        operators: names of its operators in order; custom ones by their own name.
        custom: names of the operators that are not built in.
        probabilities: whether the first output comes out of a softmax or a sigmoid.
        mean, std: per channel, from the TFLite metadata; empty if it says nothing.
        label_files: text files that the metadata carries, name -> content.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[str, ...]
    custom: tuple[str, ...]
    probabilities: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    label_files: dict[str, str]


def signature(path: Path) -> Signature:
    """Read a model's signature.

    Raises:
        ModelError: not a TFLite file, or a broken one.
    """
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ModelError(
            f"{path.name} is not a TFLite model: expected the identifier TFL3 at byte 4, "
            f"found {content[4:8]!r} in {len(content)} bytes",
            "pass a .tflite file; a SavedModel or .h5 file has to be converted first",
        )
    try:
        return _signature(content)
    except (struct.error, IndexError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path.name} is a broken TFLite model ({len(content)} bytes): {error}",
            "fetch or convert it again",
        ) from error


def _signature(content: bytes) -> Signature:
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    names, custom = [], []
    producer: dict[int, int] = {}
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        code = model.OperatorCodes(operator.OpcodeIndex())
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = OPERATORS.get(builtin, f"operator {builtin}")
        if name == "CUSTOM":
            name = (code.CustomCode() or b"?").decode(errors="replace")
            custom.append(name)
        names.append(name)
        for output in range(operator.OutputsLength()):
            producer[operator.Outputs(output)] = position
    for number in range(model.BuffersLength()):  # touches every offset: a cut file fails here
        buffer = model.Buffers(number)
        if length := buffer.DataLength():
            buffer.Data(length - 1)
    metadata = _metadata(model)
    mean, std = _normalization(metadata) if metadata else ((), ())
    return Signature(
        inputs=tuple(_tensor(graph, graph.Inputs(i)) for i in range(graph.InputsLength())),
        outputs=tuple(_tensor(graph, graph.Outputs(i)) for i in range(graph.OutputsLength())),
        operators=tuple(names),
        custom=tuple(sorted(set(custom))),
        probabilities=_gives_probabilities(graph, names, producer),
        mean=mean,
        std=std,
        label_files=_text_files(content),
    )


def _tensor(graph: Any, number: int) -> Tensor:
    tensor = graph.Tensors(number)
    shape = tuple(tensor.Shape(i) for i in range(tensor.ShapeLength()))
    if tensor.ShapeSignatureLength():
        shape = tuple(tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength()))
    quantization = tensor.Quantization()
    quantized = quantization is not None and quantization.ScaleLength() == 1
    return Tensor(
        name=(tensor.Name() or b"").decode(errors="replace"),
        shape=shape,
        dtype=TYPES.get(tensor.Type(), f"type {tensor.Type()}"),
        scale=float(quantization.Scale(0)) if quantized else 0.0,
        zero_point=int(quantization.ZeroPoint(0))
        if quantized and quantization.ZeroPointLength()
        else 0,
    )


def _gives_probabilities(graph: Any, names: list[str], producer: dict[int, int]) -> bool:
    tensor = graph.Outputs(0) if graph.OutputsLength() else -1
    while tensor in producer and names[producer[tensor]] in _PASS_ON:
        tensor = graph.Operators(producer[tensor]).Inputs(0)
    return tensor in producer and names[producer[tensor]] in _PROBABILITIES


def _text_files(content: bytes) -> dict[str, str]:
    """Files that TFLite metadata appends to the model as a zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {
                name: archive.read(name).decode("utf-8-sig")
                for name in archive.namelist()
                if name.endswith(".txt")
            }
    except (zipfile.BadZipFile, UnicodeDecodeError):
        return {}


def _metadata(model: Any) -> bytes:
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() == b"TFLITE_METADATA":
            buffer = model.Buffers(entry.Buffer())
            return bytes(buffer.Data(i) for i in range(buffer.DataLength()))
    return b""


# Positions of fields in TFLite's metadata_schema.fbs, which no maintained package offers.
_SUBGRAPHS, _INPUTS, _PROCESS_UNITS = 3, 2, 4
_OPTIONS_TYPE, _OPTIONS, _NORMALIZATION = 0, 1, 1
_MEAN, _STD = 0, 1


def _normalization(metadata: bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of NormalizationOptions, the first input's; empty if there is none."""
    root = Table(metadata, UOffsetTFlags.py_type(struct.unpack_from("<I", metadata)[0]))
    for graph in _tables(root, _SUBGRAPHS)[:1]:
        for tensor in _tables(graph, _INPUTS)[:1]:
            for unit in _tables(tensor, _PROCESS_UNITS):
                kind = unit.Offset(4 + 2 * _OPTIONS_TYPE)
                options = unit.Offset(4 + 2 * _OPTIONS)
                if kind and options and metadata[unit.Pos + kind] == _NORMALIZATION:
                    found = Table(metadata, unit.Indirect(unit.Pos + options))
                    return _floats(found, _MEAN), _floats(found, _STD)
    return (), ()


def _tables(table: Table, field: int) -> list[Table]:
    offset = table.Offset(4 + 2 * field)
    if not offset:
        return []
    start, length = table.Vector(offset), table.VectorLen(offset)
    return [Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(length)]


def _floats(table: Table, field: int) -> tuple[float, ...]:
    offset = table.Offset(4 + 2 * field)
    if not offset:
        return ()
    start, length = table.Vector(offset), table.VectorLen(offset)
    return tuple(float(table.Get(Float32Flags, start + 4 * i)) for i in range(length))
