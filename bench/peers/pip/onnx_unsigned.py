"""Make the activations of an ONNX model unsigned: `onnx_unsigned.py SOURCE DESTINATION`.

SOURCE has int8 tensors, as tf2onnx writes them. Values and zero points of activations become 128
more, which changes no result; ONNX Runtime has faster kernels for uint8 activations with int8
weights. It runs in the environment that has tf2onnx.
"""

import sys

import numpy as np
import onnx  # type: ignore[import-not-found]
from onnx import TensorProto, numpy_helper

network = onnx.load(sys.argv[1])
graph = network.graph
constants = {each.name: each for each in graph.initializer}


def unsigned_constant(name: str) -> str:
    """Return the name of a constant's uint8 copy; add the copy if it is missing."""
    if constants[name].data_type == TensorProto.UINT8:  # of an input or output
        return name
    copy = f"{name}_unsigned"
    if copy not in constants:
        values = numpy_helper.to_array(constants[name]).astype(np.int16) + 128
        constants[copy] = numpy_helper.from_array(values.astype(np.uint8), copy)
        graph.initializer.append(constants[copy])
    return copy


for node in graph.node:
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        continue
    if node.input[0] in constants:  # weights and biases stay as they are
        continue
    node.input[2] = unsigned_constant(node.input[2])
used = {name for node in graph.node for name in node.input}
kept = [constant for constant in graph.initializer if constant.name in used]
del graph.initializer[:]
graph.initializer.extend(kept)
for tensor in (*graph.input, *graph.output, *graph.value_info):
    if tensor.type.tensor_type.elem_type == TensorProto.INT8:
        tensor.type.tensor_type.elem_type = TensorProto.UINT8
onnx.checker.check_model(network)
onnx.save(network, sys.argv[2])
