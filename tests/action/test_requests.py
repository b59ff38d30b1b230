"""Requests as people make them, to the built zip: what a form loses, URLs, files, odd pictures."""

from __future__ import annotations

import base64
import json
import random
import struct
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from tests.action.test_web import FORM, JPEG, UPLOAD, ask, both, upload
from tests.conftest import base64_of, encoded, plain
from tests.support import hostile

PHOTO = SAMPLE.read_bytes()
ESPRESSO = base64_of(SAMPLE)
RED = encoded(plain("red"))
FILE = 'name="{}"; filename="{}.jpg"\r\nContent-Type: image/jpeg'
NONE = 'name="no"; filename=""\r\nContent-Type: a/b', b""


def file(name: str, content: bytes) -> tuple[str, bytes]:
    return FILE.format(name, name), content


def photos() -> list[bytes]:
    """Pictures of every kind of length and number of "+" in their base64."""
    with Image.open(SAMPLE) as sample:
        sizes = [(side, side * 2 // 3) for side in range(9, 60, 3)]
        small = [encoded(sample.resize(size), "PNG") for size in sizes]
        return small + [encoded(sample.resize((320, 213)), "JPEG", quality=q) for q in (60, 75, 90)]


# What a form makes of a "+"


@both
@pytest.mark.parametrize("head", ["", "data:image/jpeg;base64,"])
@pytest.mark.parametrize("padded", [True, False])
def test_a_plus_that_a_form_lost(
    action: actionloop.RunningAction, raw: bool, head: str, padded: bool
) -> None:
    """As by `curl -d "image=$(base64 -w0 cat.jpg)"`."""
    lost = 0
    for content in photos():
        text = base64_of(content)
        lost += "+" in text
        sent = head + (text if padded else text.rstrip("="))
        expected = action.run({"image": text})
        assert "results" in expected
        assert ask(action, raw, f"image={sent}", FORM) == (200, expected)
        assert ask(action, raw, b"", {}, f"/?image={sent}") == (200, expected)
        assert action.run({"image": sent.replace("+", " ")}) == expected
    assert lost > 15
    assert ask(action, raw, f"image={head}{ESPRESSO}", FORM) == (
        200,
        action.run({"image": ESPRESSO}),
    )


@both
def test_a_plus_that_a_form_lost_from_several(action: actionloop.RunningAction, raw: bool) -> None:
    texts = [base64_of(content) for content in photos()]
    expected = action.run({"images": texts})
    listed = json.dumps(texts)
    assert ask(action, raw, f"images={listed}", FORM) == (200, expected)
    lines = [text.replace("+", " ") for text in texts]
    assert action.run({"images": lines}) == expected


def test_a_form_as_it_was_reported(action: actionloop.RunningAction, cases: Path) -> None:
    body = (cases / "lost_plus.form").read_bytes()
    whole = body.partition(b"=")[2].decode()
    for raw in (False, True):
        assert ask(action, raw, body, FORM) == (200, action.run({"image": whole}))


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\n    ", "\t", " \n"])
def test_white_space_stays_white_space(action: actionloop.RunningAction, space: str) -> None:
    for content in photos():
        text = base64_of(content)
        lines = space.join(text[at : at + 76] for at in range(0, len(text), 76))
        for sent in (lines, lines + space, space + lines):
            assert action.run({"image": sent}) == action.run({"image": text})


def test_what_may_be_both_is_named(action: actionloop.RunningAction) -> None:
    assert "%2B" in action.run({"image": "/9j/4AAQSk ZJRgABAQ"})["error"]


# Base64, to the last character


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("AAAA!!!", "character '!'"),
        ("AAAA*", "character '*'"),
        ("AAAAA", "5 characters and 0 of padding: it is incomplete"),
        ("AAA==", "incomplete"),
        ("AAAA=", "incomplete"),
        ("AA=A", "character '='"),
        ("AAA=AAA=", "character '='"),
        (ESPRESSO[:-1], "incomplete"),
        (ESPRESSO[:5000] + ".." + ESPRESSO[5002:], "character '.'"),
        (ESPRESSO[:-3] + "!!!", "character '!'"),
        ("cat.jpg", "character '.'"),
    ],
)
def test_base64_is_checked_exactly(action: actionloop.RunningAction, text: str, said: str) -> None:
    assert said in action.run({"image": text})["error"]


def test_base64url_with_and_without_padding(action: actionloop.RunningAction) -> None:
    for content in photos():
        text = base64.urlsafe_b64encode(content).decode()
        expected = action.run({"image": base64_of(content)})
        for sent in (text, text.rstrip("="), f"data:image/png;base64,{text}", quote(text)):
            assert "results" in expected
            if "%" not in sent:
                assert action.run({"image": sent}) == expected
        assert action.run({"image": f"data:image/png;base64,{quote(text)}"}) == expected


def test_base64url_as_it_was_reported(action: actionloop.RunningAction, cases: Path) -> None:
    answer = action.run({"image": (cases / "urlsafe_unpadded_png.b64").read_text()})
    assert "results" in answer, answer


@pytest.mark.parametrize(
    "url", ["https://example.com/cat.jpg", " HTTP://x.y", "file:///a", "s3://a/b"]
)
def test_a_url_is_named(action: actionloop.RunningAction, url: str) -> None:
    for params in ({"image": url}, {"images": [url]}):
        answer = action.run(params)
        error = answer.get("error") or answer["predictions"][0]["error"]
        assert f"found the URL {url!r}: this function fetches nothing, send the" in error
    status, body = ask(action, False, f"image={quote(url)}", FORM)
    assert (status, "fetches nothing" in body["error"]) == (400, True)


# Transparency


def bitmap(alpha: bytes, header: int, masks: bytes, pixel: bytes = b"\0\x80\xff") -> bytes:
    """A BMP of 32 bits, 8 x 8, all of one colour: its alpha bytes follow each other in turn."""
    compression = 3 if masks else 0
    info = struct.pack("<IiiHHIIiiII", header, 8, 8, 1, 32, compression, 256, 0, 0, 0, 0)
    info = (info + masks).ljust(header, b"\0") if header > 40 else info + masks
    data = b"".join(pixel + alpha[at % len(alpha) :][:1] for at in range(64))
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + 256, 0, 0, 14 + len(info)) + info + data


BGRA = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
HEADERS = [(40, b""), (40, BGRA[:12]), (56, BGRA), (108, BGRA), (124, BGRA), (108, b""), (124, b"")]


@pytest.mark.parametrize(("header", "masks"), HEADERS)
def test_a_bmp_with_no_alpha_at_all_is_opaque(
    action: actionloop.RunningAction, header: int, masks: bytes
) -> None:
    opaque = {"image": base64_of(encoded(plain("#ff8000", (8, 8)), "BMP")), "topK": 5}
    for alpha in (b"\0", b"\xff"):
        sent = {"image": base64_of(bitmap(alpha, header, masks)), "topK": 5}
        assert action.run(sent) == action.run(opaque)
    if len(masks) == 16:  # as soon as one pixel has some, it counts
        some = {"image": base64_of(bitmap(bytes(63) + b"\xff", header, masks)), "topK": 5}
        assert action.run(some) != action.run(opaque)


def test_a_bmp_as_it_was_reported(action: actionloop.RunningAction, cases: Path) -> None:
    content = (cases / "alpha0.bmp").read_bytes()
    with Image.open(cases / "alpha0.bmp") as picture:
        opaque = encoded(picture.convert("RGB"), "PNG")
    assert action.run({"image": base64_of(content)}) == action.run({"image": base64_of(opaque)})


def invisible() -> list[bytes]:
    with Image.open(SAMPLE) as sample:
        clear = sample.resize((60, 40)).convert("RGBA")
    clear.putalpha(0)
    flat = Image.new("P", (40, 40), 0)
    return [
        encoded(clear, "PNG"),
        encoded(clear.convert("LA"), "PNG"),
        encoded(flat, "PNG", transparency=0),
        encoded(Image.new("L", (40, 40), 7), "PNG", transparency=7),
        encoded(Image.new("RGB", (40, 40), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        encoded(clear.resize((1100, 1000)), "PNG"),
        encoded(clear, "WebP", exact=True),
        encoded(clear, "WebP", lossless=True, exact=True),
        encoded(flat, "GIF", transparency=0),
    ]


def test_what_is_wholly_transparent_is_an_error(action: actionloop.RunningAction) -> None:
    for content in invisible():
        answer = action.run({"image": base64_of(content)})
        assert answer.get("error", "").startswith("nothing to see: expected a picture"), answer
        assert ask(action, False, content, {"content-type": "image/png"})[0] == 422
    spot = Image.new("RGBA", (40, 40))
    spot.paste("red", (10, 10, 30, 30))
    for kind in ("PNG", "WebP"):
        assert "results" in action.run({"image": base64_of(encoded(spot, kind))})


def test_a_png_as_it_was_reported(action: actionloop.RunningAction, cases: Path) -> None:
    answer = action.run({"image": base64_of(cases / "alpha0.png")})
    assert "transparent" in answer["error"]


# Forms with several pictures


@both
def test_every_file_of_a_form_is_answered(action: actionloop.RunningAction, raw: bool) -> None:
    one, other = (action.run({"image": base64_of(each)}) for each in (PHOTO, RED))
    both_answered = (200, {"predictions": [one, other]})
    for parts in (
        (file("image", PHOTO), file("image", RED)),
        (file("images", PHOTO), file("images", RED)),
        (file("a", PHOTO), file("b", RED)),
        (file("image", PHOTO), file("other", RED)),
        (file("image", PHOTO), ("name=image", base64_of(RED).encode())),
        (("name=images", ESPRESSO.encode()), file("x", RED)),
        (("name=images", json.dumps([ESPRESSO, base64_of(RED)]).encode()),),
        (
            file("image", PHOTO),
            ('name="no"; filename=""\r\nContent-Type: a/b', b""),
            file("b", RED),
        ),
    ):
        assert ask(action, raw, upload(*parts), UPLOAD) == both_answered, parts[0][0]
        topped = ask(action, raw, upload(*parts, ("name=topK", b"1")), UPLOAD)[1]
        assert [len(each["results"]) for each in topped["predictions"]] == [1, 1]
    assert ask(action, raw, upload(file("images", PHOTO)), UPLOAD) == (200, {"predictions": [one]})
    assert ask(action, raw, upload(file("image", PHOTO)), UPLOAD) == (200, one)
    status, body = ask(action, raw, upload(file("image", PHOTO), file("image", b"no")), UPLOAD)
    assert (status, ["error" in each for each in body["predictions"]]) == (200, [False, True])
    many = upload(*[file("image", RED)] * 101)
    status, body = ask(action, raw, many, UPLOAD)
    assert (status, "at most 100 pictures, found 101" in body["error"]) == (400, True)


@both
def test_repeated_fields_of_a_form(action: actionloop.RunningAction, raw: bool) -> None:
    """With `--web true` OpenWhisk itself keeps the last of several fields that have one name."""
    red = quote(base64_of(RED), safe="")
    one = action.run({"image": base64_of(RED)})
    if raw:
        for name in ("image", "images"):
            body = f"{name}={red}&{name}={quote(ESPRESSO, safe='')}"
            expected = {"predictions": [one, action.run({"image": ESPRESSO})]}
            assert ask(action, raw, body, FORM) == (200, expected)
        assert ask(action, raw, b"", {}, f"/?image={red}&image={red}") == (
            200,
            {"predictions": [one, one]},
        )
    assert ask(action, raw, f"images={red}", FORM) == (200, {"predictions": [one]})
    assert ask(action, raw, b"", {}, f"/?images={red}") == (200, {"predictions": [one]})
    status, body = ask(action, raw, PHOTO, JPEG, f"/?image={red}")
    assert (status, "found both" in body["error"]) == (400, True)


# Content types


BINARY = [
    "image/jpeg; charset=binary",  # what `file -bi` prints
    "image/png;charset=UTF-8",
    "IMAGE/JPEG; Charset=Binary",
    "  image/jpeg  ;  charset = binary ",
    'image/webp; name="a b.webp"',
    "image/avif",
    "image/jpg",
    "application/octet-stream; charset=utf-8",
    "Application/Octet-Stream",
]


@both
@pytest.mark.parametrize("content_type", BINARY)
def test_content_types_of_pictures(
    action: actionloop.RunningAction, raw: bool, content_type: str
) -> None:
    answer = ask(action, raw, PHOTO, {"content-type": content_type})
    assert answer == (200, action.run({"image": ESPRESSO}))


@both
def test_content_types_of_text_and_forms(action: actionloop.RunningAction, raw: bool) -> None:
    expected = (200, action.run({"image": ESPRESSO}))
    body = json.dumps({"image": ESPRESSO})
    for kind in ("APPLICATION/JSON; Charset=UTF-8", "application/json ; a=b", "a/B+JSON"):
        assert ask(action, raw, body, {"content-type": kind}) == expected, kind
    form = "image=" + quote(ESPRESSO, safe="")
    for kind in ("Application/X-WWW-Form-URLencoded; charset=utf-8", FORM["content-type"] + ";a=b"):
        assert ask(action, raw, form, {"content-type": kind}) == expected, kind
    parts = upload(file("image", PHOTO))
    for kind in ('Multipart/Form-Data; charset=utf-8; boundary="x1y2"', UPLOAD["content-type"]):
        assert ask(action, raw, parts, {"content-type": kind}) == expected, kind


@both
@pytest.mark.parametrize("content_type", ["image/x-new; charset=binary", "image/jpg; charset=x"])
def test_a_picture_that_the_platform_breaks(
    action: actionloop.RunningAction, raw: bool, content_type: str
) -> None:
    """A type that OpenWhisk does not know is text for it as soon as there is a charset."""
    status, body = ask(action, raw, PHOTO, {"content-type": content_type})
    assert status == 415
    assert "expected one that the platform treats as binary" in body["error"]


# Corrupt pictures


def corrupted(content: bytes, way: int, chance: random.Random) -> bytes:
    """One of the ways in which files break."""
    data = bytearray(content)
    at, length = chance.randrange(len(data)), chance.randint(1, 40)
    if way == 0:
        return content[:at]
    if way == 1:
        for _ in range(length):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif way == 2:
        data[at : at + length] = bytes(length)
    elif way == 3:
        del data[at : at + length]
    elif way == 4:
        data[at:at] = chance.randbytes(length)
    else:
        data[at % 60] = chance.randrange(256)
    return bytes(data)


KINDS = ["JPEG", "progressive", "PNG", "P", "WebP", "lossless", "GIF", "BMP", "RGBA", "runs"]


@pytest.mark.parametrize("kind", KINDS)
def test_corrupt_pictures_are_told_in_our_words(
    action: actionloop.RunningAction, kind: str, thorough: bool
) -> None:
    if kind == "RGBA":
        content = bitmap(b"\0\xff", 124, BGRA)
    elif kind == "runs":
        content = hostile.bmp((8, 8), 1, b"\x08\1\0\0" * 8 + b"\0\1")
    else:
        content = hostile.small(kind)
    chance = random.Random(kind)
    errors, count = 0, 100 if thorough else 30
    for way in range(6):
        sent = [base64_of(corrupted(content, way, chance)) for _ in range(count)]
        answer: Any = action.run({"images": sent})
        for each in answer["predictions"]:
            if "error" in each:
                errors += 1
                assert hostile.ERRORS.fullmatch(each["error"]), each
    assert errors > 6 * count // 10
    assert "Traceback" not in action.log()
