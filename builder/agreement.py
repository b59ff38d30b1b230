"""Does a converted model still say what the original says? Both run, on the same pictures."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from action.classifier import Classifier
from action.picture import decode
from builder.errors import ModelError
from builder.requantize import HINT
from client.quiet import silenced

PROBABILITY = 0.02
"""How far the likeliest class's probability may move where the model is sure."""
LOGIT = 0.3
"""How far its logit may, too: an unsure model's probabilities p move by p * (1 - p) times that.

TFLite's own kernels for one uint8 MobileNet v1 are up to 0.2 apart on the pictures tried here.
"""
STEPS = 1.5
"""How far the outputs may move on average, in steps of the output's scale."""


@dataclass(frozen=True)
class Agreement:
    """How far two models are apart.

    Attributes:
        pictures: how many were tried.
        probability: largest difference of the likeliest class's probability.
        steps: largest mean absolute difference of the outputs, in steps of the output's scale.
    """

    pictures: int
    probability: float
    steps: float


def check(
    original: Path, converted: Path, settings: dict[str, Any], step: float, sample: Path
) -> Agreement:
    """Run both models on a sample picture and on generated ones, and compare.

    The likeliest class has to be the same, and its probability p within
    `PROBABILITY` + `LOGIT` * p * (1 - p). Another class is taken for the same where either model
    has both within that: noise is no class in particular.

    Args:
        original: a .tflite file.
        converted: another.
        settings: what `action/classifier.py` reads as `model.json`, of both.
        step: the scale of the output.
        sample: a picture that is a typical input.

    Raises:
        ModelError: they disagree, or one does not run; says on which picture and by how much.
    """
    with silenced():  # XNNPACK announces itself, whatever the log level
        models = [_load("original", original, settings), _load("int8", converted, settings)]
    one = models[0]
    pixels = decode(sample.read_bytes(), one.width, one.height, one.channels, one.crop).pixels
    pictures = {sample.name: pixels, **_generated(one.height, one.width, one.channels)}
    probability = steps = 0.0
    for name, picture in pictures.items():
        outputs = [model.output(picture) for model in models]
        first, second = (
            np.array(model.probabilities(output, list(range(output.size))))
            for model, output in zip(models, outputs, strict=True)
        )
        ours, theirs = int(first.argmax()), int(second.argmax())
        tolerance = PROBABILITY + LOGIT * float(first[ours] * (1 - first[ours]))
        lead = min(first[ours] - first[theirs], second[theirs] - second[ours])
        moved = float(abs(first[ours] - second[ours]))
        apart = _steps(outputs[0], outputs[1], step)
        if max(lead, moved) > tolerance or apart > STEPS:
            raise ModelError(
                f"{converted.name}: the int8 model disagrees on the picture {name}: expected class "
                f"{ours} with probability {first[ours]:.3f} +- {tolerance:.3f} and outputs within "
                f"{STEPS} steps on average, found class {theirs} with {second[theirs]:.3f} (class "
                f"{ours}: {second[ours]:.3f}) and {apart:.2f} steps",
                HINT,
            )
        probability, steps = max(probability, moved), max(steps, apart)
    return Agreement(len(pictures), probability, steps)


def likeliest(path: Path, settings: dict[str, Any], picture: bytes) -> int:
    """Index of the class that a model sees first in a picture, by TFLite as the index has it.

    Args:
        path: a .tflite file.
        settings: what `action/classifier.py` reads as `model.json`.
        picture: a file.

    Raises:
        ModelError: the model does not run.
    """
    with silenced():
        model = _load("given", path, settings)
        pixels = decode(picture, model.width, model.height, model.channels, model.crop).pixels
        return int(model.output(pixels).argmax())


def _steps(one: NDArray[Any], other: NDArray[Any], step: float) -> float:
    """Mean absolute difference of two outputs; int8 is stored 128 below uint8."""
    if one.dtype == np.float32:
        return float(abs(one - other).mean()) / step
    shift = 128 if one.dtype != other.dtype else 0
    return float(abs(one.astype(int) - other.astype(int) - shift).mean())


def _load(which: str, path: Path, settings: dict[str, Any]) -> Classifier:
    files = {
        "model/model.json": json.dumps({**settings, "file": path.name}).encode(),
        f"model/{path.name}": path.read_bytes(),
    }
    try:
        model = Classifier(files.__getitem__)
        model.output(np.zeros((model.height, model.width, model.channels), np.uint8))
        return model
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{path.name}: the {which} model does not run: {error}", HINT) from error


def _generated(height: int, width: int, channels: int) -> dict[str, NDArray[np.uint8]]:
    """Eight pictures, always the same: colours in blocks and as gradients, coarse to noisy."""
    random = np.random.default_rng(2018)
    made = {}
    for cells in (2, 5, 13, 34):
        colours = random.integers(0, 256, (cells, cells, channels), np.uint8)
        small = Image.fromarray(colours if channels == 3 else colours[..., 0])
        for kind, way in (
            ("blocks", Image.Resampling.NEAREST),
            ("gradients", Image.Resampling.BICUBIC),
        ):
            pixels = np.asarray(small.resize((width, height), way))
            made[f"{cells} x {cells} {kind}"] = pixels.reshape(height, width, channels)
    return made
