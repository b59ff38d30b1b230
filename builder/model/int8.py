"""Convert a uint8 model to int8: XNNPACK's fast x86 kernels (VNNI) take int8 weights only.

By TensorFlow Lite's 8-bit quantization specification. A uint8 value q with zero point z stands for
scale * (q - z), and so does q - 128 with z - 128: activations convert exactly. int8 weights have
the zero point 0, so q - z, which may be -255..255, has to fit -127..127. Channels where it does
keep their scale, exactly; the others get a larger one, and their weights and bias are rounded to
it. The accumulators of exact channels are the same integers as before; kernels may round what they
make of them differently, by one step.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.tflite import (
    DTYPES,
    OPERATORS,
    TFLiteModel,
    drop_unused,
    operator_name,
    pack_model,
)

HINT = "--no-requantize ships the model as it is"
# Largest magnitude of an int8 weight.
LIMIT = 127

_Array = NDArray[Any]
_TYPE = schema.TensorType
_CODES = {name: code for code, name in OPERATORS.items()}

# What can be converted, by the operator's least version with an int8 kernel (TFLite's op_version).
_INT8_SINCE = {
    1: "RESHAPE SQUEEZE",
    2: "ADD AVERAGE_POOL_2D CONCATENATION DEQUANTIZE LOGISTIC MAX_POOL_2D MEAN PAD PADV2 QUANTIZE "
    "RELU RELU6 SOFTMAX SUB",
    3: "CONV_2D DEPTHWISE_CONV_2D MUL",
    4: "FULLY_CONNECTED",
}
_VERSIONS = {name: version for version, names in _INT8_SINCE.items() for name in names.split()}
# The dimension of the weights that counts channels. TFLite 2.14's dense kernel has one scale.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": None}
# Operators whose input 1 is a constant of integers: axes, padding, shape.
_WITH_INTEGERS = ("MEAN", "PAD", "PADV2", "RESHAPE")
# Operators whose int8 kernels demand the same quantization of input and output.
_SAME_QUANTIZATION = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "PADV2", "RESHAPE", "SQUEEZE")
_PROBABILITIES = ("LOGISTIC", "SOFTMAX")


@dataclass(frozen=True)
class Int8Model:
    """A model that was converted to int8.

    Attributes:
        content: of the .tflite file. Files appended to the original (labels) are not in it.
        channels: of the weights of all operators.
        rescaled: how many of them needed a larger scale.
        error: largest error of a weight, in steps of its old scale; 0 if all are exact.
    """

    content: bytes
    channels: int
    rescaled: int
    error: float


def convert_to_int8(model: TFLiteModel) -> Int8Model | None:
    """Convert a model with uint8 weights to int8; return None if it has no uint8 weights.

    Raises:
        ModelError: something cannot be converted with proof; names the operator and the tensor.
    """
    graphs = model.tables.subgraphs
    try:
        if not any(_has_uint8_weights(model.tables, graph) for graph in graphs):
            return None
        if len(graphs) != 1:
            raise ModelError(f"{model.name}: expected one subgraph, found {len(graphs)}", HINT)
        tables = copy.deepcopy(model.tables)
        converter = _Converter(tables, model.name)
        converter.convert_graph()
    except (IndexError, TypeError, ValueError, struct.error) as error:
        raise ModelError(
            f"{model.name} is a broken TFLite model: {error}", "download or convert it again"
        ) from error
    return Int8Model(pack_model(tables), converter.channels, converter.rescaled, converter.error)


def _has_uint8_weights(tables: Any, graph: Any) -> bool:
    return any(
        operator_name(tables, operator) in _CHANNEL_AXIS
        and graph.tensors[operator.inputs[1]].type == _TYPE.UINT8
        for operator in graph.operators or ()
    )


class _Converter:
    """Converts the graph of a model in place.

    A tensor gets the quantization that its role asks for. Where operators use it in several roles,
    such as a bias of weights with different scales, the first role gets the tensor and each other
    one a new tensor.
    """

    def __init__(self, tables: Any, name: str) -> None:
        self.channels, self.rescaled, self.error = 0, 0, 0.0
        self._tables, self._graph, self._name = tables, tables.subgraphs[0], name
        self._old = list(self._graph.tensors)
        self._roles: dict[int, dict[Any, int]] = {}
        self._converted_weights: dict[tuple[int, int | None], tuple[int, _Array, _Array]] = {}
        self._where = name  # for messages

    def convert_graph(self) -> None:
        """Convert the graph's inputs, outputs and operators, and drop what is not used any more."""
        graph, operators = self._graph, []
        for ends in ("inputs", "outputs"):
            self._where = f"{self._name}: the graph's {ends}"
            setattr(graph, ends, _vector(map(self._convert_end, getattr(graph, ends))))
        for position, operator in enumerate(graph.operators):
            kind = operator_name(self._tables, operator)
            self._where = f"{self._name}: operator {position}, {kind}"
            if kind not in _VERSIONS:
                self._refuse(f"one of {', '.join(sorted(_VERSIONS))}", kind)
            self._check_operator(kind, operator)
            before = self._convert_operator(kind, operator)
            code = self._tables.operatorCodes[operator.opcodeIndex]
            code.version = max(code.version, _VERSIONS[kind])
            operators += [*before, operator]
        graph.operators = operators
        drop_unused(self._tables)

    def _check_operator(self, kind: str, operator: Any) -> None:
        """Raise ModelError if an int8 kernel demands more than int8 tensors."""
        options, output = operator.builtinOptions, operator.outputs[0]
        if kind == "FULLY_CONNECTED" and options is not None and options.weightsFormat:
            self._refuse("weights in the default format", f"format {options.weightsFormat}")
        if kind == "CONCATENATION" and options is not None and options.fusedActivationFunction:
            self._refuse("no fused activation", f"number {options.fusedActivationFunction}")
        if kind in _PROBABILITIES and self._quantization(output) != (1 / 256, 0):
            self._refuse("an output with scale 1/256 and zero point 0", self._describe(output))
        if kind not in _SAME_QUANTIZATION:
            return
        for number in (operator.inputs[0], *operator.inputs[2:]):
            if self._quantization(number) != self._quantization(output):
                expected = f"the quantization of {self._describe(output)}"
                self._refuse(expected, self._describe(number))

    def _convert_operator(self, kind: str, operator: Any) -> list[Any]:
        """Convert an operator's tensors; return the operators that have to run before it."""
        before, inputs = [], []
        old, outputs = [int(i) for i in operator.inputs], [int(i) for i in operator.outputs]
        for place, number in enumerate(old):
            if kind in _CHANNEL_AXIS and place == 1:
                inputs.append(self._convert_weights(number, _CHANNEL_AXIS[kind])[0])
            elif kind in _CHANNEL_AXIS and place == 2:
                inputs.append(
                    -1 if number < 0 else self._convert_bias(number, old[0], old[1], kind)
                )
            elif kind in _WITH_INTEGERS and place == 1:
                inputs.append(self._keep_integers(number))
            elif kind == "QUANTIZE":
                inputs.append(self._convert_end(number))
            elif kind == "CONCATENATION" and (
                self._quantization(number) != self._quantization(outputs[0])
            ):  # its int8 kernel only copies
                before.append(self._build_quantize(number, outputs[0]))
                inputs.append(before[-1].outputs[0])
            else:
                inputs.append(self._convert_activation(number))
        convert = self._convert_end if kind == "DEQUANTIZE" else self._convert_activation
        operator.inputs, operator.outputs = _vector(inputs), _vector(map(convert, outputs))
        return before

    def _convert_activation(self, number: int) -> int:
        """Return the int8 tensor for a uint8 activation, or for a constant in place of one."""
        scale, zero_point = self._quantization(number)
        data = self._data(number)
        flipped = None if data is None else data ^ 0x80
        return self._place(number, "activation", [scale], zero_point - 128, data=flipped)

    def _convert_end(self, number: int) -> int:
        """Return the tensor for one that may be float32, at an end of the graph."""
        is_float = self._tensor(number).type == _TYPE.FLOAT32
        return number if is_float else self._convert_activation(number)

    def _keep_integers(self, number: int) -> int:
        tensor = self._tensor(number)
        if tensor.type not in (_TYPE.INT32, _TYPE.INT64) or self._data(number) is None:
            self._refuse("constant integers", self._describe(number))
        return self._place(number, "integers")

    def _convert_weights(self, number: int, axis: int | None) -> tuple[int, _Array, _Array]:
        """Return the int8 tensor for uint8 weights, its scales, and old / new scale, per channel.

        The arrays are float64 of shape (channels,): the size of the weights' dimension `axis`, or
        1 for None.
        """
        if (number, axis) in self._converted_weights:
            return self._converted_weights[number, axis]
        old_scale, zero_point = self._quantization(number)
        data = self._data(number)
        if data is None:
            self._refuse("constant weights", self._describe(number))
        centred = data.reshape(self._tensor(number).shape).astype(np.float64) - zero_point
        others = tuple(i for i in range(centred.ndim) if i != axis)
        peaks = abs(centred).max(axis=others, keepdims=True)
        scales = np.where(peaks > LIMIT, old_scale * peaks / LIMIT, old_scale)
        scales = scales.astype(np.float32).astype(np.float64)  # as the file will have them
        ratios = old_scale / scales
        weights = np.rint(centred * ratios)
        self.channels += peaks.size
        self.rescaled += int((peaks > LIMIT).sum())
        self.error = max(self.error, float(abs(weights / ratios - centred).max()))
        index = self._place(
            number, ("weights", axis), scales.ravel(), 0, axis or 0, weights.astype(np.int8)
        )
        self._converted_weights[number, axis] = index, scales.ravel(), ratios.ravel()
        return self._converted_weights[number, axis]

    def _convert_bias(self, number: int, source: int, weights: int, kind: str) -> int:
        """Return the int32 tensor for a bias, whose scale is that of input times weights."""
        _, scales, ratios = self._convert_weights(weights, _CHANNEL_AXIS[kind])
        tensor, data = self._tensor(number), self._data(number)
        if tensor.type != _TYPE.INT32 or data is None:
            self._refuse("a constant int32 bias", self._describe(number))
        values = data.view("<i4")
        if ratios.size not in (1, values.size):
            self._refuse(f"a bias of {ratios.size} channels", self._describe(number))
        input_scale = self._quantization(source)[0]
        rounded = np.rint(values * ratios).astype("<i4")
        role = ("bias", input_scale, weights, kind)
        return self._place(number, role, input_scale * scales, 0, data=rounded)

    def _build_quantize(self, number: int, like: int) -> Any:
        """Return a QUANTIZE operator that gives a tensor the quantization of another."""
        code = schema.OperatorCodeT(_CODES["QUANTIZE"], None, 2, _CODES["QUANTIZE"])
        self._tables.operatorCodes.append(code)
        source = self._convert_activation(number)
        tensor = copy.copy(self._graph.tensors[source])
        tensor.quantization = self._graph.tensors[self._convert_activation(like)].quantization
        tensor.buffer = 0
        self._graph.tensors.append(tensor)
        return schema.OperatorT(
            len(self._tables.operatorCodes) - 1,
            _vector([source]),
            _vector([len(self._graph.tensors) - 1]),
            schema.BuiltinOptions.QuantizeOptions,
            schema.QuantizeOptionsT(),
        )

    def _place(
        self,
        number: int,
        role: Any,
        scales: Any = (),
        zero_point: int = 0,
        axis: int = 0,
        data: _Array | None = None,
    ) -> int:
        """Return the index of a tensor in a role: its own in the first, a new one in others.

        Equal roles share a tensor. Without scales, its quantization stays; `axis` is the dimension
        that several of them count.
        """
        roles = self._roles.setdefault(number, {})
        if role in roles:
            return roles[role]
        tensor = copy.copy(self._tensor(number))
        if len(scales):
            tensor.type = _TYPE.INT8 if tensor.type == _TYPE.UINT8 else tensor.type
            tensor.quantization = schema.QuantizationParametersT(
                scale=np.array(scales, np.float32),
                zeroPoint=np.full(len(scales), zero_point, np.int64),
                quantizedDimension=axis,
            )
        if data is not None:
            self._tables.buffers.append(schema.BufferT(np.frombuffer(data.tobytes(), np.uint8)))
            tensor.buffer = len(self._tables.buffers) - 1
        if roles:
            self._graph.tensors.append(tensor)
            roles[role] = len(self._graph.tensors) - 1
        else:
            self._graph.tensors[number] = tensor
            roles[role] = number
        return roles[role]

    def _tensor(self, number: int) -> Any:
        """Return the original tensor."""
        if number < 0:
            raise IndexError(f"{self._where} lacks a tensor")
        return self._old[number]

    def _data(self, number: int) -> _Array | None:
        """Return the original content of a constant, uint8; None if the tensor is computed."""
        data = self._tables.buffers[self._tensor(number).buffer].data
        return data if data is not None and len(data) else None

    def _quantization(self, number: int) -> tuple[float, int]:
        """Return scale and zero point of a uint8 tensor; raise ModelError for every other."""
        tensor = self._tensor(number)
        found = tensor.quantization
        if (
            tensor.type == _TYPE.UINT8
            and not (tensor.isVariable or tensor.sparsity or tensor.externalBuffer)
            and found is not None
            and found.details is None
            and found.scale is not None
            and found.zeroPoint is not None
            and len(found.scale) == len(found.zeroPoint) == 1
            and 0 < found.scale[0] < np.inf
            and 0 <= found.zeroPoint[0] <= 255
        ):
            return float(found.scale[0]), int(found.zeroPoint[0])
        self._refuse("a dense uint8 tensor with one scale and zero point", self._describe(number))

    def _describe(self, number: int) -> str:
        """Return a tensor's number, name, type and quantization for messages."""
        tensor = self._tensor(number)
        name = (tensor.name or b"").decode(errors="replace")
        dtype = DTYPES.get(tensor.type, f"type {tensor.type}")
        text = f"tensor {number} ({name}): {dtype}"
        found = tensor.quantization
        for title, field in (("scale", "scale"), ("zero point", "zeroPoint")):
            values = None if found is None else getattr(found, field)
            if values is not None:
                shown = f"{values[0]:g}" if len(values) == 1 else f"of {len(values)} values"
                text += f", {title} {shown}"
        return text if tensor.sparsity is None else text + ", sparse"

    def _refuse(self, expected: str, found: str) -> NoReturn:
        raise ModelError(f"{self._where}: expected {expected}, found {found}", HINT)


def _vector(numbers: Iterable[int]) -> _Array:
    return np.array(list(numbers), np.int32)
