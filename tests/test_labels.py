"""Label files, and how they fit a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ModelError
from builder.model import fit_labels, parse_labels
from builder.paths import MODELS


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\nhot dog\n",
        "\ufeffcat\r\ndog\r\nhot dog".removeprefix("\ufeff"),
        "0 cat\n1 dog\n2 hot dog\n",
        "1 cat\n2 dog\n3 hot dog\n",
        "0: cat\n1: dog\n2: hot dog\n",
        "0,cat\n1,dog\n2,hot dog\n\n",
        "2 hot dog\n0 cat\n1 dog\n",
    ],
)
def test_forms(text: str) -> None:
    assert parse_labels(text) == [("", "cat"), ("", "dog"), ("", "hot dog")]


def test_numbers_that_are_names_stay() -> None:
    assert parse_labels("7 up\n3 musketeers\n") == [("", "7 up"), ("", "3 musketeers")]


def test_wordnet_ids() -> None:
    text = "background\nn01440764 tench, Tinca tinca\n"
    assert parse_labels(text) == [("", "background"), ("n01440764", "tench, Tinca tinca")]


@given(st.lists(st.text(st.characters(categories=["L"]), min_size=1), min_size=1, max_size=20))
def test_numbering_makes_no_difference(names: list[str]) -> None:
    numbered = "\n".join(f"{number} {name}" for number, name in enumerate(names))
    assert parse_labels(numbered) == [("", name) for name in names]


def test_imagenet_in_the_long_form() -> None:
    labels = parse_labels((MODELS / "labels.txt").read_text("utf-8"))
    assert len(labels) == 1000
    assert labels[388] == (
        "n02510455",
        "giant panda, panda, panda bear, coon bear, Ailuropoda melanoleuca",
    )
    assert [wordnet_id for wordnet_id, _ in labels] == sorted({w for w, _ in labels})


def test_background_comes_and_goes() -> None:
    three = [("", "a"), ("", "b"), ("", "c")]
    assert fit_labels(three, 3, "x")[0] == ["a", "b", "c"]
    assert fit_labels(three, 4, "x")[0] == ["background", "a", "b", "c"]
    assert fit_labels([("", "background"), *three], 3, "x")[0] == ["a", "b", "c"]


@pytest.mark.parametrize("count", [1, 5, 6, 9])
def test_a_wrong_count_names_both_numbers(count: int) -> None:
    with pytest.raises(ModelError, match=rf"expected 8 names .* or 7 .*found {count} in some.txt"):
        fit_labels([("", "x")] * count, 8, "some.txt")
