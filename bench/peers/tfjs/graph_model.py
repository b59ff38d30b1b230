"""Converts a .tflite model to a TF.js graph model with dequantized weights.

A quantized constant q with scale s and zero point z becomes the float32 s * (q - z), and nothing is
rounded between the operators. The graph has TensorFlow's own operators, fused as the converter of
TF.js fuses them (grappler's `_FusedConv2D` and so on).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from builder.base.errors import ModelError
from builder.model.tflite import DTYPES, OPERATORS

WEIGHTS = "weights.bin"
_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE: "",
    schema.ActivationFunctionType.RELU: "Relu",
    schema.ActivationFunctionType.RELU6: "Relu6",
}
_PADDINGS = {schema.Padding.SAME: "SAME", schema.Padding.VALID: "VALID"}
_DTYPES = {"float32": "<f4", "int32": "<i4", "int8": "i1", "uint8": "u1"}
_FLOAT = {"type": "DT_FLOAT"}


def _encode(text: str) -> str:
    """Return a string as the format has it."""
    return base64.b64encode(text.encode()).decode()


class GraphModelConverter:
    """Converts a .tflite model that builder has read, operator by operator.

    It is uint8, int8 or float32, with one input and one output.
    """

    def __init__(self, path: Path) -> None:
        self._model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
        self._tensors = self._model.subgraphs[0].tensors
        self._at = path.name  # model and operator, for messages
        self._nodes: list[dict[str, Any]] = []
        self._weights: list[dict[str, Any]] = []
        self._content = bytearray()
        self._names: dict[int, str] = {}  # node by the tensor that it computes

    def convert(self, softmax: bool) -> tuple[dict[str, Any], bytes]:
        """Convert all operators; `softmax` adds one to the end.

        Returns:
            The content of `model.json`, and the bytes of WEIGHTS, little-endian.

        Raises:
            ModelError: an operator is not converted; names it.
        """
        graph, name = self._model.subgraphs[0], self._at
        source, sink = graph.inputs[0], graph.outputs[0]
        shape = {"dim": [{"size": str(size)} for size in self._tensors[source].shape]}
        attributes = {"dtype": _FLOAT, "shape": {"shape": shape}}
        self._names[source] = self._node("Placeholder", [], **attributes)
        for position, operator in enumerate(graph.operators):
            code = self._model.operatorCodes[operator.opcodeIndex]
            kind = str(OPERATORS.get(max(code.builtinCode, code.deprecatedBuiltinCode)))
            self._at = f"{name}: operator {position}, {kind}"
            method = getattr(self, f"_op_{kind.lower()}", None)
            if method is None:
                known = (each[4:].upper() for each in dir(self) if each.startswith("_op_"))
                raise ModelError(f"{self._at}: expected one of {', '.join(known)}")
            self._names[operator.outputs[0]] = method(operator, operator.builtinOptions)
        if softmax:
            self._node("Softmax", [self._names[sink]], T=_FLOAT)
        description = {
            "format": "graph-model",
            "modelTopology": {"node": self._nodes, "versions": {}},
            "weightsManifest": [{"paths": [WEIGHTS], "weights": self._weights}],
        }
        return description, bytes(self._content)

    def _op_conv_2d(self, operator: Any, options: Any) -> str:
        kernel = self._values(operator.inputs[1]).transpose(1, 2, 3, 0)
        return self._convolution("_FusedConv2D", operator, options, kernel)

    def _op_depthwise_conv_2d(self, operator: Any, options: Any) -> str:
        kernel = self._values(operator.inputs[1])[0]
        kernel = kernel.reshape(*kernel.shape[:2], -1, options.depthMultiplier)
        return self._convolution("FusedDepthwiseConv2dNative", operator, options, kernel)

    def _convolution(self, kind: str, operator: Any, options: Any, kernel: NDArray[Any]) -> str:
        strides = (1, options.strideH, options.strideW, 1)
        dilations = (1, options.dilationHFactor, options.dilationWFactor, 1)
        window = self._window(options, strides=strides, dilations=dilations)
        return self._fused(kind, operator, options, self._source(operator), kernel, **window)

    def _op_fully_connected(self, operator: Any, options: Any) -> str:
        weights = self._values(operator.inputs[1])
        shape = self._constant(np.array([-1, weights.shape[1]], np.int32))
        source = self._node("Reshape", [self._source(operator), shape], T=_FLOAT)
        return self._fused("_FusedMatMul", operator, options, source, weights.T)

    def _op_average_pool_2d(self, operator: Any, options: Any) -> str:
        size = (1, options.filterHeight, options.filterWidth, 1)
        window = self._window(options, ksize=size, strides=(1, options.strideH, options.strideW, 1))
        pooled = self._node("AvgPool", [self._source(operator)], T=_FLOAT, **window)
        return self._activated(pooled, operator, options)

    def _op_mean(self, operator: Any, options: Any) -> str:
        sources = [self._source(operator), self._constant(self._values(operator.inputs[1]))]
        return self._node("Mean", sources, T=_FLOAT, keep_dims={"b": bool(options.keepDims)})

    def _op_add(self, operator: Any, options: Any) -> str:
        added = self._node("AddV2", [self._source(operator, i) for i in (0, 1)], T=_FLOAT)
        return self._activated(added, operator, options)

    def _op_softmax(self, operator: Any, options: Any) -> str:
        if options.beta != 1:
            raise ModelError(f"{self._at}: expected beta 1, found {options.beta}")
        return self._node("Softmax", [self._source(operator)], T=_FLOAT)

    def _op_reshape(self, operator: Any, options: Any) -> str:
        shape = np.array(self._tensors[operator.outputs[0]].shape, np.int32)
        return self._node("Reshape", [self._source(operator), self._constant(shape)], T=_FLOAT)

    _op_squeeze = _op_reshape

    def _op_quantize(self, operator: Any, options: Any) -> str:
        return self._source(operator)  # the real values stay the same

    _op_dequantize = _op_quantize

    def _fused(
        self,
        kind: str,
        operator: Any,
        options: Any,
        source: str,
        weights: NDArray[Any],
        **attributes: Any,
    ) -> str:
        """Add a node with weights (output channels last), bias and activation.

        TF.js takes the activation as one more fused operator.
        """
        number = operator.inputs[2] if len(operator.inputs) > 2 else -1
        channels = self._tensors[operator.outputs[0]].shape[-1]
        bias = self._values(number) if number >= 0 else np.zeros(channels, np.float32)
        activation = self._activation(operator, options)
        fused = [_encode(name) for name in filter(None, ("BiasAdd", activation))]
        attributes |= {"T": _FLOAT, "num_args": {"i": "1"}, "fused_ops": {"list": {"s": fused}}}
        sources = [source, self._constant(weights), self._constant(bias)]
        return self._node(kind, sources, **attributes)

    def _activation(self, operator: Any, options: Any) -> str:
        """Return the operator's activation; a quantized output without negatives implies a ReLU."""
        activation = options.fusedActivationFunction
        if activation not in _ACTIVATIONS:
            raise ModelError(f"{self._at}: expected no activation, ReLU or ReLU6")
        sink = self._tensors[operator.outputs[0]]
        if not activation and (dtype := DTYPES[sink.type]) in ("int8", "uint8"):
            return "Relu" if sink.quantization.zeroPoint[0] == np.iinfo(dtype).min else ""
        return _ACTIVATIONS[activation]

    def _activated(self, name: str, operator: Any, options: Any) -> str:
        """Add the activation of an operator that is not fused."""
        activation = self._activation(operator, options)
        return self._node(activation, [name], T=_FLOAT) if activation else name

    def _window(self, options: Any, **sizes: Sequence[int]) -> dict[str, Any]:
        """Return the attributes of an operator that moves a window over a picture."""
        lists = {name: {"list": {"i": list(map(str, size))}} for name, size in sizes.items()}
        padding = {"s": _encode(_PADDINGS[options.padding])}
        return {**lists, "padding": padding, "data_format": {"s": _encode("NHWC")}}

    def _source(self, operator: Any, place: int = 0) -> str:
        """Return the node that computes an input, which may be a constant."""
        number = operator.inputs[place]
        if number not in self._names:
            self._names[number] = self._constant(self._values(number))
        return self._names[number]

    def _values(self, number: int) -> NDArray[Any]:
        """Return a constant, dequantized to float32, or its integers if it has no scale."""
        tensor = self._tensors[number]
        dtype, data = DTYPES.get(tensor.type, ""), self._model.buffers[tensor.buffer].data
        name = (tensor.name or b"").decode(errors="replace")
        if dtype not in _DTYPES or data is None or tensor.sparsity:
            expected = f"{self._at}: expected a dense constant of {', '.join(_DTYPES)}"
            raise ModelError(f"{expected}, found {name}, {dtype or f'type {tensor.type}'}")
        values: NDArray[Any] = np.frombuffer(bytes(data), _DTYPES[dtype]).reshape(tensor.shape)
        quantization = tensor.quantization
        if quantization is None or quantization.scale is None:
            return values
        count = len(quantization.scale)
        along = [1] * values.ndim  # one scale, or one per channel of this dimension
        along[quantization.quantizedDimension if count > 1 else 0] = -1
        zero_points = np.zeros(count) if quantization.zeroPoint is None else quantization.zeroPoint
        centred = values - np.reshape(zero_points, along).astype(np.float64)
        scaled: NDArray[Any] = centred * np.reshape(quantization.scale, along)
        return scaled.astype(np.float32)

    def _constant(self, values: NDArray[Any]) -> str:
        dtype = "int32" if values.dtype.kind == "i" else "float32"
        kind = {"type": "DT_INT32" if dtype == "int32" else "DT_FLOAT"}
        name = self._node("Const", [], dtype=kind)
        self._weights.append({"name": name, "shape": list(values.shape), "dtype": dtype})
        self._content += np.ascontiguousarray(values, _DTYPES[dtype]).tobytes()
        return name

    def _node(self, kind: str, sources: list[str], **attributes: Any) -> str:
        name = f"n{len(self._nodes)}"
        self._nodes.append({"name": name, "op": kind, "input": sources, "attr": attributes})
        return name
