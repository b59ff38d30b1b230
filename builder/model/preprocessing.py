"""Decide how a picture enters a model: its size, layout and colours, and how it is fitted to them.

The user's option decides, else what the file says, else a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from builder.base.errors import ModelError
from builder.model.evidence import Evidence
from builder.model.labels import IMAGENET
from builder.model.normalization import Normalization, decide_normalization
from builder.model.tflite import Tensor, TFLiteModel
from builder.model.vision_task import check_batch, find_picture_input, refuse_input

# Larger inputs do not fit in an action's memory.
_MAX_PIXELS = 1 << 22


@dataclass(frozen=True)
class Preprocessing:
    """How a picture enters a model.

    Attributes:
        source: the input tensor.
        size: height, width and channels of the picture, in pixels.
        layout: "nhwc", or "nchw" where the channels come first.
        channels: the order of colours, "rgb" or "bgr".
        normalization: of the pixels.
    """

    source: Tensor
    size: tuple[int, int, int]
    layout: str
    channels: str
    normalization: Evidence[Normalization]

    @property
    def card(self) -> str:
        """Return all decisions in a line, with the reasons."""
        height, width, depth = self.size
        place = {"nhwc": "channels last", "nchw": "channels first"}[self.layout]
        colours = f"{self.channels.upper()}, {place}" if depth == 3 else "grey"
        return (
            f"{width} x {height} {colours}, {self.source.dtype}; pixels enter as "
            f"{self.normalization.value} ({self.normalization.explanation})"
        )


def decide_preprocessing(
    model: TFLiteModel,
    *,
    normalization: Normalization | None = None,
    known: Normalization | None = None,
    channels: str = "",
) -> Preprocessing:
    """Decide how a picture enters.

    The user's options are empty or None if not given; `known` is the catalogue's normalization.

    Raises:
        ModelError: the input is not a picture, or something is unclear; says what was found and
            which option settles it.
    """
    source = find_picture_input(model)
    layout, size = _read_layout(model, source)
    height, width, depth = size
    if height * width > _MAX_PIXELS:
        raise ModelError(
            f"{model.name}: expected a picture of at most {_MAX_PIXELS:,} pixels, found {width} x "
            f"{height}: {source}",
            "a function has 512 MB of memory at most; convert the model with a smaller input",
        )
    if channels and depth == 1:
        raise ModelError(f"--channels {channels}: expected a model of colours, found {source}")
    decided = decide_normalization(model, source, depth, normalization, known, channels)
    return Preprocessing(source, size, layout, channels or "rgb", decided)


# Size and layout


def _read_layout(model: TFLiteModel, source: Tensor) -> tuple[str, tuple[int, int, int]]:
    """Return the layout, and the picture's height, width and channels."""
    first, second, third = _picture_sizes(model, source)
    readings = {"nhwc": (first, second, third), "nchw": (second, third, first)}
    fitting = {layout: size for layout, size in readings.items() if size[2] in (1, 3)}
    if all(min(height, width) == 1 for height, width, _ in fitting.values()):
        refuse_input(model, source)
    if len(fitting) > 1:
        raise ModelError(
            f"{model.name}: the input {source} may be read as height, width, channels or as "
            "channels, height, width",
            "convert the model with another size",
        )
    [(layout, size)] = fitting.items()
    return layout, size


def _picture_sizes(model: TFLiteModel, source: Tensor) -> tuple[int, ...]:
    """Return the three sizes of one picture, without the batch."""
    shape = source.shape
    batch, sizes = (shape[0], shape[1:]) if len(shape) == 4 else (1, shape)
    if len(shape) == 3 and shape[0] in (1, -1) and shape[2] not in (1, 3):
        sizes = shape[1:]  # [1, 28, 28]: a grey picture, whether the 1 is its batch or its channel
    check_batch(model, source, batch)
    if len(sizes) not in (2, 3) or (len(shape) == 2 and shape[0] in (1, -1)):
        refuse_input(model, source)
    if any(size < 1 for size in sizes):
        raise ModelError(
            f"{model.name}: expected an input of a fixed size, found {list(shape)} (-1 is free)",
            "convert the model with a fixed height and width, such as [1, 224, 224, 3]",
        )
    return sizes if len(sizes) == 3 else (*sizes, 1)


# Fit: a picture of any size becomes one of the model's size

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


def decide_fit(wanted: Fit | None, entry: dict[str, Any], names: Sequence[str]) -> Evidence[Fit]:
    """Decide how a picture becomes one of the model's size; `wanted` is that of the options.

    ImageNet has its own evaluation, and is known by the names or WordNet ids of its classes.
    """
    if wanted is not None:
        return Evidence(wanted, "option", "--fit, --crop")
    if entry:
        return Evidence(Fit(entry.get("fit", "crop"), entry["crop"]), "catalogue", "the catalogue")
    if len(names) in (IMAGENET, IMAGENET + 1) and any(
        name.lower().startswith(_FIRST_CLASS) for name in names
    ):
        return Evidence(Fit("crop", DEFAULT_CROP), "default", "as ImageNet's classes are evaluated")
    return Evidence(Fit("squash"), "default", "the default; else --fit crop or --fit pad")
