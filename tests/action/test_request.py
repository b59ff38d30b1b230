"""Parameters of an activation: what is taken, what is refused, and in which words."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from action.request import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    ActionError,
    ImageError,
    RequestError,
    parse_request,
    read_image,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_defaults() -> None:
    request = parse_request({"image": "AAAA"}, 1001)
    assert request.images == ["AAAA"]
    assert not request.batch
    assert (request.options.top_k, request.options.threshold) == (3, 0.0)
    assert not request.options.details


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    """As JSON Schema has it: some clients have but one kind of number."""
    top_k = parse_request({"image": "AAAA", "topK": 5.0}, 10).options.top_k
    assert (top_k, type(top_k)) == (5, int)


def test_as_many_pictures_as_may_be() -> None:
    assert len(parse_request({"images": ["a"] * MAX_IMAGES}, 10).images) == MAX_IMAGES == 100


def test_default_top_k_of_a_model_with_two_classes() -> None:
    assert parse_request({"image": "AAAA"}, 2).options.top_k == 2


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ([], "expected a JSON object of parameters, found a list"),
        ({}, "found neither"),
        ({"image": "a", "images": ["a"]}, "found both"),
        ({"images": "a"}, "expected a list of one or more pictures, found a string"),
        ({"images": []}, "found an empty list"),
        ({"images": None}, "found null"),
        (
            {"images": ["a"] * 101},
            "images: expected at most 100 pictures, found 101; send them in several activations",
        ),
        ({"image": "a", "topK": 0}, "whole number from 1 to 10, found 0"),
        ({"image": "a", "topK": 11}, "whole number from 1 to 10, found 11"),
        ({"image": "a", "topK": 2.5}, "found 2.5"),
        ({"image": "a", "topK": True}, "found true"),
        ({"image": "a", "topK": "3"}, "found a string '3'"),
        ({"image": "a", "topK": None}, "found null"),
        ({"image": "a", "topK": 10**5000}, "too long to print"),
        ({"image": "a", "threshold": 1.5}, "a number from 0 to 1, found 1.5"),
        ({"image": "a", "threshold": -0.1}, "found -0.1"),
        ({"image": "a", "threshold": float("nan")}, "found nan"),
        ({"image": "a", "threshold": "0.5"}, "found a string '0.5'"),
        ({"image": "a", "threshold": False}, "found false"),
        ({"image": "a", "details": 1}, "true or false, found 1"),
        ({"image": "a", "details": "yes"}, "found a string 'yes'"),
        ({"image": "a", "topk": 3}, "unknown parameter 'topk': did you mean 'topK'?"),
        ({"image": "a", "top_k": 3}, "did you mean 'topK'?"),
        ({"Image": "a"}, "did you mean 'image'?"),
    ],
)
def test_refused_with_what_was_expected_and_found(params: Any, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(params, 10)
    assert said in str(caught.value)


def test_other_parameters_are_left_alone() -> None:
    parse_request({"image": "a", "__ow_method": "post", "apihost": "bound to the package"}, 10)


@given(JSON | st.dictionaries(st.sampled_from(["image", "images", "topK", "threshold"]), JSON))
def test_never_anything_but_an_action_error(params: Any) -> None:
    try:
        request = parse_request(params, 1001)
    except ActionError as error:
        assert len(str(error)) < 300
        return
    assert 1 <= request.options.top_k <= 1001
    assert 0 <= request.options.threshold <= 1


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["", "\n", " ", "\r\n", "\t"]))
def test_base64_with_white_space_and_without_padding(content: bytes, space: str) -> None:
    text = base64.b64encode(content).decode()
    spaced = space.join(text[i : i + 7] for i in range(0, len(text), 7)) + space
    assert read_image(spaced) == content
    assert read_image(spaced.replace("=", "")) == content
    assert read_image(base64.urlsafe_b64encode(content).decode()) == content
    assert read_image(f"data:image/png;base64,{text}") == content
    assert read_image(f"DATA:image/png;charset=x;BASE64,{text.replace('+', '%2B')}") == content


@given(st.text(max_size=60))
def test_any_text_is_bytes_or_an_error(text: str) -> None:
    try:
        assert read_image(text)
    except ActionError as error:
        assert "image:" in str(error)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (5, RequestError, "expected a string of base64 data, found a number"),
        (None, RequestError, "found null"),
        ({"data": "AAAA"}, RequestError, "found an object"),
        ("", RequestError, "found none"),
        (" \n", RequestError, "found none"),
        ("AAAA*AAA", RequestError, "text that is not base64"),
        ("AAAAA", RequestError, "text that is not base64"),
        ("Bär=", RequestError, "character 'ä' at position 1"),
        ("=" * 8, RequestError, "text that is not base64"),
        ("data:image/png,AAAA", RequestError, "data:image/jpeg;base64,..., found 'data:image/png'"),
        ("data:", RequestError, "expected a URL of the form"),
        ("A" * (MAX_IMAGE_BYTES * 3 // 2 + 4), ImageError, "at most 20 MiB, found 22.5 MiB"),
        ("A" * (MAX_IMAGE_BYTES * 4 // 3 + 8), ImageError, "at most 20 MiB, found 20.0 MiB"),
    ],
)
def test_image_refused(value: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        read_image(value)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200
