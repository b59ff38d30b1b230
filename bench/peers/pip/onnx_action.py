"""What people would write by hand: plain ONNX Runtime, numpy and Pillow, one picture a time."""

import base64
import io
import json
import os

import numpy as np
import onnxruntime  # type: ignore[import-not-found]
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "model.json"), encoding="utf-8") as file:
    settings = json.load(file)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.path.join(HERE, "model.onnx"), options)
source = session.get_inputs()[0]
dtype = np.dtype(source.type.removeprefix("tensor(").removesuffix(")"))
height, width = source.shape[1:3]

# What each pixel value is in the quantized input, for red, green and blue.
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
    pixels = np.asarray(image)[np.newaxis].view(dtype)
    scale, zero_point = settings["output"]
    [output] = session.run(None, {source.name: pixels})
    scores = (output[0].astype(np.float32) - zero_point) * scale
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
