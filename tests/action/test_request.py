"""Parsing of an activation's parameters and base64: what is accepted, and the error texts."""

from __future__ import annotations

import base64
import random
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from action.request import (
    MAX_IMAGE_BYTES,
    ActionError,
    ImageError,
    RequestError,
    parse_request,
    read_image,
)
from tests.conftest import base64_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("params", "classes", "top_k"),
    [
        ({}, 1001, 3),
        ({}, 2, 2),
        ({"topK": 3}, 1001, 3),
        ({"topK": 5.0}, 10, 5),
        ({"topK": 11}, 10, 10),
        ({"topK": 10**5000}, 10, 10),
        ({"__ow_method": "post", "apihost": "bound to the package"}, 10, 3),
    ],
)
def test_options(params: dict[str, Any], classes: int, top_k: int) -> None:
    request = parse_request({"image": "AAAA", **params}, classes)
    assert (request.images, request.batch) == (["AAAA"], False)
    options = request.options
    assert (options.threshold, options.details) == (0.0, False)
    assert (options.top_k, type(options.top_k)) == (top_k, int)
    assert options.top_k_given == ("topK" in params)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ([], "expected a JSON object of parameters, found a list"),
        ({}, "found neither"),
        ({"image": "a", "images": ["a"]}, "found both"),
        ({"images": "a"}, "expected a list of one or more pictures, found a string"),
        ({"images": []}, "found an empty list"),
        (
            {"images": ["a"] * 101},
            "images: expected at most 100 pictures, found 101; send them in several activations",
        ),
        ({"image": "a", "topK": 0}, "topK: expected a whole number, 1 or more, found 0"),
        ({"image": "a", "topK": 2.5}, "found 2.5"),
        ({"image": "a", "topK": True}, "found true"),
        ({"image": "a", "topK": "3"}, "found a string '3'"),
        ({"image": "a", "threshold": 10**5000}, "too long to print"),
        ({"image": "a", "threshold": -0.1}, "found -0.1"),
        ({"image": "a", "threshold": float("nan")}, "found nan"),
        ({"image": "a", "threshold": "0.5"}, "found a string '0.5'"),
        ({"image": "a", "details": 1}, "true or false, found 1"),
        ({"image": "a", "topk": 3}, "unknown parameter 'topk': did you mean 'topK'?"),
        ({"image": "a", "top_k": 3}, "did you mean 'topK'?"),
    ],
)
def test_error_says_what_was_expected_and_found(params: Any, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(params, 10)
    assert text in str(caught.value)


@given(JSON | st.dictionaries(st.sampled_from(["image", "images", "topK", "threshold"]), JSON))
def test_any_json_is_parsed_or_raises_an_action_error(params: Any) -> None:
    try:
        request = parse_request(params, 1001)
    except ActionError as error:
        assert len(str(error)) < 300
        return
    assert 1 <= request.options.top_k <= 1001
    assert 0 <= request.options.threshold <= 1


def test_escapes_that_base64_can_have_are_decoded_once() -> None:
    assert read_image("data:;base64,%2b%2F%0d%0A%20A%3d") == b"\xfb\xf0"
    for text in ("%252BAAA", "%41AAA", "%2"):
        with pytest.raises(RequestError, match="character '%'"):
            read_image(f"data:;base64,{text}")


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["", "\n", " ", "\r\n", "\t"]))
def test_base64_with_white_space_and_without_padding(content: bytes, space: str) -> None:
    text = base64.b64encode(content).decode()
    spaced = space.join(text[i : i + 7] for i in range(0, len(text), 7)) + space
    assert read_image(spaced) == content
    assert read_image(spaced.replace("=", "")) == content
    url_safe = base64.urlsafe_b64encode(content).decode()
    for sent in (url_safe, url_safe.rstrip("="), f"data:image/png;base64,{quote(url_safe)}"):
        assert read_image(sent) == content
    assert read_image(f"data:image/png;base64,{text}") == content
    assert read_image(f"DATA:image/png;charset=x;BASE64,{text.replace('+', '%2B')}") == content


@given(st.text(max_size=60))
def test_any_text_is_bytes_or_an_error(text: str) -> None:
    try:
        assert read_image(text)
    except ActionError as error:
        assert "image:" in str(error)


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\n    ", "\t", " \n"])
def test_lines_are_told_from_a_plus_that_a_form_decoded(space: str) -> None:
    """Contents of many lengths, with many "+" in their base64."""
    chance = random.Random(1)
    for size in range(400, 440):
        content = chance.randbytes(size)
        text = base64_of(content)
        for padded in (text, text.rstrip("=")):
            for head in ("", "data:image/jpeg;base64,"):
                assert read_image(head + padded.replace("+", " ")) == content
        lines = space.join(text[at : at + 76] for at in range(0, len(text), 76))
        for sent in (lines, lines + space, space + lines):
            assert read_image(sent) == content


LONG = base64_of(bytes(range(256)) * 40)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (5, RequestError, "expected a string of base64 data, found a number"),
        ({"data": "AAAA"}, RequestError, "found an object"),
        ({"type": "Buffer", "data": [255]}, RequestError, "found a Node Buffer as JSON: send"),
        ('{"type":"Buffer","data":[255,216]}', RequestError, "a Node Buffer"),
        (str(LONG.encode()), RequestError, "Python's b'...': call .decode() on the base64"),
        ("[object Object]", RequestError, "JavaScript's name of an object"),
        ("[B@6d06d69c", RequestError, "the name of a byte array"),
        ("255,216,255,224", RequestError, "a list of numbers"),
        ('{"image": "AAAA"}', RequestError, "JSON text: send it as application/json"),
        (f'"{LONG}"', RequestError, "text in quotes: send it without them"),
        ("@cat.jpg", RequestError, "the name of a file"),
        ("undefined", RequestError, "the text of a missing value"),
        ("", RequestError, "found none"),
        ("AAAA*AAA", RequestError, "text that is not base64 (character '*')"),
        ("AAAAA", RequestError, "5 characters and 0 of padding: it is incomplete"),
        ("AAAA=", RequestError, "incomplete"),
        (LONG[:5000] + ".." + LONG[5002:], RequestError, "character '.'"),
        ("Bär=", RequestError, "character 'ä' at position 1"),
        ("=" * 8, RequestError, "text that is not base64"),
        ("/9j/4AAQSk ZJRgABAQ", RequestError, "Send it as %2B"),
        ("data:image/png,AAAA", RequestError, "data:image/jpeg;base64,..., found 'data:image/png'"),
        ("https://a.b/cat.jpg", RequestError, "found the URL 'https://a.b/cat.jpg': this function"),
        ("A" * (MAX_IMAGE_BYTES * 4 // 3 + 8), ImageError, "at most 20 MiB, found 20.0 MiB"),
    ],
)
def test_unreadable_image_names_its_fault(value: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        read_image(value)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 250
