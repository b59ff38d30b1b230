"""Content types as pekko-http 1.1 and OpenWhisk's controller read them."""

import pytest

from client.media_type import DEFAULT, parse_content_type


@pytest.mark.parametrize(
    ("content_type", "header", "binary"),
    [
        ("image/jpeg", "image/jpeg", True),
        ("image/jpeg; charset=binary", "image/jpeg", True),
        ("IMAGE/Png;q=1", "image/png; q=1", True),
        ("\timage /jpeg ;b=2 ; A=1", "image/jpeg; b=2; A=1", True),
        ("image/x-new", "image/x-new", True),
        ("image/x-new; charset=utf-8", "image/x-new; charset=utf-8", False),
        ("application/octet-stream; CHARSET=x", "application/octet-stream", True),
        ("multipart/form-data; charset=x; boundary=b", "multipart/form-data; boundary=b", True),
        ('multipart/form-data; boundary="b"', 'multipart/form-data; boundary="b"', True),
        ("text/plain", "text/plain", False),
        ("text/plain;charset=utf-8", "text/plain; charset=utf-8", False),
        ("text/x-new", "text/x-new", True),
        ("application/json;charset=utf-8", "application/json", False),
        ("a/b+json", "a/b+json", True),
        ("", DEFAULT, True),
        ("jpeg", DEFAULT, True),
        ("image/", DEFAULT, True),
        ("image/ jpeg", DEFAULT, True),
        ("image/jpeg;", DEFAULT, True),
        ("image/jpeg, image/png", DEFAULT, True),
        ('image/jpeg; a="b', DEFAULT, True),
    ],
)
def test_header_and_encoding_of_a_type(content_type: str, header: str, binary: bool) -> None:
    kind = parse_content_type(content_type)
    assert (kind.header, kind.binary) == (header, binary)


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        ("application/json; charset=utf-8", True),
        ("APPLICATION/JSON", True),
        ("x/y+JSON", True),
        ("application/json; profile=x", False),
        ("text/json", False),
    ],
)
def test_json_types_are_merged(content_type: str, is_json: bool) -> None:
    """The controller compares the whole value: a parameter makes another type."""
    assert parse_content_type(content_type).is_json == is_json
