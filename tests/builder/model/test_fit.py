"""A picture gets the model's size as the option says, the catalogue, or the classes."""

from __future__ import annotations

from typing import Any

import pytest

from builder.model.fit import Fit, decide_fit
from builder.model.labels import IMAGENET

NAMES = ("red", "green", "blue")
IMAGENETS = ("tench, Tinca tinca", *("other",) * (IMAGENET - 1))


@pytest.mark.parametrize(
    ("mode", "crop", "entry", "names", "expected", "source"),
    [
        ("", None, {}, NAMES, Fit("squash"), "default"),
        ("", None, {}, IMAGENETS, Fit("crop", 0.875), "default"),
        ("", None, {}, ("background", *IMAGENETS), Fit("crop", 0.875), "default"),
        ("", None, {}, ("eagle",) * IMAGENET, Fit("squash"), "default"),
        ("", None, {"crop": 0.9}, IMAGENETS, Fit("crop", 0.9), "catalogue"),
        ("pad", None, {"crop": 0.9}, IMAGENETS, Fit("pad"), "option"),
        ("squash", None, {}, IMAGENETS, Fit("squash"), "option"),
        ("crop", None, {}, NAMES, Fit("crop", 0.875), "option"),
        ("crop", 1.0, {}, NAMES, Fit("crop", 1.0), "option"),
        ("", 0.5, {}, NAMES, Fit("crop", 0.5), "option"),
    ],
)
def test_fit_follows_option_catalogue_and_classes(
    mode: str,
    crop: float | None,
    entry: dict[str, Any],
    names: tuple[str, ...],
    expected: Fit,
    source: str,
) -> None:
    found = decide_fit(mode, crop, entry, names)
    assert (found.value, found.source) == (expected, source)
