"""What people would write by hand: plain tflite-runtime, numpy and Pillow, one picture a time."""

import base64
import io
import os

import numpy as np
from PIL import Image
from tflite_runtime.interpreter import Interpreter

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "labels.txt"), encoding="utf-8") as file:
    labels = file.read().splitlines()
interpreter = Interpreter(os.path.join(HERE, "model.tflite"))
interpreter.allocate_tensors()
source = interpreter.get_input_details()[0]
sink = interpreter.get_output_details()[0]


def main(params: dict[str, str]) -> dict[str, object]:
    """Classify params["image"], base64 of a picture."""
    data = base64.b64decode(params["image"])
    height, width = source["shape"][1:3]
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((width, height))
    interpreter.set_tensor(source["index"], np.expand_dims(np.asarray(image), 0))
    interpreter.invoke()
    scale, zero_point = sink["quantization"]
    scores = (interpreter.get_tensor(sink["index"])[0].astype(np.float32) - zero_point) * scale
    best = scores.argsort()[::-1][:3]
    return {
        "results": [
            {"className": labels[i], "probability": float(scores[i]), "classIndex": int(i)}
            for i in best
        ]
    }
