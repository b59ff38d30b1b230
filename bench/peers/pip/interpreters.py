"""Loads a model in the interpreter that a pip zip has, to run it on one thread or more."""

from collections.abc import Callable
from typing import Any

import numpy as np

# Takes the input tensor, returns the output tensor.
Infer = Callable[[Any], Any]


def load_onnx(path: str, threads: int) -> tuple[Infer, Any, Any]:
    """Load a model in ONNX Runtime; return its inference function, input shape and type."""
    import onnxruntime  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options)
    source = session.get_inputs()[0]
    dtype = np.dtype(source.type.removeprefix("tensor(").removesuffix(")"))
    return lambda pixels: session.run(None, {source.name: pixels})[0], source.shape, dtype


def load_tflite(path: str, threads: int) -> tuple[Infer, Any, Any]:
    """Load a model in TFLite or LiteRT; return its inference function, input shape and type."""
    try:
        from tflite_runtime.interpreter import Interpreter
    except ModuleNotFoundError:
        from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def infer(pixels: Any) -> Any:
        interpreter.set_tensor(source["index"], pixels)
        interpreter.invoke()
        return interpreter.get_tensor(sink["index"])

    return infer, source["shape"], np.dtype(source["dtype"])


def load_model(path: str, threads: int = 1) -> tuple[Infer, Any, Any]:
    """Load a .tflite or .onnx; return its inference function, input shape and type."""
    return (load_onnx if path.endswith(".onnx") else load_tflite)(path, threads)
