"""Compare the answers of one model in two forms or interpreters.

Its int8 conversion has to answer as the original does, and the interpreter in the zip as the one
that decided about the model.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from builder.base.errors import ModelError
from builder.model.int8 import HINT
from builder.model.resolve import Model
from builder.model.run import generate_patterns, run_model
from builder.model.tflite import TFLiteModel

# How far the likeliest class's probability may move where the model is sure.
PROBABILITY = 0.02
# How far its logit may move, too: where a model is unsure, a probability p moves by p * (1 - p)
# times that. TFLite's own kernels for one uint8 MobileNet v1 differ by up to 0.2 on these pictures.
LOGIT = 0.3
# Two interpreters may differ by so many times these: integer kernels round in other places, by
# whole steps; those of floats with integer weights round their inputs; those of floats hardly
# differ.
_INTEGERS, _HYBRID, _FLOATS = 2.0, 1.0, 0.5
# How far the outputs may move on average, in steps of the output's scale.
STEPS = 1.5


@dataclass(frozen=True)
class Agreement:
    """How much two models differ.

    Attributes:
        pictures: how many were compared.
        probability: largest difference of the likeliest class's probability.
        steps: largest mean absolute difference of the outputs, in steps of the output's scale.
    """

    pictures: int
    probability: float
    steps: float


def check_agreement(original: Model, converted: Path, sample: Path) -> Agreement:
    """Run a model and its int8 conversion on the same pictures, and compare.

    The likeliest class has to be the same, and its probability p within
    `PROBABILITY` + `LOGIT` * p * (1 - p). Another class counts as the same where either model has
    both within that tolerance: noise is no class in particular.

    Raises:
        ModelError: they disagree, or one does not run; says on which picture and by how much.
    """
    patterns = generate_patterns(*original.settings.size)
    [before] = run_model(original.path, [original.settings], [sample], patterns)
    try:
        [after] = run_model(converted, [original.settings], [sample], patterns)
    except ModelError as error:
        raise ModelError(f"the int8 model does not run: {error}", HINT) from error
    step = original.tflite.outputs[0].scale or 1 / 256
    probability = steps = 0.0
    for number, picture in enumerate(before.pictures):
        first, second = before.scores[number], after.scores[number]
        moved, problem = _compare_scores(first, second, 1)
        distance = float(abs(before.values[number] - after.values[number]).mean()) / step
        if problem or distance > STEPS:
            problem = problem or f"expected outputs within {STEPS} steps, found {distance:.2f}"
            raise ModelError(
                f"{converted.name}: the int8 model disagrees on the picture {picture}: {problem}",
                HINT,
            )
        probability, steps = max(probability, moved), max(steps, distance)
    return Agreement(len(before.pictures), probability, steps)


@dataclass(frozen=True)
class Trial:
    """Pictures, and what a model answers for them in the tool's own interpreter.

    Attributes:
        pictures: PNG files by name.
        scores: of each picture, float64 of shape (pictures, classes).
        factor: how far another interpreter may be from these, in tolerances of a conversion.
    """

    pictures: dict[str, bytes]
    scores: NDArray[np.float64]
    factor: float = _FLOATS


def run_trial(model: Model) -> Trial:
    """Run a model on several pictures in the tool's own interpreter."""
    height, width, channels = model.settings.size
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        files = []
        for name, pixels in generate_patterns(height, width, channels).items():
            files.append(Path(folder, f"{name}.png"))
            Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(files[-1])
        [outputs] = run_model(model.path, [model.settings], files, {})
        pictures = {file.stem: file.read_bytes() for file in files}
        return Trial(pictures, outputs.scores, _choose_factor(model.tflite))


def _choose_factor(model: TFLiteModel) -> float:
    """Return how far interpreters may differ, by the types that a model computes with."""
    if any(tensor.scale for operator in model.operators for tensor in operator.outputs):
        return _INTEGERS
    inputs = [tensor for operator in model.operators for tensor in operator.inputs if tensor]
    return _HYBRID if any(tensor.scale_count for tensor in inputs) else _FLOATS


def compare_results(
    results: list[dict[str, Any]], expected: NDArray[np.float64], factor: float
) -> float:
    """Return how far an answer is from a trial's scores; raise ModelError if it is too far."""
    scores = np.zeros(len(expected))
    for each in results:
        scores[each["classIndex"]] = each["probability"]
    moved, problem = _compare_scores(expected, scores, factor)
    if problem:
        raise ModelError(problem)
    return moved


def _compare_scores(
    first: NDArray[np.float64], second: NDArray[np.float64], factor: float
) -> tuple[float, str]:
    """Return how far the likeliest class's probability moved, and why that is too far, if it is."""
    best, other_best = int(first.argmax()), int(second.argmax())
    tolerance = factor * (PROBABILITY + LOGIT * float(first[best] * (1 - first[best])))
    lead = min(first[best] - first[other_best], second[other_best] - second[best])
    moved = float(abs(first[best] - second[best]))
    if max(lead, moved) <= tolerance:
        return moved, ""
    return moved, (
        f"expected class {best} with probability {first[best]:.3f} +- {tolerance:.3f}, found class "
        f"{other_best} with {second[other_best]:.3f} (class {best}: {second[best]:.3f})"
    )
