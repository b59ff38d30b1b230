"""Content types as pekko-http 1.1 and OpenWhisk's controller read them."""

import pytest

from client.media_type import DEFAULT, parse_content_type


@pytest.mark.parametrize(
    ("content_type", "header", "body"),
    [
        ("image/jpeg", "image/jpeg", "base64"),
        ("image/jpeg; charset=binary", "image/jpeg", "base64"),
        ("IMAGE/Png;q=1", "image/png; q=1", "base64"),
        ("\timage /jpeg ;b=2 ; A=1", "image/jpeg; b=2; A=1", "base64"),
        ("image/x-new", "image/x-new", "base64"),
        ("image/x-new; charset=utf-8", "image/x-new; charset=utf-8", "text"),
        ("application/octet-stream; CHARSET=x", "application/octet-stream", "base64"),
        ("multipart/form-data; charset=x; boundary=b", "multipart/form-data; boundary=b", "base64"),
        ('multipart/form-data; boundary="b"', 'multipart/form-data; boundary="b"', "base64"),
        ("text/plain", "text/plain", "text"),
        ("text/plain;charset=utf-8", "text/plain; charset=utf-8", "text"),
        ("text/x-new", "text/x-new", "base64"),
        ("APPLICATION/json;charset=utf-8", "application/json", "JSON"),
        ("application/json; profile=x", "application/json; profile=x", "text"),
        ("a/b+JSON; charset=x", "a/b+json; charset=x", "JSON"),
        ("", DEFAULT, "base64"),
        ("jpeg", DEFAULT, "base64"),
        ("image/", DEFAULT, "base64"),
        ("image/ jpeg", DEFAULT, "base64"),
        ("image/jpeg;", DEFAULT, "base64"),
        ("image/jpeg, image/png", DEFAULT, "base64"),
        ('image/jpeg; a="b', DEFAULT, "base64"),
    ],
)
def test_header_and_body_of_a_type(content_type: str, header: str, body: str) -> None:
    """The controller compares the whole value: a parameter makes another type than JSON."""
    kind = parse_content_type(content_type)
    found = "JSON" if kind.is_json else "base64" if kind.binary else "text"
    assert (kind.header, found) == (header, body)
