"""What people would write by hand: plain TFLite, numpy and Pillow, one picture a time."""

import base64
import io
import json
import os

import numpy as np
from PIL import Image

try:
    from tflite_runtime.interpreter import Interpreter
except ModuleNotFoundError:
    from ai_edge_litert.interpreter import Interpreter

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "model.json"), encoding="utf-8") as file:
    settings = json.load(file)
interpreter = Interpreter(os.path.join(HERE, "model.tflite"), num_threads=1)
interpreter.allocate_tensors()
source = interpreter.get_input_details()[0]
sink = interpreter.get_output_details()[0]
height, width = map(int, source["shape"][1:3])

# What each pixel value is in the quantized input, for red, green and blue.
mean, std = np.array(settings["mean"]), np.array(settings["std"])
scale, zero_point = source["quantization"]
limits = np.iinfo(source["dtype"])
values = np.rint((np.arange(256)[:, np.newaxis] - mean) / std / scale + zero_point)
table = np.clip(values, limits.min, limits.max).astype(source["dtype"]).view(np.uint8)
table = np.broadcast_to(table, (256, 3)).T.ravel().tolist()


def main(params: dict[str, str]) -> dict[str, object]:
    """Classify params["image"], base64 of a picture."""
    data = base64.b64decode(params["image"])
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((width, height)).point(table)
    interpreter.set_tensor(source["index"], np.asarray(image)[np.newaxis].view(source["dtype"]))
    interpreter.invoke()
    scale, zero_point = sink["quantization"]
    scores = (interpreter.get_tensor(sink["index"])[0].astype(np.float32) - zero_point) * scale
    best = scores.argsort()[::-1][:3]
    return {
        "results": [
            {
                "className": settings["labels"][i],
                "probability": float(scores[i]),
                "classIndex": int(i),
            }
            for i in best
        ]
    }
