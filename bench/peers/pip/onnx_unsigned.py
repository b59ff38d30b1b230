"""Make tensors of an ONNX network unsigned: `onnx_unsigned.py SOURCE TARGET [weights]`.

SOURCE is of int8 tensors, as tf2onnx writes them. The activations become uint8: values and zero
points are 128 more, which changes no result. With `weights`, those of convolutions do, too. ONNX
Runtime has other kernels for each of these pairs. It runs in the environment that has tf2onnx.
"""

import sys

import numpy as np
import onnx  # type: ignore[import-not-found]
from onnx import TensorProto, numpy_helper

network = onnx.load(sys.argv[1])
graph = network.graph
constants = {each.name: each for each in graph.initializer}


def unsigned(name: str) -> str:
    """The name of a constant's uint8 twin, which is made if it is not there."""
    twin = f"{name}_unsigned"
    if twin not in constants:
        values = numpy_helper.to_array(constants[name]).astype(np.int16) + 128
        constants[twin] = numpy_helper.from_array(values.astype(np.uint8), twin)
        graph.initializer.append(constants[twin])
    return twin


for node in graph.node:
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        continue
    if constants[node.input[2]].data_type != TensorProto.INT8:  # a bias, in int32
        continue
    if node.input[0] in constants:
        if "weights" not in sys.argv[3:]:
            continue
        node.input[0] = unsigned(node.input[0])
    node.input[2] = unsigned(node.input[2])
used = {name for node in graph.node for name in node.input}
kept = [constant for constant in graph.initializer if constant.name in used]
del graph.initializer[:]
graph.initializer.extend(kept)
for tensor in (*graph.input, *graph.output, *graph.value_info):
    if tensor.type.tensor_type.elem_type == TensorProto.INT8:
        tensor.type.tensor_type.elem_type = TensorProto.UINT8
onnx.checker.check_model(network)
onnx.save(network, sys.argv[2])
