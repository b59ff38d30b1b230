"""Decide how a picture of any size becomes one of the model's size: cropped, squashed or padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from builder.model.decision import Evidence
from builder.model.labels import IMAGENET

# The part of a picture that ImageNet's evaluation keeps: 224 of 256 pixels.
DEFAULT_CROP = 0.875
# ImageNet's first class, in the usual label files and by its WordNet id.
_FIRST_CLASS = ("tench", "n01440764")


@dataclass(frozen=True)
class Fit:
    """How a picture becomes one of the model's size.

    Attributes:
        mode: "crop", "squash" or "pad", as for the function's `picture.decode`.
        crop: what is kept of the largest central part; 1 unless the mode is "crop".
    """

    mode: str
    crop: float = 1.0

    def __str__(self) -> str:
        if self.mode == "crop":
            part = "largest central part" if self.crop == 1 else f"central {100 * self.crop:.4g} %"
            return f"the {part}, in the model's aspect ratio"
        how = {"squash": "squashed to the model's size", "pad": "with black bars around it"}
        return f"the whole picture, {how[self.mode]}"


_IMAGENET_FIT = Fit("crop", DEFAULT_CROP)


def decide_fit(
    mode: str, crop: float | None, entry: dict[str, Any], names: Sequence[str]
) -> Evidence[Fit]:
    """Decide how a picture becomes one of the model's size.

    ImageNet has its own evaluation, and is known by the names or WordNet ids of its classes.
    """
    if mode in ("squash", "pad"):
        return Evidence(Fit(mode), "option", "--fit")
    if crop is not None:
        return Evidence(Fit("crop", crop), "option", "--crop")
    if mode:
        return Evidence(_IMAGENET_FIT, "option", "--fit")
    if entry:
        return Evidence(Fit(entry.get("fit", "crop"), entry["crop"]), "catalogue", "the catalogue")
    is_imagenet = len(names) in (IMAGENET, IMAGENET + 1) and any(
        name.lower().startswith(_FIRST_CLASS) for name in names
    )
    if is_imagenet:
        return Evidence(_IMAGENET_FIT, "default", "as ImageNet's classes are evaluated")
    return Evidence(Fit("squash"), "default", "the default; else --fit crop or --fit pad")
