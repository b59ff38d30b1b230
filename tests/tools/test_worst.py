"""The search for the pictures that cost most."""

from __future__ import annotations

import random

import pytest

from action.picture import decode, sniff_format
from action.request import ImageError
from tools import worst


@pytest.mark.parametrize("kind", list(worst._CHOICES))
def test_pictures_have_the_chosen_size(kind: str) -> None:
    choices = {**worst._SHAPE, **worst._CHOICES[kind]}
    chosen = {name: values[0] for name, values in choices.items()} | {"aspect": 2}
    content = worst.make_picture(kind, chosen)
    assert sniff_format(content) == kind
    try:
        assert decode(content, 8, 8, 3, 1.0).width == pytest.approx(1000, abs=1)
    except ImageError as error:
        assert kind == "BMP" and "damaged" in str(error)  # it has fewer runs than pixels


def test_search_finds_what_costs_most() -> None:
    measured = []

    def measure_one(content: bytes) -> tuple[float, float]:
        measured.append(len(content))
        return float(len(content)), -float(len(content))

    found = worst.search(measure_one, 1.0, random.Random(3))
    assert max(value for (_, unit), (value, _) in found.items() if unit == "s") == max(measured)
    for (kind, unit), (value, chosen) in found.items():
        if unit == "s":
            assert len(worst.make_picture(kind, chosen)) == value
