"""The action that runs inferences: the model alone in an interpreter, on one thread.

The environment variable MODEL names a .tflite or an .onnx, PACKAGES a folder with tflite_runtime,
ai_edge_litert or onnxruntime, and numpy. Each activation runs one inference on the same picture and
answers with its milliseconds.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.environ["PACKAGES"])

import numpy as np


def make_picture(shape: Any, dtype: Any) -> Any:
    """Return the same bytes for every model, in its input type."""
    values = (np.arange(np.prod(shape)) * 7919 % 256).reshape(shape)
    return values.astype(dtype)


def load_tflite(path: str) -> Callable[[], object]:
    """Load a model in TensorFlow Lite or LiteRT; return a function that runs one inference."""
    try:
        from tflite_runtime.interpreter import Interpreter
    except ModuleNotFoundError:
        from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    interpreter.set_tensor(source["index"], make_picture(source["shape"], source["dtype"]))
    invoke: Callable[[], object] = interpreter.invoke
    return invoke


def load_onnx(path: str) -> Callable[[], object]:
    """Load a model in ONNX Runtime; return a function that runs one inference."""
    import onnxruntime  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    source = session.get_inputs()[0]
    dtype = np.dtype(source.type.removeprefix("tensor(").removesuffix(")"))
    feed = {source.name: make_picture(source.shape, dtype)}
    return lambda: session.run(None, feed)


model = os.environ["MODEL"]
infer = (load_onnx if model.endswith(".onnx") else load_tflite)(model)
for _ in range(3):
    infer()
with os.fdopen(3, "w") as answers:
    print(json.dumps({"ok": True}), file=answers, flush=True)
    for _line in sys.stdin:
        began = time.perf_counter()
        infer()
        print(json.dumps({"ms": (time.perf_counter() - began) * 1000}), file=answers, flush=True)
