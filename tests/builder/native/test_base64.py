"""Our base64 decoder gives binascii's answer or error for every input."""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.packages import DEFAULT_OPTIONS, compiled
from tests.support.compiled import is_cached

Decode = Callable[[Any], bytes]
THIS_PYTHON = "{}.{}".format(*sys.version_info)


@pytest.fixture(scope="module")
def decode() -> Decode:
    """Return the decoder in the compiled Pillow."""
    if not is_cached(THIS_PYTHON):
        pytest.skip(f"not compiled for Python {THIS_PYTHON}")
    folder = compiled.cache_folder(THIS_PYTHON, DEFAULT_OPTIONS) / "PIL"
    [path] = folder.glob("_imaging.*.so")
    spec = spec_from_file_location("_imaging", loader=ExtensionFileLoader("_imaging", str(path)))
    assert spec
    own: Decode = module_from_spec(spec).a2b_base64
    return own


def assert_same(decode: Decode, data: object) -> None:
    try:
        expected: object = binascii.a2b_base64(data)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
            decode(data)
    else:
        assert decode(data) == expected


JUNK = st.sampled_from(b"ABab09+/=-_ \n\0\x7f\x80\xff")
TEXTS = st.binary(max_size=200).map(base64.b64encode) | st.lists(JUNK, max_size=100).map(bytes)


@given(TEXTS, st.integers(0, 270), st.integers(0, 2), st.binary(max_size=2))
def test_text_with_an_edit(
    decode: Decode, text: bytes, position: int, removed: int, inserted: bytes
) -> None:
    text = text[:position] + inserted + text[position + removed :]
    for value in (text, text.decode("latin-1"), bytearray(text)):
        assert_same(decode, value)


@pytest.mark.parametrize("length", [32, 36, 64, 68])
def test_every_byte_at_every_position_of_a_vector(decode: Decode, length: int) -> None:
    text = b"QUJD" * (length // 4)
    for position in range(length):
        for byte in range(256):
            assert_same(decode, text[:position] + bytes([byte]) + text[position + 1 :])


@pytest.mark.parametrize("data", [None, 1, (), ("AAAA",), memoryview(b"AAAA" * 20), "\u20ac" * 32])
def test_other_types(decode: Decode, data: object) -> None:
    assert_same(decode, data)
