"""Does a converted model still say what the original says? Both run, on the same pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.base.errors import ModelError
from builder.model import run
from builder.model.int8 import HINT
from builder.model.tflite import signature

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


def check(original: Path, converted: Path, settings: dict[str, Any], sample: Path) -> Agreement:
    """Run both models on a sample picture and on generated ones, and compare.

    The likeliest class has to be the same, and its probability p within
    `PROBABILITY` + `LOGIT` * p * (1 - p). Another class is taken for the same where either model
    has both within that: noise is no class in particular.

    Args:
        original: a .tflite file.
        converted: another.
        settings: what `action/classifier.py` reads as `model.json`, of both.
        sample: a picture that is a typical input.

    Raises:
        ModelError: they disagree, or one does not run; says on which picture and by how much.
    """
    one = _run("original", original, settings, sample)
    other = _run("int8", converted, settings, sample)
    step = signature(original).outputs[0].scale or 1 / 256
    probability = steps = 0.0
    for number, name in enumerate(one.pictures):
        first, second = one.scores[number], other.scores[number]
        ours, theirs = int(first.argmax()), int(second.argmax())
        tolerance = PROBABILITY + LOGIT * float(first[ours] * (1 - first[ours]))
        lead = min(first[ours] - first[theirs], second[theirs] - second[ours])
        moved = float(abs(first[ours] - second[ours]))
        apart = float(abs(one.real[number] - other.real[number]).mean()) / step
        if max(lead, moved) > tolerance or apart > STEPS:
            raise ModelError(
                f"{converted.name}: the int8 model disagrees on the picture {name}: expected class "
                f"{ours} with probability {first[ours]:.3f} +- {tolerance:.3f} and outputs within "
                f"{STEPS} steps on average, found class {theirs} with {second[theirs]:.3f} (class "
                f"{ours}: {second[ours]:.3f}) and {apart:.2f} steps",
                HINT,
            )
        probability, steps = max(probability, moved), max(steps, apart)
    return Agreement(len(one.pictures), probability, steps)


def _run(which: str, path: Path, settings: dict[str, Any], sample: Path) -> run.Outputs:
    try:
        return run.run(path, settings, sample, run.patterns(*settings["size"]))
    except ModelError as error:
        raise ModelError(f"the {which} model does not run: {error}", HINT) from error
