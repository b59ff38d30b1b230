"""Hostile pictures: small in bytes, large in pixels, chunks, frames, scans or tables."""

from __future__ import annotations

import base64
import random
import re
import struct
import zlib
from collections.abc import Iterator
from functools import cache

from PIL import Image

from tests.support.pictures import SAMPLE, encoded, plain

# All error texts for pictures: none has a decoder's own words.
ERRORS = re.compile(
    r"broken (JPEG|PNG|WebP|GIF|BMP): (the file ends before the picture does; send the whole file"
    r"|its data is damaged; send it again, or re-save it"
    r"|of a kind that cannot be read here; save it as JPEG or PNG)"
    r"|not a picture: expected JPEG, PNG, WebP, GIF, BMP, found \d+ bytes that start with b.*"
    r"|nothing to see: .*|too many (pixels|scans|parts)\b.*|\w+: too large to decode in this .*"
    r"|expected a picture with pixels, found -?\d+ x -?\d+|unsupported format: expected JPEG.*"
    r"|image: expected the bytes of a picture, found none"
)  # fmt: skip


def chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def png(
    size: tuple[int, int],
    kind: int = 0,
    bits: int = 8,
    before: bytes = b"",
    interlaced: int = 0,
    filtered: int = 0,
) -> bytes:
    """Return a PNG of zeros; `kind` 0 is grey, 2 RGB, 3 palette, 4 LA, 6 RGBA.

    `filtered` is the type of the rows' filter, if not interlaced; 4 takes longest.
    """
    width, height = size
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    filtered = 0 if interlaced else filtered
    row = bytes([filtered]) + bytes((width * samples * bits + 7) // 8)
    packer = zlib.compressobj(9)
    rows = max(1, 2**20 // len(row))
    data = b"".join(packer.compress(row * min(rows, height - at)) for at in range(0, height, rows))
    data += packer.compress(bytes(2 * height * interlaced))  # its passes have more rows
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(range(48))) if kind == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + palette
        + chunk(b"IDAT", data + packer.flush()) + chunk(b"IEND", b"")
    )  # fmt: skip


def gif(size: tuple[int, int], before: bytes = b"", frame: tuple[int, int] = (8, 8)) -> bytes:
    """Return a GIF of a screen and a frame, with the data of 8 x 8 pixels."""
    small = flat_gif((8, 8))
    data = small[small.index(b",") + 10 :]
    return (
        b"GIF89a" + struct.pack("<HH", *size) + b"\x80\0\0" + bytes((0, 0, 0, 255, 255, 255))
        + before + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + data
    )  # fmt: skip


def flat_gif(size: tuple[int, int]) -> bytes:
    """Return a complete GIF of one colour."""
    return encoded(Image.new("P", size), "GIF")


def bmp(size: tuple[int, int], compression: int, data: bytes, bits: int = 8) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, len(data), 0, 0, 2, 0)
    palette = b"\1\2\3\0\4\5\6\0"
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + head + palette + data


def jpeg_of_scans(size: tuple[int, int], scans: int, mode: str = "RGB") -> bytes:
    """Return a progressive JPEG that repeats its last scan, which is nearly empty."""
    content = encoded(plain("red", size).convert(mode), "JPEG", progressive=True)
    at = content.rindex(b"\xff\xda")
    return content[:at] + content[at:-2] * scans + b"\xff\xd9"


def jpeg_segments(segment: bytes, times: int) -> bytes:
    """Return the sample picture with a segment many times after its start."""
    content = SAMPLE.read_bytes()
    head = b"\xff" + segment[:1] + struct.pack(">H", len(segment) + 1) + segment[1:]
    return content[:2] + head * times + content[2:]


def webp_chunks(name: bytes, content: bytes, times: int) -> bytes:
    """Return a small WebP in the extended format, with a chunk many times after the picture."""
    body = encoded(plain("red", (16, 16)), "WebP", exif=b"Exif\0\0II*\0")[12:]
    body += (name + struct.pack("<I", len(content)) + content) * times
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_codes(groups: int = 65536, side: int = 1024) -> bytes:
    """Return a lossless WebP with prefix codes for every 4 x 4 pixels (RFC 9649, section 3).

    Each set of codes takes 3 bytes here, and 5 KB or more in libwebp.
    """
    bits: list[tuple[int, int]] = [(0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 4)]
    bits += [(0, 1), (0, 1), (1, 1), (0, 3)]  # no transforms, no cache, entropy image of 4 x 4
    bits += [(0, 1)]
    lengths = [(0, 1), (8, 4)] + [(int(at in (1, 11)), 3) for at in range(12)] + [(0, 1)]
    bits += lengths + [(0, 1)] * 256 + [(1, 1), (13, 7)]  # green: 256 codes of 8 bits, 24 of none
    bits += lengths + [(0, 1)] * 256  # red
    bits += [(1, 4)] * 3  # blue, alpha and distance: one symbol, 0
    reverse = [int(f"{value:08b}"[::-1], 2) for value in range(256)]
    for pixel in range((side // 4) ** 2):
        group = pixel % groups
        bits += [(reverse[group & 255], 8), (reverse[group >> 8], 8)]
    bits += [(1, 4)] * (5 * groups)
    number = "".join(f"{value:0{width}b}"[::-1] for value, width in bits)
    data = int(number[::-1], 2).to_bytes(len(number) // 8 + 1, "little") + bytes(8)
    data += bytes(len(data) % 2)
    body = b"VP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def frames(kind: str, count: int) -> bytes:
    """Return an animation of tiny frames, of which the first is red."""
    content = encoded(
        plain("red", (8, 8)), kind, save_all=True, append_images=[plain("blue", (8, 8))] * 2
    )
    if kind != "GIF":
        return content
    second = content.index(b"!\xf9", content.index(b",") + 1)
    return content[:second] + content[second:-1] * (count // 2) + b";"


# Chunks or segments, at least, of a picture that has many.
MANY = 80_000


@cache
def bombs() -> list[tuple[str, bytes]]:
    """Return names and contents, each of at most about 1 MB."""
    return [*png_bombs(), *gif_bombs(), *webp_bombs(), *bmp_bombs(), *jpeg_bombs()]


def png_bombs() -> Iterator[tuple[str, bytes]]:
    text = zlib.compress(bytes(2**20 - 1), 9)
    wide = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 8, 8, 0, 0, 0, 0))
    yield "PNG, 99 megapixels", png((9900, 10000))
    yield "PNG, 49 megapixels of 1 bit", png((7000, 7000), bits=1)
    yield "PNG, 13 megapixels RGBA", png((3600, 3600), 6)
    yield "PNG, 27 megapixels of 16 bits", png((5200, 5200), bits=16)
    yield "PNG, 49 megapixels, interlaced", png((7000, 7000), interlaced=1)
    yield "PNG, 2^31 pixels wide", b"\x89PNG\r\n\x1a\n" + wide + png((8, 8))[33:]
    yield "PNG, 1 x 5000000", png((1, 5_000_000), 3)
    yield "PNG, 50000000 x 1", png((50_000_000, 1), 3)
    yield "PNG, texts", png((8, 8), before=chunk(b"zTXt", b"a\0\0" + text) * 64)
    yield "PNG, profile", png((8, 8), before=chunk(b"iCCP", b"a\0\0" + text))
    yield "PNG, many chunks", png((8, 8), before=chunk(b"teSt", b"") * MANY)
    end = b"\0\0\0\0IEND"
    pixels = png((8, 8)).replace(end, chunk(b"IDAT", b"") * MANY + end)
    yield "PNG, many chunks of pixels", pixels
    yield "PNG, many EXIF chunks", png((8, 8), before=chunk(b"eXIf", b"II*\0") * 60_000)


def gif_bombs() -> Iterator[tuple[str, bytes]]:
    clear = b"!\xf9\4\x08\0\0\0\0"  # clears the frame's area after it
    yield "GIF, 49 megapixels", flat_gif((7000, 7000))
    yield "GIF, cleared frame of 4 gigapixels", gif((8, 8), clear, (65535, 65535))
    yield "GIF, comment in bytes", gif((8, 8), b"!\xfe" + b"\1a" * 350_000 + b"\0")
    yield "GIF, many comments", gif((8, 8), b"!\xfe\1x\0" * 180_000)
    yield "GIF, 50000 frames", frames("GIF", 50_000)


def webp_bombs() -> Iterator[tuple[str, bytes]]:
    large = plain("red", (5000, 5000))
    canvas = "524946461600000057454250565038580a00000002000000ffffffffffff"
    yield "WebP, 25 megapixels, lossless", encoded(large, "WebP", lossless=True, method=0)
    yield "WebP, 25 megapixels", encoded(large, "WebP", method=0)
    yield "WebP, 65536 sets of codes", webp_codes()
    yield "WebP, many chunks", webp_chunks(b"test", b"", 100_000)
    yield "WebP, many EXIF chunks", webp_chunks(b"EXIF", b"II*\0", 70_000)
    yield "WebP, canvas of 2^48 pixels", bytes.fromhex(canvas)


def bmp_bombs() -> Iterator[tuple[str, bytes]]:
    nibbles = (b"\xff\1" * 10 + b"\0\0") * 2500
    yield "BMP, 49 megapixels in runs", bmp((7000, 7000), 1, b"\xff\1" * 190_000)
    yield "BMP, 6 megapixels in runs of 4 bits", bmp((2500, 2500), 2, nibbles, 4)
    yield "BMP, one step over 10 gigapixels", bmp((49_000_000, 1), 1, b"\0\2\xff\xff")
    yield "BMP, line ends", bmp((7_000, 1_000), 1, b"\1\1\0\0" * 1_000)


def jpeg_bombs() -> Iterator[tuple[str, bytes]]:
    yield "JPEG, 99 megapixels", large_jpeg((9900, 10000))
    yield "JPEG, 65535 x 1", encoded(plain("red", (65500, 1)), "JPEG")
    yield "JPEG, 65535 x 1500", large_jpeg((65500, 1500))
    yield "JPEG, thousands of scans", jpeg_of_scans((3000, 3000), 8_000)
    yield "JPEG, 49 scans", jpeg_of_scans((4200, 4200), 40)
    yield "JPEG, many segments", jpeg_segments(b"\xea", MANY * 2)
    yield "JPEG, many EXIF segments", jpeg_segments(b"\xe1Exif\0\0ab", MANY)
    yield "JPEG, cut before 99 megapixels", large_jpeg((9900, 10000))[:1000]


def large_jpeg(size: tuple[int, int]) -> bytes:
    """Return a grey JPEG of any size: all blocks are alike, so those of a small one repeat."""
    # One block of zeros takes 2 bits for its DC and 4 for its end with the usual tables (ITU T.81,
    # annex K), so that four of them take 3 bytes.
    content = encoded(Image.new("L", (64, 64), 128), "JPEG")
    at = content.rindex(b"\xff\xda")
    frame = content.index(b"\xff\xc0") + 5
    blocks = -(-size[0] // 8) * -(-size[1] // 8)
    head = content[:frame] + struct.pack(">HH", size[1], size[0]) + content[frame + 4 : at + 10]
    return head + content[at + 10 : at + 13] * (blocks // 4 + 1) + b"\xff\xd9"


# Kinds of small pictures: formats, and varieties of them.
KINDS = ("JPEG", "progressive", "PNG", "P", "WebP", "lossless", "GIF", "BMP", "runs")


def small_picture(kind: str) -> bytes:
    """Return a picture of 24 x 16 pixels of one of KINDS."""
    with Image.open(SAMPLE) as sample:
        picture = sample.resize((24, 16))
    if kind == "runs":
        return bmp((8, 8), 1, b"\x08\1\0\0" * 8 + b"\0\1")
    if kind == "progressive":
        return encoded(picture, "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0")
    if kind == "P":
        return encoded(picture.quantize(9), "PNG", transparency=2)
    if kind == "lossless":
        return encoded(picture.convert("RGBA"), "WebP", lossless=True)
    return encoded(picture, kind)


def corrupt(content: bytes, chance: random.Random) -> bytes:
    """Damage a file in one of the ways in which files break."""
    at, length, early = chance.randrange(len(content)), chance.randint(1, 40), chance.randrange(60)
    head, tail, noise = content[:at], content[at + length :], chance.randbytes(length)
    ways = (
        head,
        head + tail,
        head + bytes(length) + tail,
        head + noise + tail,
        head + noise + content[at:],
        content[:early] + noise[:1] + content[early + 1 :],
    )
    return chance.choice(ways)


_IMAGE = base64.b64encode(SAMPLE.read_bytes())
# Lines that a launcher gets, and a part of the error; empty for an answer.
LINES = [
    (b'{"value": {"image": ' + b"[" * 900 + b"]" * 900 + b"}}", "found a list"),
    (b'{"value": {"image": "a", "threshold": NaN}}', "threshold: expected a number"),
    (b'{"value": {"image": "%s", "topK": %s}}' % (_IMAGE, b"9" * 4000), ""),
    (b'{"value": {"image": "%s"}}' % (b"A" * 1_000_000), "not a picture"),
    (b'{"value": {"image": "%s"}}' % (b" " * 1_000_000), "found none"),
    (b'{"value": {"image": "data:image/jpeg;base64,%s"}}' % (b"%41" * 300_000), "not base64"),
    (b'{"value": {"image": "data:%s"}}' % (b"\\ud800" * 60), "expected a URL of the form"),
    (
        b'{"value": {"__ow_method": "post", "__ow_body": "-", "__ow_headers": '
        b'{"content-type": "multipart/form-data; boundary=\\"%s"}}}' % (b"a" * 750_000),
        "with a boundary, found none",
    ),
]
