"""A hand-written action for the pip zips: numpy, Pillow and an interpreter, one picture at a time.

It runs on the interpreter that its zip has: tflite-runtime, ai-edge-litert or ONNX Runtime.
"""

import base64
import io
import json
import os

import numpy as np
from interpreters import load_model  # type: ignore[import-not-found]
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "model.json"), encoding="utf-8") as file:
    settings = json.load(file)
infer, shape, dtype = load_model(os.path.join(HERE, settings["model"]))
height, width = map(int, shape[1:3])

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
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((width, height)).point(table)
    output = infer(np.asarray(image)[np.newaxis].view(dtype))
    scale, zero_point = settings["output"]
    scores = (output[0].astype(np.float32) - zero_point) * scale
    best = scores.argsort()[::-1][:3]
    names = settings["labels"]
    return {
        "results": [
            {"className": names[i], "probability": float(scores[i]), "classIndex": int(i)}
            for i in best
        ]
    }
