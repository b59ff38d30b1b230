"""Bytes of a picture -> pixels of the model's size: sniff, check, decode, crop, resize, turn."""

from __future__ import annotations

import io
from math import ceil
from struct import error as StructError
from struct import unpack_from

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile, PngStream
from PIL.WebPImagePlugin import WebPImageFile

from action.request import ImageError, TooLargeError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray


MAX_PIXELS = 100_000_000
MEMORY = 56_000_000
"""Bytes that a picture may take while it is decoded. Of the 128 MB of OpenWhisk's smallest action
the process itself takes 35, the platform's proxy beside it 30 to 40."""
MAX_SCANS = 50
"""Each scan of a JPEG passes over all its coefficients, however few bytes it has. Encoders make
about ten."""
MAX_READS = 20_000
"""How often Pillow may read from a file: twice or three times per segment, chunk or block. Some
of them it joins, each to all before it."""

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2}
"""Bytes that Pillow takes per pixel, by mode: those not named here take 4."""
_LONG = "JPEG as long as this"
_WHOLE = 1 << 20
"""Largest picture, in pixels, that is converted as a whole."""


class _File(io.BytesIO):
    """The bytes of a picture, for a bounded number of reads."""

    _left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise TooLargeError(
                "too many parts: expected a picture in at most some thousand chunks or segments, "
                "found more; save it anew"
            )
        return super().read(size)


class _JpegFile(JpegImageFile):
    """Without its look into EXIF for a resolution, which loads the plugin for TIFF."""

    def _read_dpi_from_exif(self) -> None:
        pass


class _GifFile(GifImageFile):
    """The first frame: what follows it does not matter, so nothing is kept to clear it away."""

    @property
    def disposal_method(self) -> int:
        return 0

    @disposal_method.setter
    def disposal_method(self, value: int) -> None:
        pass


def _passed_over(stream: PngStream, position: int, length: int) -> bytes:
    return ImageFile._safe_read(stream.fp, length)  # type: ignore[arg-type]


# Colour profiles and texts may expand to 64 MB, and are not looked at.
for _chunk in ("iCCP", "iTXt", "tEXt", "zTXt"):
    setattr(PngStream, f"chunk_{_chunk}", _passed_over)

FORMATS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": _JpegFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": _GifFile,
    "BMP": BmpImageFile,
}
_ACCEPTED = ", ".join(FORMATS)

# The pixel count is checked below, with an error of our own.
Image.MAX_IMAGE_PIXELS = None

# First bytes of what is accepted, and of what people send by mistake (for a better error).
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"8BPS", "PSD"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"PK\x03\x04", "a zip file"),
    (b"\x1f\x8b", "gzip data"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML or SVG"),
    (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC"}

# EXIF orientation -> what puts the picture upright (CIPA DC-008, tag 0x0112).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_INTEGERS = {1: "B", 3: "H", 4: "I"}
"""TIFF's types of whole numbers, in the letters of `struct`."""


class Decoded:
    """Pixels for the model, and what the picture was: sizes are those of the file."""

    __slots__ = ("format", "height", "pixels", "width")

    def __init__(self, pixels: NDArray[np.uint8], format: str, width: int, height: int) -> None:
        self.pixels = pixels
        self.format = format
        self.width = width
        self.height = height


def sniff(data: bytes) -> str:
    """The picture's format by its first bytes, a key of FORMATS.

    Raises:
        UnsupportedError: any other format, named where it is known; or no picture at all.
    """
    found = ""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = "WebP"
    elif data[4:8] == b"ftyp":
        found = _BRANDS.get(data[8:12], "a video or HEIF file")
    else:
        found = next((name for magic, name in _MAGIC if data.startswith(magic)), "")
    if found in FORMATS:
        return found
    if found:
        raise UnsupportedError(f"unsupported format: expected {_ACCEPTED}, found {found}")
    raise UnsupportedError(
        f"not a picture: expected {_ACCEPTED}, found {len(data)} bytes that start with {data[:8]!r}"
    )


def decode(data: bytes, width: int, height: int, channels: int, crop: float) -> Decoded:
    """Turn an encoded picture into the pixels that a model looks at.

    The central square with `crop` times the shorter side is resized (bilinear, with antialiasing)
    in one step; EXIF orientation is applied to the small result, transparency becomes white.
    Of an animation, the first frame counts.

    Args:
        data: the file's bytes.
        width: of the result, in pixels.
        height: of the result, in pixels.
        channels: 3 for RGB, 1 for grey.
        crop: share of the shorter side to keep, 0 < crop <= 1.

    Returns:
        Pixels as uint8 of shape (height, width, channels), with the picture's format and size.

    Raises:
        ImageError: not a picture, an unsupported format, too many pixels, or broken.
    """
    name = sniff(data)
    try:
        # A BMP may be read run by run, but is refused if that would take too long.
        file = (io.BytesIO if name == "BMP" else _File)(data)
        with FORMATS[name](file) as picture:
            size = picture.size
            _check_pixels(*size)
            picture.decodermaxblock = len(data)  # read at once: not copied block by block
            pixels = _pixels(picture, data, name, (width, height, channels), crop)
    except ImageError:
        raise
    except MemoryError:
        raise TooLargeError(
            f"{name}: too large to decode in this action's memory; send it smaller"
        ) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken data
        reason = str(error).split("\n")[0][:100] or type(error).__name__
        raise ImageError(f"broken {name}: {reason}") from None
    return Decoded(pixels, name, *size)


def _check_pixels(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"expected a picture with pixels, found {width} x {height}")
    if width * height > MAX_PIXELS:
        raise TooLargeError(
            f"too many pixels: expected at most {MAX_PIXELS // 10**6} megapixels, "
            f"found {width} x {height} ({width * height / 1e6:.0f} megapixels)"
        )


def _check_memory(size: tuple[int, int], needed: int, kind: str) -> None:
    """Refuse a picture of `size` pixels, named `kind`, if decoding it takes over MEMORY bytes."""
    if needed > MEMORY:
        advice = "smaller" if kind == _LONG else "as a baseline JPEG, or smaller"
        pixels = size[0] * size[1] / 1e6
        raise TooLargeError(
            f"too many pixels for a {kind}: expected at most {pixels * MEMORY / needed:.1f} "
            f"megapixels, found {size[0]} x {size[1]} ({pixels:.1f} megapixels); "
            f"send it {advice}"
        )


def _pixels(
    picture: ImageFile.ImageFile, data: bytes, name: str, shape: tuple[int, int, int], crop: float
) -> NDArray[np.uint8]:
    width, height, channels = shape
    scale = max(width, height) / (crop * min(picture.size))
    if isinstance(picture, JpegImageFile):
        _load_jpeg(picture, data, scale)
        loaded: Image.Image = picture
    elif isinstance(picture, WebPImageFile):
        loaded = _load_webp(picture, data, scale)
    else:
        # Pillow aligns rows and keeps where each begins, its decoders take a few more: that counts
        # where rows are very short or very long.
        row = -(-picture.width * _STORED.get(picture.mode, 4) // 4) * 4 + 8
        needed = (picture.height + 4) * row
        if picture.tile and picture.tile[0][0] == "bmp_rle":  # by Python, copied, 0.1 us per pixel
            needed += (7 * picture.height + 256) * picture.width
        _check_memory(picture.size, needed, f"{name} of this kind ({picture.mode})")
        picture.load()
        loaded = picture
    orientation = _orientation(picture.info.get("exif", b""))
    size = (height, width) if orientation in _SIDEWAYS else (width, height)
    small = _on_white(_square(loaded, size, crop))
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    small = small.convert("RGB" if channels == 3 else "L")
    return np.asarray(small, np.uint8).reshape(height, width, channels)


def _load_jpeg(picture: JpegImageFile, data: bytes, scale: float) -> None:
    """Decode at 1/2, 1/4 or 1/8: as small as the crop still has the model's size."""
    size = picture.size
    # The file was read up to its first scan's data. Before that is the scan's header: marker,
    # length, number of components, 2 bytes for each, 3 more (ITU T.81, B.2.3).
    assert picture.fp
    layers = picture.layers
    begin = picture.fp.tell() - 8 - 2 * layers
    whole = data[begin : begin + 5] == bytes((0xFF, 0xDA, 0, 6 + 2 * layers, layers))
    if scale < 1:
        picture.draft(picture.mode, (int(size[0] * scale) + 1, int(size[1] * scale) + 1))
    needed = picture.width * picture.height * _STORED.get(picture.mode, 4)
    kind = _LONG
    if not whole or picture.info.get("progressive"):
        # All coefficients are kept until the last scan, at any scale.
        kind = "progressive JPEG"
        samplings = [across * down for _, across, down, _ in picture.layer]
        needed += 2 * size[0] * size[1] * sum(samplings) // max(samplings)
        scans = data.count(b"\xff\xda", begin)
        if scans > MAX_SCANS:
            raise TooLargeError(
                f"too many scans: expected at most {MAX_SCANS} in a progressive JPEG, found "
                f"{scans}; send it as a baseline JPEG"
            )
    _check_memory(size, needed, kind)
    picture.load()


def _load_webp(picture: WebPImageFile, data: bytes, scale: float) -> Image.Image:
    """Decode at 1/2, 1/3 ..., where the crop still has three times the model's size.

    libwebp averages squares of pixels: scaled down further, that would show.
    """
    size = picture.size
    pixels = size[0] * size[1]
    alpha, coding = picture.mode == "RGBA", data[12:16]
    kind = "WebP of this kind"
    get_still = getattr(picture._decoder, "get_still", None)  # our own addition to Pillow
    if get_still:
        # Lossy pictures are scaled with no regard to transparency.
        by = max(1, int(1 / (3 * scale))) if not alpha or coding == b"VP8L" else 1
        scaled = (ceil(size[0] / by), ceil(size[1] / by))
        needed = 4 * scaled[0] * scaled[1] + (0 if coding == b"VP8 " else 4 * pixels)
        _check_memory(size, needed, f"{kind} ({'transparent' if alpha else 'opaque'})")
        if still := _bounded(get_still, *scaled):
            mode = "RGBA" if alpha else "RGBX"
            return Image.frombuffer(mode, scaled, still, "raw", mode, 0, 1)
    _check_memory(size, 16 * pixels, kind)
    _bounded(picture.load)
    return picture


def _bounded(load: Callable[..., Any], *arguments: int) -> Any:
    """Call `load` while the process can allocate little more than MEMORY on top of what it has.

    What the tables of a lossless WebP take cannot be told from its head: up to 800 MB.
    """
    from resource import RLIMIT_DATA, getpagesize, getrlimit, setrlimit

    before = getrlimit(RLIMIT_DATA)
    with open("/proc/self/statm", "rb") as file:
        used = int(file.read().split()[5]) * getpagesize()
    most = min([used + MEMORY + 8_000_000, *(limit for limit in before if limit >= 0)])
    setrlimit(RLIMIT_DATA, (most, before[1]))
    try:
        return load(*arguments)
    finally:
        setrlimit(RLIMIT_DATA, before)


def _square(picture: Image.Image, size: tuple[int, int], crop: float) -> Image.Image:
    """The central square of `crop` times the shorter side in this size: L, RGB, RGBA or LA."""
    width, height = picture.size
    side = crop * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    right, bottom = left + side, top + side
    as_it_is = picture.mode in ("L", "RGB") and not picture.has_transparency_data
    if as_it_is or width * height <= _WHOLE or picture.mode in ("I", "F"):
        box = (left, top, right, bottom)
        return _plain(picture).resize(size, Image.Resampling.BILINEAR, box=box)
    # What has to be converted is, a strip of rows at a time, and made narrow. To make it low is the
    # second step of resizing anyway.
    left, right, first_column, last_column = _around(left, right, width, size[0])
    top, bottom, first, last = _around(top, bottom, height, size[1])
    strip = max(1, _WHOLE // 4 // (last_column - first_column))
    narrow = None
    for row in range(first, last, strip):
        part = _plain(picture.crop((first_column, row, last_column, min(row + strip, last))))
        if part.mode in ("RGBA", "LA"):
            part = part.convert(part.mode.replace("A", "a"))  # premultiplied
        box = (left, 0, right, part.height)
        part = part.resize((size[0], part.height), Image.Resampling.BILINEAR, box=box)
        narrow = narrow or Image.new(part.mode, (size[0], last - first))
        narrow.paste(part, (0, row - first))
    assert narrow
    box = (0, top, size[0], bottom)
    small = narrow.resize(size, Image.Resampling.BILINEAR, box=box)
    return small.convert(small.mode.upper()) if small.mode in ("RGBa", "La") else small


def _around(start: float, end: float, length: int, size: int) -> tuple[float, float, int, int]:
    """What resizing `start` to `end` of a row or column of `length` pixels to `size` looks at.

    Returns where that starts and ends among those pixels, and the first and past the last of them.
    """
    start, end = float(np.float32(start)), float(np.float32(end))  # as Pillow rounds them
    margin = (end - start) / size + 1
    first, last = max(0, int(start - margin)), min(length, ceil(end + margin))
    return start - first, end - first, first, last


def _orientation(exif: Any) -> int:
    """The orientation that EXIF data gives, or 1, upright, where it gives nothing sensible.

    Read here, since Pillow's way loads and parses much more (CIPA DC-008, section 4.6.2).
    """
    tiff = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = unpack_from(order + "I", tiff, 4)
        (entries,) = unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count = unpack_from(order + "HHI", tiff, entry)
            if tag == _ORIENTATION and count == 1 and kind in _INTEGERS:
                return int(unpack_from(order + _INTEGERS[kind], tiff, entry + 8)[0])
    except StructError:  # cut short, or absurd: that must not cost the answer
        pass
    return 1


def _plain(picture: Image.Image) -> Image.Image:
    """The picture in a mode that can be resized: L, RGB, RGBA or LA, 8 bits per channel."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _eight_bits(picture)
    if picture.mode in ("RGBa", "La"):
        return picture.convert(picture.mode.upper())
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey (also what Pillow keeps in 32 bits) -> L. A float picture counts as 0..1."""
    values = np.asarray(picture)
    if picture.mode == "F":
        brightest = np.fmax.reduce(values, axis=None, initial=0.0)
        values = values * 255.0 if brightest <= 1.0 else values
    elif picture.mode != "I" or values.max(initial=0) > 255:
        values = values >> 8
    # Unlike `clip`, these take the number of a number and a NaN.
    return Image.fromarray(np.fmin(np.fmax(values, 0), 255).astype(np.uint8))


def _on_white(small: Image.Image) -> Image.Image:
    if small.mode not in ("RGBA", "LA"):
        return small
    rgba = small.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba)
