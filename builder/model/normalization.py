"""The range in which pixels enter a model, and the usual ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# How far the ends of a range may be from a usual one's, as a share of its width: a converter takes
# the range from the pictures it was shown, which need not reach both ends.
_TOLERANCE = 0.05
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Normalization:
    """A pixel p enters the network as (p - mean) / std; one number, or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def range(self) -> tuple[Floats, Floats]:
        """Return what 0 and 255 become, float64 of shape (1,) or (channels,)."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (0 - mean) / std, (255 - mean) / std

    def __str__(self) -> str:
        low, high = self.range()
        if len(low) == 1:
            return f"{low[0]:.4g}..{high[0]:.4g}"
        return ", ".join(f"{a:.3g}..{b:.3g}" for a, b in zip(low, high, strict=True))


BYTES = Normalization((0.0,), (1.0,))
PLUS_MINUS_ONE = Normalization((127.5,), (127.5,))
ZERO_TO_ONE = Normalization((0.0,), (255.0,))
# Means and standard deviations of ImageNet, and Caffe's means; for red, green, blue.
IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE = Normalization((123.68, 116.779, 103.939), (1.0,))
# Those that quantization and arithmetic tell.
_USUAL = (
    *(BYTES, PLUS_MINUS_ONE, ZERO_TO_ONE),
    *(Normalization((128.0,), (1.0,)), Normalization((127.5,), (255.0,)), IMAGENET),
)


def match_usual(low: Floats, high: Floats) -> Normalization | None:
    """Return the usual range that a range, of shape (1,) or (channels,), nearly is, or None."""
    for usual in _USUAL:
        starts, ends = usual.range()
        if len(low) == 1:
            starts, ends = starts.min(keepdims=True), ends.max(keepdims=True)
        distance = np.maximum(abs(low - starts), abs(high - ends))
        if (distance <= _TOLERANCE * (ends - starts).max()).all():
            return usual
    return None


def match_symmetric(high: float) -> Normalization | None:
    """Return the one usual range that reaches as far as a symmetric one, -high..high.

    Its lower end does not matter: as much below 0 can always be held. None if several fit.
    """
    fitting = [
        usual
        for usual in _USUAL
        if abs(high - max(abs(end).max() for end in usual.range())) <= _TOLERANCE * high
    ]
    return fitting[0] if len(fitting) == 1 else None
