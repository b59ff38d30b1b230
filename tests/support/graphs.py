"""TFLite files for tests, written with the object API of TensorFlow Lite's schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Array = np.ndarray[Any, Any]
TYPES = {
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "int16": schema.TensorType.INT16,
    "int64": schema.TensorType.INT64,
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
}
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its number, shape, scale and zero point."""

    number: int
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0


class Graph:
    """A graph that grows operator by operator.

    Attributes:
        tensors, buffers, operators, codes: of the schema's object API, as far as it has grown.
    """

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.buffers = [schema.BufferT()]
        self.operators: list[Any] = []
        self.codes: list[Any] = []

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: str,
        scale: float = 0.0,
        zero_point: int = 0,
        data: Array | None = None,
        name: str = "",
    ) -> Value:
        """Any tensor; with `data` a constant, with a scale a quantized one."""
        tensor = schema.TensorT(shape=np.array(shape, np.int32), type=TYPES[dtype])
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
        """Values that are not quantized."""
        return self.tensor(data.shape, data.dtype.name, data=data)

    def integers(self, *values: Any) -> Value:
        """An int32 constant, such as axes or a shape."""
        return self.constant(np.array(values, np.int32))

    def operator(
        self,
        kind: str,
        inputs: Sequence[Value],
        output: Value,
        options: Any = None,
        version: int = 1,
        custom: str = "",
    ) -> Value:
        """One operator; returns its output.

        Args:
            kind: its name among the schema's builtin operators.
            inputs: in the operator's order.
            output: the only one.
            options: of the object API, as `Conv2DOptionsT`; None if it has none.
            version: of the operator.
            custom: name of a custom operator, whose kind is CUSTOM.
        """
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
        return output

    def file(self, sources: Sequence[Value], sinks: Sequence[Value]) -> bytes:
        """The .tflite file of the graph from its inputs to its outputs."""
        graph = schema.SubGraphT(
            self.tensors,
            np.array([value.number for value in sources], np.int32),
            np.array([value.number for value in sinks], np.int32),
            self.operators,
            b"main",
        )
        model = schema.ModelT(3, self.codes, [graph], b"a test", self.buffers)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
