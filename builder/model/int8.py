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
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.tflite import Operator, Tensor, TFLiteModel, drop_unused, pack_model

HINT = "--no-requantize ships the model as it is"
# Largest magnitude of an int8 weight.
LIMIT = 127

_Array = NDArray[Any]

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

    What int8 kernels demand beyond types shows when both models run, in `check_agreement`.

    Raises:
        ModelError: something cannot be converted; names the operator and the tensor.
    """
    if not any(
        operator.name in _CHANNEL_AXIS and weights and weights.dtype == "uint8"
        for operator in model.operators
        for weights in operator.inputs[1:2]
    ):
        return None
    graphs = len(model.tables.subgraphs)
    if graphs != 1:
        raise ModelError(f"{model.name}: expected one subgraph, found {graphs}", HINT)
    try:
        return _Converter(model).convert()
    except (IndexError, TypeError, ValueError) as error:
        raise ModelError(
            f"{model.name} is a broken TFLite model: {error}", "download or convert it again"
        ) from error


class _Converter:
    """Converts the graph of a model in a copy of its tables.

    A tensor gets the quantization that its role asks for. Where operators use it in several roles,
    such as a bias of weights with different scales, the first role gets the tensor and each other
    one a new tensor.
    """

    def __init__(self, model: TFLiteModel) -> None:
        self._model = model
        self._tables = copy.deepcopy(model.tables)
        self._graph = self._tables.subgraphs[0]
        self._old = list(self._graph.tensors)
        self._roles: dict[int, dict[Any, int]] = {}
        self._channels, self._rescaled, self._error = 0, 0, 0.0
        self._where = ""  # for messages

    def convert(self) -> Int8Model:
        """Convert the graph's inputs, outputs and operators, and drop what is not used any more."""
        graph, model, operators = self._graph, self._model, []
        for title, ends in (("inputs", model.inputs), ("outputs", model.outputs)):
            self._where = f"the graph's {title}"
            setattr(graph, title, _vector(map(self._convert_end, ends)))
        for position, (written, operator) in enumerate(
            zip(graph.operators, model.operators, strict=True)
        ):
            self._where = f"operator {position}, {operator.name}"
            if operator.name not in _VERSIONS:
                self._refuse(f"one of {', '.join(sorted(_VERSIONS))}", operator.name)
            operators += [*self._convert_operator(operator, written), written]
            code = self._tables.operatorCodes[written.opcodeIndex]
            code.version = max(code.version, _VERSIONS[operator.name])
        graph.operators = operators
        drop_unused(self._tables)
        content = pack_model(self._tables)
        return Int8Model(content, self._channels, self._rescaled, self._error)

    def _convert_operator(self, operator: Operator, written: Any) -> list[Any]:
        """Convert an operator's tensors; return the operators that have to run before it."""
        kind, before, inputs = operator.name, [], []
        for place, tensor in enumerate(operator.inputs):
            if kind in _CHANNEL_AXIS and place == 2:
                inputs.append(self._convert_bias(tensor, operator) if tensor else -1)
                continue
            if tensor is None:
                raise ValueError(f"{self._where} lacks a tensor")
            if kind in _CHANNEL_AXIS and place == 1:
                inputs.append(self._convert_weights(tensor, _CHANNEL_AXIS[kind]))
            elif kind in _WITH_INTEGERS and place == 1:
                inputs.append(tensor.number)
            elif kind == "QUANTIZE":
                inputs.append(self._convert_end(tensor))
            elif kind == "CONCATENATION" and (
                self._quantization(tensor) != self._quantization(operator.outputs[0])
            ):  # its int8 kernel only copies
                before.append(self._build_quantize(tensor, operator.outputs[0]))
                inputs.append(before[-1].outputs[0])
            else:
                inputs.append(self._convert_activation(tensor))
        convert = self._convert_end if kind == "DEQUANTIZE" else self._convert_activation
        written.inputs, written.outputs = _vector(inputs), _vector(map(convert, operator.outputs))
        return before

    def _convert_activation(self, tensor: Tensor) -> int:
        """Return the int8 tensor for a uint8 activation, or for a constant in place of one."""
        scale, zero_point = self._quantization(tensor)
        flipped = self._data(tensor) ^ 0x80 if tensor.is_constant else None
        return self._place(tensor, "activation", [scale], zero_point - 128, data=flipped)

    def _convert_end(self, tensor: Tensor) -> int:
        """Return the tensor for one that may be float32, at an end of the graph."""
        return tensor.number if tensor.dtype == "float32" else self._convert_activation(tensor)

    def _convert_weights(self, tensor: Tensor, axis: int | None) -> int:
        """Return the int8 tensor for uint8 weights; `axis` is the dimension of their channels."""
        role = ("weights", axis)
        if role in self._roles.get(tensor.number, ()):
            return self._roles[tensor.number][role]
        old_scale, zero_point = self._quantization(tensor)
        if not tensor.is_constant:
            self._refuse("constant weights", _describe(tensor))
        shape = self._old[tensor.number].shape
        centred = self._data(tensor).reshape(shape).astype(np.float64) - zero_point
        others = tuple(i for i in range(centred.ndim) if i != axis)
        peaks = abs(centred).max(axis=others, keepdims=True)
        scales = np.where(peaks > LIMIT, old_scale * peaks / LIMIT, old_scale)
        ratios = old_scale / scales.astype(np.float32).astype(np.float64)  # as in the file
        weights = np.rint(centred * ratios)
        self._channels += peaks.size
        self._rescaled += int((peaks > LIMIT).sum())
        self._error = max(self._error, float(abs(weights / ratios - centred).max()))
        return self._place(tensor, role, scales.ravel(), 0, axis or 0, weights.astype(np.int8))

    def _convert_bias(self, tensor: Tensor, operator: Operator) -> int:
        """Return the int32 tensor for a bias, whose scale is that of input times weights."""
        source, weights, _ = operator.inputs
        assert source is not None
        assert weights is not None
        if tensor.dtype != "int32" or not tensor.is_constant:
            self._refuse("a constant int32 bias", _describe(tensor))
        converted = self._convert_weights(weights, _CHANNEL_AXIS[operator.name])
        scales = self._graph.tensors[converted].quantization.scale.astype(np.float64)
        ratios, input_scale = self._quantization(weights)[0] / scales, self._quantization(source)[0]
        rounded = np.rint(self._data(tensor).view("<i4") * ratios).astype("<i4")
        role = ("bias", input_scale, weights.number, operator.name)
        return self._place(tensor, role, input_scale * scales, data=rounded)

    def _build_quantize(self, tensor: Tensor, like: Tensor) -> Any:
        """Return a QUANTIZE operator that gives a tensor the quantization of another."""
        quantize = schema.BuiltinOperator.QUANTIZE
        self._tables.operatorCodes.append(schema.OperatorCodeT(quantize, None, 2, quantize))
        source = self._convert_activation(tensor)
        result = copy.copy(self._graph.tensors[source])
        result.quantization = self._graph.tensors[self._convert_activation(like)].quantization
        result.buffer = 0
        self._graph.tensors.append(result)
        return schema.OperatorT(
            len(self._tables.operatorCodes) - 1,
            _vector([source]),
            _vector([len(self._graph.tensors) - 1]),
            schema.BuiltinOptions.QuantizeOptions,
            schema.QuantizeOptionsT(),
        )

    def _place(
        self,
        tensor: Tensor,
        role: Any,
        scales: Any,
        zero_point: int = 0,
        axis: int = 0,
        data: _Array | None = None,
    ) -> int:
        """Return the index of a tensor in a role: its own in the first, a new one in others.

        Equal roles share a tensor; `axis` is the dimension that several scales count.
        """
        roles = self._roles.setdefault(tensor.number, {})
        if role in roles:
            return roles[role]
        placed = copy.copy(self._old[tensor.number])
        placed.type = schema.TensorType.INT8 if tensor.dtype == "uint8" else placed.type
        placed.quantization = schema.QuantizationParametersT(
            scale=np.array(scales, np.float32),
            zeroPoint=np.full(len(scales), zero_point, np.int64),
            quantizedDimension=axis,
        )
        if data is not None:
            self._tables.buffers.append(schema.BufferT(np.frombuffer(data.tobytes(), np.uint8)))
            placed.buffer = len(self._tables.buffers) - 1
        index = len(self._graph.tensors) if roles else tensor.number
        self._graph.tensors[index : index + 1] = [placed]
        roles[role] = index
        return index

    def _data(self, tensor: Tensor) -> _Array:
        """Return the content of a constant, as uint8."""
        data: _Array = self._tables.buffers[self._old[tensor.number].buffer].data
        return data

    def _quantization(self, tensor: Tensor) -> tuple[float, int]:
        """Return scale and zero point of a uint8 tensor; raise ModelError for every other."""
        if (
            tensor.dtype != "uint8"
            or not 0 < tensor.scale < np.inf
            or not 0 <= tensor.zero_point <= 255
        ):
            self._refuse("a dense uint8 tensor with one scale and zero point", _describe(tensor))
        return tensor.scale, tensor.zero_point

    def _refuse(self, expected: str, found: str) -> NoReturn:
        message = f"{self._model.name}: {self._where}: expected {expected}, found {found}"
        raise ModelError(message, HINT)


def _describe(tensor: Tensor) -> str:
    """Return a tensor's number, name, type and quantization for messages."""
    text = f"tensor {tensor.number} ({tensor.name}): {tensor.dtype}"
    if tensor.scale:
        return f"{text}, scale {tensor.scale:g}, zero point {tensor.zero_point}"
    return f"{text}, scale of {tensor.scale_count} values" if tensor.scale_count else text


def _vector(numbers: Iterable[int]) -> _Array:
    return np.array(list(numbers), np.int32)
