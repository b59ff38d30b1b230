"""A hand-written action for the pip zips: numpy, Pillow and an interpreter, one picture at a time.

It runs on the interpreter that its zip has: tflite-runtime, ai-edge-litert or ONNX Runtime.
"""

import base64
import io
import json
import os
from typing import Any

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "model.json"), encoding="utf-8") as file:
    settings = json.load(file)


def load_onnx(path: str) -> tuple[Any, Any]:
    """Load a model in ONNX Runtime; return its inference function and its input's type."""
    import onnxruntime  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    source = session.get_inputs()[0]
    dtype = np.dtype(source.type.removeprefix("tensor(").removesuffix(")"))
    return lambda pixels: session.run(None, {source.name: pixels})[0], dtype


def load_tflite(path: str) -> tuple[Any, Any]:
    """Load a model in TFLite; return its inference function and its input's type."""
    try:
        from tflite_runtime.interpreter import Interpreter
    except ModuleNotFoundError:
        from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def infer(pixels: Any) -> Any:
        interpreter.set_tensor(source["index"], pixels)
        interpreter.invoke()
        return interpreter.get_tensor(sink["index"])

    return infer, np.dtype(source["dtype"])


load = load_onnx if settings["model"].endswith(".onnx") else load_tflite
infer, dtype = load(os.path.join(HERE, settings["model"]))

# The quantized input for each pixel value, for red, green and blue.
mean, std = np.array(settings["mean"]), np.array(settings["std"])
scale, zero_point = settings["input"]
limits = np.iinfo(dtype)
values = np.rint((np.arange(256)[:, np.newaxis] - mean) / std / scale + zero_point)
table = np.clip(values, limits.min, limits.max).astype(dtype).view(np.uint8)
table = np.broadcast_to(table, (256, 3)).T.ravel().tolist()


def main(params: dict[str, str]) -> dict[str, object]:
    """Classify params["image"], base64 of a picture."""
    data = base64.b64decode(params["image"])
    image = Image.open(io.BytesIO(data)).convert("RGB").resize(settings["size"]).point(table)
    scale, zero_point = settings["output"]
    output = infer(np.asarray(image)[np.newaxis].view(dtype))
    scores = (output[0].astype(np.float32) - zero_point) * scale
    best = scores.argsort()[::-1][:3]
    names = settings["labels"]
    return {
        "results": [
            {"className": names[i], "probability": float(scores[i]), "classIndex": int(i)}
            for i in best
        ]
    }
