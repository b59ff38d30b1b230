"""Compare a model's int8 conversion with the original: do both answer the same?"""

from dataclasses import dataclass
from pathlib import Path

from builder.base.errors import ModelError
from builder.model.int8 import HINT
from builder.model.run import ModelOutputs, generate_patterns, run_model
from builder.model.settings import ModelSettings

# How far the likeliest class's probability may move where the model is sure.
PROBABILITY = 0.02
# How far its logit may move, too: where a model is unsure, a probability p moves by p * (1 - p)
# times that. TFLite's own kernels for one uint8 MobileNet v1 differ by up to 0.2 on these pictures.
LOGIT = 0.3
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


def check_agreement(
    original: Path, converted: Path, settings: ModelSettings, output_scale: float, sample: Path
) -> Agreement:
    """Run the original and its int8 conversion on the same pictures, and compare.

    The likeliest class has to be the same, and its probability p within
    `PROBABILITY` + `LOGIT` * p * (1 - p). Another class counts as the same where either model has
    both within that tolerance: noise is no class in particular.

    Args:
        original: a .tflite file.
        converted: its conversion to int8.
        settings: of both models.
        output_scale: of the original's output; 0 if it is not quantized.
        sample: a picture that is a typical input.

    Raises:
        ModelError: they disagree, or one does not run; says on which picture and by how much.
    """
    before = _run("original", original, settings, sample)
    after = _run("int8", converted, settings, sample)
    step = output_scale or 1 / 256
    probability = steps = 0.0
    for number, picture in enumerate(before.pictures):
        first, second = before.scores[number], after.scores[number]
        best, other_best = int(first.argmax()), int(second.argmax())
        tolerance = PROBABILITY + LOGIT * float(first[best] * (1 - first[best]))
        lead = min(first[best] - first[other_best], second[other_best] - second[best])
        moved = float(abs(first[best] - second[best]))
        distance = float(abs(before.values[number] - after.values[number]).mean()) / step
        if max(lead, moved) > tolerance or distance > STEPS:
            raise ModelError(
                f"{converted.name}: the int8 model disagrees on the picture {picture}: expected "
                f"class {best} with probability {first[best]:.3f} +- {tolerance:.3f} and outputs "
                f"within {STEPS} steps on average, found class {other_best} with "
                f"{second[other_best]:.3f} (class {best}: {second[best]:.3f}) and "
                f"{distance:.2f} steps",
                HINT,
            )
        probability, steps = max(probability, moved), max(steps, distance)
    return Agreement(len(before.pictures), probability, steps)


def _run(which: str, path: Path, settings: ModelSettings, sample: Path) -> ModelOutputs:
    try:
        return run_model(path, settings, sample, generate_patterns(*settings.size))
    except ModelError as error:
        raise ModelError(f"the {which} model does not run: {error}", HINT) from error
