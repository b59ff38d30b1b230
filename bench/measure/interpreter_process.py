"""One interpreter in a process of its own: loads a model, answers each line with a time.

`python -I -S process.py MODEL PACKAGES...`: for each line on standard input, one inference of the
same picture in one thread; prints its milliseconds. The first line of output names the interpreter.
MODEL is a .tflite or an .onnx; PACKAGES are folders with tflite_runtime, ai_edge_litert or
onnxruntime, and numpy, in the order of the path.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

sys.path = [*sys.argv[2:], *sys.path]

import numpy as np  # noqa: E402 (the path has to be there first)


def picture(shape: Any, dtype: Any) -> Any:
    """The same bytes for every network, as its input type has them."""
    values = (np.arange(np.prod(shape)) * 7919 % 256).reshape(shape)
    return values.astype(dtype)


def tflite(path: str) -> tuple[str, Callable[[], object]]:
    """TensorFlow Lite or LiteRT: its module's name, and a function that runs one inference."""
    try:
        from tflite_runtime import interpreter as module
    except ModuleNotFoundError:
        from ai_edge_litert import interpreter as module
    interpreter = module.Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    interpreter.set_tensor(source["index"], picture(source["shape"], source["dtype"]))
    return module.__name__.partition(".")[0], interpreter.invoke


def onnx(path: str) -> tuple[str, Callable[[], object]]:
    """The same of ONNX Runtime."""
    import onnxruntime  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    source = session.get_inputs()[0]
    dtype = np.dtype(source.type.removeprefix("tensor(").removesuffix(")"))
    feed = {source.name: picture(source.shape, dtype)}
    return "onnxruntime", lambda: session.run(None, feed)


name, infer = (onnx if sys.argv[1].endswith(".onnx") else tflite)(sys.argv[1])
for _ in range(3):
    infer()
print(name, flush=True)
for _line in sys.stdin:
    began = time.perf_counter()
    infer()
    print((time.perf_counter() - began) * 1000, flush=True)
