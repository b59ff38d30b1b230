"""Bytes of a picture -> pixels of the model's size: sniff, check, decode, crop, resize, turn."""

from __future__ import annotations

import io
from struct import error as StructError
from struct import unpack_from

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from action.request import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


class _JpegFile(JpegImageFile):
    """Without its look into EXIF for a resolution, which loads the plugin for TIFF."""

    def _read_dpi_from_exif(self) -> None:
        pass


MAX_PIXELS = 100_000_000
MAX_BUFFERED = 75_000_000
"""Largest JPEG that comes in several scans (a progressive one), in bytes of coefficients: they
are all kept until the last scan, at any scale."""

FORMATS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": _JpegFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
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
        ImageError: any other format, named where it is known; or no picture at all.
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
        raise ImageError(f"unsupported format: expected {_ACCEPTED}, found {found}")
    raise ImageError(
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
        with FORMATS[name](io.BytesIO(data)) as picture:
            size = picture.size
            _check_pixels(*size)
            if isinstance(picture, JpegImageFile):
                _check_scans(picture, data)
            picture.decodermaxblock = len(data)  # read at once: not copied block by block
            pixels = _pixels(picture, width, height, channels, crop)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(
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
        raise ImageError(
            f"too many pixels: expected at most {MAX_PIXELS // 10**6} megapixels, "
            f"found {width} x {height} ({width * height / 1e6:.0f} megapixels)"
        )


def _check_scans(picture: JpegImageFile, data: bytes) -> None:
    # The file was read up to its first scan's data. Before that is the scan's header: marker,
    # length, number of components, 2 bytes for each, 3 more (ITU T.81, B.2.3).
    assert picture.fp
    layers = picture.layers
    begin = picture.fp.tell() - 8 - 2 * layers
    whole = data[begin : begin + 5] == bytes((0xFF, 0xDA, 0, 6 + 2 * layers, layers))
    if whole and not picture.info.get("progressive"):
        return
    samplings = [across * down for _, across, down, _ in picture.layer]
    buffered = 2 * picture.width * picture.height * sum(samplings) // max(samplings)
    if buffered > MAX_BUFFERED:
        pixels = picture.width * picture.height / 1e6
        most = pixels * MAX_BUFFERED / buffered
        raise ImageError(
            f"too many pixels for a progressive JPEG: expected at most {most:.0f} megapixels, "
            f"found {picture.width} x {picture.height} ({pixels:.0f} megapixels); "
            "send it as a baseline JPEG, or smaller"
        )


def _pixels(
    picture: ImageFile.ImageFile, width: int, height: int, channels: int, crop: float
) -> NDArray[np.uint8]:
    # A JPEG can be decoded at 1/2, 1/4 or 1/8: as small as the crop still has the model's size.
    scale = max(width, height) / (crop * min(picture.size))
    if scale < 1:
        wanted = (int(picture.width * scale) + 1, int(picture.height * scale) + 1)
        picture.draft(picture.mode, wanted)
    picture.load()
    orientation = _orientation(picture.info.get("exif", b""))
    size = (height, width) if orientation in _SIDEWAYS else (width, height)
    plain = _plain(picture)
    side = crop * min(plain.size)
    left, top = (plain.width - side) / 2, (plain.height - side) / 2
    box = (left, top, left + side, top + side)
    small = _on_white(plain.resize(size, Image.Resampling.BILINEAR, box=box))
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    small = small.convert("RGB" if channels == 3 else "L")
    return np.asarray(small, np.uint8).reshape(height, width, channels)


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
