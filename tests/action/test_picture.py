"""Decoding of pictures: modes, formats, orientation, crop, transparency, and what is refused."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from action import picture as picture_module
from action.picture import FORMATS, decode, sniff_format
from action.picture_limits import MEMORY
from action.request import ImageError, TooLargeError, UnsupportedError
from tests.conftest import encoded, plain
from tests.support import hostile

SIDE = 32
ORANGE = (255, 128, 0)


def pixels(
    content: bytes, crop: float = 1.0, channels: int = 3, memory: int = MEMORY
) -> np.ndarray[Any, Any]:
    decoded: np.ndarray[Any, Any] = decode(content, SIDE, SIDE, channels, crop, memory).pixels
    return decoded


def halves(size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Red above, blue below; the left quarter green."""
    picture = Image.new("RGB", size, "red")
    picture.paste("blue", (0, size[1] // 2, size[0], size[1]))
    picture.paste("lime", (0, 0, size[0] // 4, size[1]))
    return picture


JPEG = encoded(halves(), "JPEG")
FRAME = JPEG.index(b"\xff\xc0")
PNG = encoded(halves(), "PNG")
DATA = PNG.index(b"IDAT") + 4


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_decoded(kind: str) -> None:
    content = encoded(plain("#ff8000"), kind)
    decoded = decode(content, SIDE, SIDE, 3, 0.875)
    assert (decoded.format, decoded.width, decoded.height) == (kind, 64, 48)
    assert decoded.pixels.shape == (SIDE, SIDE, 3)
    assert decoded.pixels.dtype == np.uint8
    assert np.abs(decoded.pixels.astype(int) - ORANGE).max() <= 3


@pytest.mark.parametrize(
    ("mode", "colour", "options", "expected"),
    [
        ("1", 1, {}, (255, 255, 255)),
        ("L", 77, {}, (77, 77, 77)),
        ("L", 0, {"transparency": 0}, (255, 255, 255)),
        ("L", 0, {"transparency": 1}, (0, 0, 0)),
        ("P", ORANGE, {}, ORANGE),
        ("RGB", ORANGE, {}, ORANGE),
        ("RGBA", (*ORANGE, 255), {}, ORANGE),
        ("RGBA", (*ORANGE, 1), {}, (255, 255, 255)),
        ("RGBA", (255, 0, 0, 128), {}, (255, 127, 127)),
        ("LA", (0, 1), {}, (255, 255, 255)),
        ("LA", (100, 255), {}, (100, 100, 100)),
        ("I;16", 40000, {}, (156, 156, 156)),
        ("CMYK", (0, 255, 255, 0), {}, (255, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(mode: str, colour: Any, options: Any, expected: Any) -> None:
    picture = plain(colour, mode=mode)
    if mode == "L":
        picture.putpixel((32, 24), 9)  # not transparent
    decoded = pixels(encoded(picture, "JPEG" if mode == "CMYK" else "PNG", **options))
    off = np.abs(decoded[:12].astype(int) - expected).max()
    assert off <= (2 if mode == "CMYK" else 1), decoded[0, 0]


def test_first_frame_of_an_animation_is_decoded() -> None:
    frames = [plain(colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WebP", "PNG"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(pixels(content).astype(int) - (255, 0, 0)).max() < 15, kind


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP"])
def test_exif_orientation_as_pillow_applies_it(orientation: int, kind: str) -> None:
    picture = halves((96, 64))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture, kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    found, expected = (
        decode(each, 24, 32, 3, 0.875).pixels
        for each in (content, encoded(upright.convert("RGB"), "BMP"))
    )
    assert found.shape == (32, 24, 3)
    assert np.abs(found.astype(int) - expected).mean() < 4


def orientation_tag(kind: int, count: int, value: bytes) -> bytes:
    """EXIF data with one entry, tag 0x0112: TIFF type, count and the value field."""
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI", 0x0112, kind, count) + value


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "exif",
    [
        orientation_tag(3, 1, b"\0\0\0\0"),
        orientation_tag(3, 1, b"\x09\0\0\0"),
        orientation_tag(2, 4, b"six\0"),
        orientation_tag(99, 1, b"\x06\0\0\0"),
        orientation_tag(3, 2**31, b"\x06\0\0\0"),
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0" * 400,
    ],
)
def test_invalid_exif_is_ignored(exif: bytes) -> None:
    assert np.array_equal(pixels(encoded(halves(), "JPEG", exif=exif)), pixels(JPEG))


def test_crop_is_the_central_square_of_the_shorter_side() -> None:
    picture = Image.new("RGB", (400, 200), "red")
    picture.paste("blue", (100, 0, 300, 200))
    assert pixels(encoded(picture, "PNG"))[..., 2].min() > 200  # with a soft edge on either side
    picture.paste("lime", (100, 0, 106, 200))  # 3 % of the side: outside the central 87.5 %
    assert pixels(encoded(picture, "PNG"), crop=0.875)[..., 2].min() == 255


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("fit", "across", "down"),
    [
        ("crop", "bbbbbbbb", "rrrrbbbbbbbbrrrr"),
        ("squash", "rrbbbbrr", "rrrrbbbbbbbbrrrr"),
        ("pad", "rrbbbbrr", "    rrbbbbrr    "),
        ("inside", "rrbbbbrr", "rrbbbbrr"),
    ],
)
def test_fit_says_what_the_model_sees(fit: str, across: str, down: str, turned: bool) -> None:
    """A blue square has a red frame of half its width; the model takes 8 x 16 pixels."""
    picture = Image.new("RGB", (160, 160), "red")
    picture.paste("blue", (40, 40, 120, 120))
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    found = decode(encoded(picture, "PNG", exif=exif), 8, 16, 3, 1.0, fit=fit).pixels > 127
    letters = np.where(found[..., 0], "r", np.where(found[..., 2], "b", " "))
    assert "".join(letters[len(letters) // 2]) == across
    assert "".join(letters[:, 4]) == down


def test_one_channel_is_grey() -> None:
    assert pixels(encoded(plain("white")), channels=1).tolist() == [[[255]] * SIDE] * SIDE


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_decoded_at_a_smaller_scale_looks_the_same(progressive: bool) -> None:
    gradient = Image.linear_gradient("L").resize((1600, 1200)).convert("RGB")
    jpeg = pixels(encoded(gradient, "JPEG", quality=95, progressive=progressive), crop=0.875)
    bmp = pixels(encoded(gradient, "BMP"), crop=0.875)
    assert np.abs(jpeg.astype(int) - bmp).mean() < 1.5


def noise(size: tuple[int, int], mode: str) -> Image.Image:
    """Return a picture whose channels differ, transparency among them."""
    shape = (size[1], size[0])
    chance = np.random.default_rng(3)
    if mode == "I;16":
        return Image.fromarray(chance.integers(0, 65536, shape).astype(np.uint16))
    channels = Image.fromarray(chance.integers(0, 256, (*shape, 4)).astype(np.uint8), "RGBA")
    return channels if mode == "RGBA" else channels.convert("RGB").convert(mode)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (3000, 4), (60, 1000), (33, 32), (1, 1)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.77])
def test_strips_give_the_same_pixels_as_one_resize(
    size: tuple[int, int], mode: str, crop: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large pictures are converted and resized a few rows at a time, to the same pixels.

    But for very tall ones, which Pillow first makes low, then narrow.
    """
    clear: Any = {"RGB": (1, 2, 3)}.get(mode, 3) if mode in ("1", "L", "P", "RGB") else None
    content = encoded(noise(size, mode), "JPEG" if mode == "CMYK" else "PNG", transparency=clear)
    whole = decode(content, SIDE, 48, 3, crop).pixels
    monkeypatch.setattr(picture_module, "_MAX_WHOLE_PIXELS", 4 * 3 * size[0] - 1)
    strips = decode(content, SIDE, 48, 3, crop).pixels
    assert np.abs(strips.astype(int) - whole).max() <= (3 if size[1] > 10 * size[0] else 0)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"II*\0", "unsupported format: expected JPEG, PNG, WebP, GIF, BMP, found TIFF"),
        (b"\0\0\0\x18ftypheic", "found HEIC: save it as JPEG; on an iPhone, Settings > Camera"),
        (b"\0\0\0\x18ftypisom", "found a video"),
        (b"<svg xmlns=", "found SVG"),
        (b"hello, world", "not a picture: expected JPEG, PNG, WebP, GIF, BMP, found 12 bytes"),
        (b"RIFF1234WAVE", "not a picture"),
    ],
)
def test_what_is_no_supported_picture_is_named(content: bytes, text: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        sniff_format(content)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (JPEG[: FRAME + 4] + b"\x0c" + JPEG[FRAME + 5 :], "a JPEG of 12 bits per sample"),
        (JPEG[: FRAME + 5] + bytes(2) + JPEG[FRAME + 7 :], "a JPEG that gives its height after"),
        (JPEG[: FRAME + 1] + b"\xc3" + JPEG[FRAME + 2 :], "a lossless JPEG"),
        (JPEG[: FRAME + 1] + b"\xf7" + JPEG[FRAME + 2 :], "a JPEG-LS"),
        (JPEG[: FRAME + 1] + b"\xc9" + JPEG[FRAME + 2 :], "a JPEG with arithmetic coding"),
        (JPEG[:2] + b"\xff\xff\xca" + JPEG[FRAME + 2 :], "a JPEG with arithmetic coding"),
        (PNG[:8] + b"\0\0\0\4CgBIaddsnone" + PNG[8:DATA] + bytes(2), "Apple's own form"),
    ],
)
def test_unsupported_kind_is_named(content: bytes, found: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"found {found}.*; save it as JPEG or PNG"):
        pixels(content)


def test_checksums_count_only_where_chunks_do() -> None:
    """A PNG begins with a signature of 8 bytes and IHDR, 25 bytes with its checksum."""
    text = PNG[:33] + b"\0\0\0\3tEXta\0bnone" + PNG[33:]
    assert np.array_equal(pixels(text), pixels(PNG))
    with pytest.raises(ImageError, match="damaged"):
        pixels(PNG[:29] + b"none" + PNG[33:])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (hostile.gif((20000, 5001)), r"at most 100 megapixels, found 20000 x 5001 \(100 meg"),
        (hostile.gif((7470, 7470)), "too many pixels for a GIF"),
        (hostile.png((8, 8), before=hostile.chunk(b"teSt", b"") * 20_000), "too many parts"),
        (hostile.png((0, 10)), "expected a picture with pixels|broken PNG"),
    ],
)
def test_pixels_are_counted_before_decoding(content: bytes, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        pixels(content)


def resized(content: bytes, width: int, height: int) -> bytes:
    """Change the size in a JPEG's header, but not its data."""
    marker = next(m for m in (b"\xff\xc0\0", b"\xff\xc2\0") if m in content)
    at = content.rindex(marker) + 5  # marker, length, precision
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


# A comment that ends as the header of a scan of four components starts.
SCAN_IN_COMMENT = b"\xff\xfe\0\x08\xff\xda\0\x0e\4\0"


def in_single_scans(content: bytes, before: bytes = b"") -> bytes:
    """Return a baseline JPEG whose first scan names only one component; `before` precedes it."""
    at = content.rindex(b"\xff\xda")
    return content[:at] + before + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + content[at + 14 :]


PROGRESSIVE = encoded(halves(), "JPEG", progressive=True)
# Each unit has 4 x 4 blocks of the first component.
SAMPLED_BY_FOUR = PROGRESSIVE.replace(b"\3\1\x22\0", b"\3\1\x44\0")


@pytest.mark.parametrize(
    ("content", "size", "most"),
    [
        (PROGRESSIVE, (8000, 6000), 18.3),
        (encoded(halves(), "JPEG", progressive=True, subsampling="4:4:4"), (8000, 6000), 9.2),
        (encoded(halves(), "JPEG", progressive=True, subsampling="4:2:2"), (8000, 6000), 13.8),
        (encoded(halves().convert("L"), "JPEG", progressive=True), (8000, 6000), 27.8),
        (SAMPLED_BY_FOUR, (65500, 353), 21.7),
        (in_single_scans(encoded(halves(), "JPEG")), (8000, 6000), 18.3),
        (
            in_single_scans(encoded(halves().convert("CMYK"), "JPEG"), SCAN_IN_COMMENT),
            (8000, 6000),
            6.9,
        ),
    ],
    ids=["4:2:0", "4:4:4", "4:2:2", "grey", "whole units", "several scans", "behind a comment"],
)
def test_large_progressive_jpeg_is_refused_before_decoding(
    content: bytes, size: tuple[int, int], most: float
) -> None:
    """Its coefficients would all be kept: 48 megapixels are 144 MB and more."""
    with pytest.raises(TooLargeError) as caught:
        pixels(resized(content, *size))
    found = f"{size[0]} x {size[1]} ({size[0] * size[1] / 1e6:.1f} megapixels)"
    assert str(caught.value) == (
        f"too many pixels for a progressive JPEG: expected at most {most} megapixels, "
        f"found {found}; send it as a baseline JPEG, or smaller"
    )


@pytest.mark.parametrize(
    ("side", "scans", "most"), [(5200, 22, 22), (5200, 23, 22), (2000, 50, 50), (2000, 51, 50)]
)
def test_scans_are_bounded_by_size(side: int, scans: int, most: int) -> None:
    """Each scan of 27 grey megapixels takes 10 ms; libjpeg writes six."""
    content = hostile.jpeg_of_scans((side, side), scans - 5, "L")
    if scans <= most:
        assert pixels(content).shape == (SIDE, SIDE, 3)
    else:
        with pytest.raises(TooLargeError, match=f"too many scans: expected at most {most} in a"):
            pixels(content)


@pytest.mark.parametrize(
    ("megapixels", "kind", "bits", "interlaced", "accepted", "before"),
    [
        (12, 6, 8, 0, True, b""),
        (14, 6, 8, 1, False, b""),
        (7, 6, 16, 0, False, b""),
        (40, 0, 8, 0, True, b""),
        (43, 0, 8, 0, False, b""),
        (40, 3, 8, 1, False, b""),
        (24, 0, 16, 0, False, b""),
        (54, 0, 1, 1, True, b""),
        (54, 0, 1, 1, False, hostile.chunk(b"tRNS", bytes(2))),
    ],
)
def test_rows_of_a_png_are_bounded(
    megapixels: int, kind: int, bits: int, interlaced: int, accepted: bool, before: bytes
) -> None:
    content = hostile.png((1000, megapixels * 1000), kind, bits, before, interlaced)
    with pytest.raises(ImageError) as caught:
        pixels(content[: len(content) // 2])
    assert ("too many pixels for a PNG" in str(caught.value)) != accepted


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"subsampling": "4:4:4"}),
        ("RGB", {"restart_marker_blocks": 1}),
        ("RGB", {"comment": b"\xff\xda\xff\xc2"}),
        ("L", {}),
        ("CMYK", {}),
    ],
)
def test_baseline_jpeg_is_told_from_progressive(mode: str, options: dict[str, Any]) -> None:
    """Whatever stands before its only scan: a thumbnail in EXIF, itself progressive, and fill."""
    picture = halves().convert(mode)
    rows = 16 * 2 * 3 * picture.width  # less than any picture's coefficients
    memory = (1 if mode == "L" else 4) * picture.width * picture.height + rows
    thumbnail = encoded(halves((16, 16)), "JPEG", progressive=True)
    exif = orientation_tag(3, 1, b"\x01\0\0\0") + bytes(4) + thumbnail
    for more in ({}, {"exif": exif}):
        content = encoded(picture, "JPEG", **options, **more)
        at = content.rindex(b"\xff\xda\0")
        filled = content[:at] + b"\xff\xff" + content[at:]
        assert np.array_equal(pixels(content, memory=memory), pixels(filled, memory=memory))
        with pytest.raises(ImageError, match="too many pixels for a progressive JPEG"):
            progressive = encoded(picture, "JPEG", progressive=True, **options, **more)
            pixels(progressive, memory=memory)


def bitmap(alpha: bytes, header: int, masks: bytes) -> bytes:
    """Return a BMP of 32 bits, 8 x 8, all orange; the bytes of `alpha` repeat."""
    compression = 3 if masks else 0
    info = struct.pack("<IiiHHIIiiII", header, 8, 8, 1, 32, compression, 256, 0, 0, 0, 0)
    info = (info + masks).ljust(header, b"\0") if header > 40 else info + masks
    data = b"".join(b"\0\x80\xff" + alpha[at % len(alpha) :][:1] for at in range(64))
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + 256, 0, 0, 14 + len(info)) + info + data


BGRA = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
HEADERS = [(40, b""), (40, BGRA[:12]), (56, BGRA), (108, BGRA), (124, BGRA), (108, b""), (124, b"")]


@pytest.mark.parametrize(("header", "masks"), HEADERS)
def test_bmp_without_any_alpha_is_opaque(header: int, masks: bytes) -> None:
    opaque = pixels(encoded(plain("#ff8000", (8, 8)), "BMP"))
    assert np.array_equal(pixels(bitmap(b"\0", header, masks)), opaque)
    if len(masks) == 16:  # one pixel with alpha makes all of it count
        some = bitmap(bytes(63) + b"\xff", header, masks)
        assert not np.array_equal(pixels(some), opaque)


def test_wholly_transparent_picture_is_an_error() -> None:
    clear = Image.new("RGBA", (60, 40), (9, 9, 9, 0))
    for content in (
        encoded(clear),
        encoded(clear.convert("LA")),
        encoded(clear.resize((1100, 1000))),
        encoded(Image.new("P", (40, 40), 0), transparency=0),
        encoded(Image.new("RGB", (40, 40), (1, 2, 3)), transparency=(1, 2, 3)),
        encoded(clear, "WebP", exact=True),
        encoded(clear, "WebP", lossless=True, exact=True),
        encoded(Image.new("P", (40, 40), 0), "GIF", transparency=0),
    ):
        with pytest.raises(ImageError, match="nothing to see: expected a picture"):
            pixels(content)
    spot = Image.new("RGBA", (40, 40))
    spot.paste("red", (10, 10, 30, 30))
    for kind in ("PNG", "WebP"):
        assert pixels(encoded(spot, kind)).min() < 60
