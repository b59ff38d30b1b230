"""Bytes of a picture -> pixels of the model's size: decode, crop, resize, turn upright."""

import io
from collections import namedtuple
from functools import cache
from importlib import import_module
from math import ceil
from struct import error as StructError
from struct import unpack_from

import numpy as np
from PIL import Image
from PIL.Image import Transpose as Turn
from PIL.ImageFile import ImageFile, _safe_read
from PIL.JpegImagePlugin import JpegImageFile

from action import picture_limits as limits
from action.request import ImageError, TooLargeError, UnsupportedError

# What is accepted -> Pillow's name of it, in its modules and classes.
FORMATS = {"JPEG": "Jpeg", "PNG": "Png", "WebP": "WebP", "GIF": "Gif", "BMP": "Bmp"}
_CHANGES: dict[str, dict[str, object]] = {
    # Without its look into EXIF for a resolution, which loads the plugin for TIFF.
    "JPEG": {"_read_dpi_from_exif": lambda picture: None},
    # The first frame: what follows it does not matter, and nothing is kept to clear it away.
    "GIF": {"disposal_method": property(lambda picture: 0, lambda picture, value: None)},
}
# Chunks of a PNG that may expand to 64 MB, and are not looked at: colour profiles and texts.
_PASSED_OVER = ("iCCP", "iTXt", "tEXt", "zTXt")
# First bytes of what is accepted, and of what people send by mistake (for a better error).
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"),
    (b"GIF87a", "GIF"), (b"GIF89a", "GIF"), (b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"),
    (b"%PDF", "PDF"), (b"8BPS", "PSD"), (b"\x00\x00\x01\x00", "ICO"), (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"), (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"PK\x03\x04", "a zip file"), (b"\x1f\x8b", "gzip data"), (b"<svg", "SVG"),
    (b"<?xml", "XML or SVG"), (b"<!DOCTYPE", "HTML"), (b"<html", "HTML"),
)  # fmt: skip
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC"}
_BILINEAR = Image.Resampling.BILINEAR
_WHOLE = 1 << 20  # pixels of the largest picture that is converted as a whole
# How many times the model's size a WebP is decoded to, at least: libwebp averages squares of
# pixels; scaled down further by that, it would show.
_WEBP_MARGIN = 3
# EXIF's tag (CIPA DC-008, section 4.6.4), and what puts a picture of each value upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_90,
}  # fmt: skip
_SIDEWAYS = (5, 6, 7, 8)
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # TIFF's types of whole numbers, in the letters of `struct`

Image.MAX_IMAGE_PIXELS = None  # picture_limits.py counts them, with an error of our own


DecodedPicture = namedtuple("DecodedPicture", "pixels format width height")
"""Pixels for the model, and what the picture was: its size is that of the file, in pixels."""


def decode(data: bytes, width: int, height: int, channels: int, crop: float) -> DecodedPicture:
    """Turn an encoded picture into the pixels that a model looks at.

    The central square with `crop` (above 0, up to 1) times the shorter side is resized (bilinear,
    with antialiasing) in one step; EXIF orientation is applied to the small result, transparency
    becomes white. Of an animation, the first frame counts.

    Returns:
        Pixels as uint8 of shape (height, width, channels), the last 3 for RGB or 1 for grey, with
        the picture's format and size.

    Raises:
        ImageError: not a picture, an unsupported format, too many pixels, or broken.
    """
    name = sniff_format(data)
    read = pillow_reader(name)
    # A BMP may be read run by run, but is refused if that would take too long.
    file = (io.BytesIO if name == "BMP" else limits.BoundedFile)(data)
    try:
        with read(file) as picture:
            size = picture.size
            limits.check_pixels(*size)
            picture.decodermaxblock = len(data)  # read at once: not copied block by block
            loaded = _loaded(picture, data, name, max(width, height) / (crop * min(size)))
            turn = _orientation(picture.info.get("exif", b""))
            box = (height, width) if turn in _SIDEWAYS else (width, height)
            small = _on_white(_square(loaded, box, crop))
            small = small.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else small
            pixels = np.asarray(small.convert("RGB" if channels == 3 else "L"), np.uint8)
    except ImageError:
        raise
    except MemoryError:
        text = f"{name}: too large to decode in this action's memory; send it smaller"
        raise TooLargeError(text) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken data
        raise ImageError(f"broken {name}: {_cause(error)}") from None
    return DecodedPicture(pixels.reshape(height, width, channels), name, *size)


def sniff_format(data: bytes) -> str:
    """The picture's format by its first bytes, a key of FORMATS; UnsupportedError for others."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        name = _BRANDS.get(data[8:12], "a video or HEIF file")
    else:
        name = next((name for magic, name in _MAGIC if data.startswith(magic)), "")
    if name in FORMATS:
        return name
    problem = "unsupported format" if name else "not a picture"
    name = name or f"{len(data)} bytes that start with {data[:8]!r}"
    raise UnsupportedError(f"{problem}: expected {', '.join(FORMATS)}, found {name}")


@cache
def pillow_reader(name: str) -> type[ImageFile]:
    """Pillow's reader of a format, a key of FORMATS; imports it when the first picture comes."""
    plugin = import_module(f"PIL.{FORMATS[name]}ImagePlugin")
    if name == "PNG":
        for chunk in _PASSED_OVER:
            setattr(plugin.PngStream, f"chunk_{chunk}", _pass_over)
    base: type[ImageFile] = getattr(plugin, f"{FORMATS[name]}ImageFile")
    return type(base.__name__, (base,), _CHANGES.get(name, {}))


def _pass_over(stream: object, position: int, length: int) -> bytes:
    return _safe_read(stream.fp, length)  # type: ignore[attr-defined]


def _cause(error: Exception) -> str:
    """In the client's words what a decoder, in its own, finds wrong."""
    text = str(error).lower()
    if isinstance(error, EOFError) or "truncat" in text:
        return "the file ends before the picture does; send it whole"
    if "support" in text:
        return "of a kind that cannot be read here; save it anew, as JPEG or PNG"
    return "its data is damaged; send it again, or save it anew"


def _loaded(picture: ImageFile, data: bytes, name: str, scale: float) -> Image.Image:
    """The picture decoded, no smaller than `scale` of its size where the format allows that."""
    size = picture.size
    if isinstance(picture, JpegImageFile):  # at 1/2, 1/4 or 1/8
        if scale < 1:
            picture.draft(picture.mode, (int(size[0] * scale) + 1, int(size[1] * scale) + 1))
        limits.check_jpeg(picture, size, data)
    elif name == "WebP":
        return _loaded_webp(picture, data, scale)
    else:
        limits.check_rows(picture, name)
    picture.load()
    if name == "BMP" and picture.mode == "RGBA" and not picture.getbbox():
        picture.putalpha(255)  # no transparency, but a byte that nobody filled
    return picture


def _loaded_webp(picture: ImageFile, data: bytes, scale: float) -> Image.Image:
    """Decode at 1/2, 1/3 ..., where the crop still has _WEBP_MARGIN times the model's size."""
    size = picture.size
    get_still = getattr(picture._decoder, "get_still", None)  # type: ignore[attr-defined]
    if get_still:  # our own addition to Pillow
        # Lossy pictures are scaled with no regard to transparency.
        alpha = picture.mode == "RGBA"
        whole = alpha and data[12:16] != b"VP8L"
        by = 1 if whole else max(1, int(1 / (_WEBP_MARGIN * scale)))
        scaled = (ceil(size[0] / by), ceil(size[1] / by))
        limits.check_webp(size, scaled, data, alpha)
        if still := limits.bounded(get_still, *scaled):
            mode = "RGBA" if alpha else "RGBX"
            return Image.frombuffer(mode, scaled, still, "raw", mode, 0, 1)  # type: ignore[arg-type]
    limits.check_memory(size, limits.WEBP * size[0] * size[1], "WebP of this kind")
    limits.bounded(picture.load)
    return picture


def _square(picture: Image.Image, size: tuple[int, int], crop: float) -> Image.Image:
    """The central square of `crop` times the shorter side in this size: L, RGB or RGBA."""
    width, height = picture.size
    side = crop * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    right, bottom = left + side, top + side
    as_it_is = picture.mode in ("L", "RGB") and not picture.has_transparency_data
    if as_it_is or width * height <= _WHOLE:
        return _plain(picture).resize(size, _BILINEAR, (left, top, right, bottom))
    # Converted strip by strip, and made narrow; to make it low is resizing's second step anyway.
    left, right, first_column, last_column = _around(left, right, width, size[0])
    top, bottom, first, last = _around(top, bottom, height, size[1])
    strip = max(1, _WHOLE // 4 // (last_column - first_column))
    narrow = None
    for row in range(first, last, strip):
        part = _plain(picture.crop((first_column, row, last_column, min(row + strip, last))))
        part = part.convert("RGBa") if part.mode == "RGBA" else part  # premultiplied
        part = part.resize((size[0], part.height), _BILINEAR, (left, 0, right, part.height))
        narrow = narrow or Image.new(part.mode, (size[0], last - first))
        narrow.paste(part, (0, row - first))
    assert narrow
    small = narrow.resize(size, _BILINEAR, (0, top, size[0], bottom))
    return small.convert("RGBA") if small.mode == "RGBa" else small


def _around(start: float, end: float, length: int, size: int) -> tuple[float, float, int, int]:
    """Which of a row's `length` pixels resizing `start` to `end` to `size` pixels looks at.

    Returns where that starts and ends among those, and the first and past the last of them.
    """
    start, end = float(np.float32(start)), float(np.float32(end))  # as Pillow rounds them
    margin = (end - start) / size + 1
    first, last = max(0, int(start - margin)), min(length, ceil(end + margin))
    return start - first, end - first, first, last


def _orientation(exif: object) -> int:
    """The orientation that EXIF data gives, or 1, upright, where it gives nothing sensible."""
    # Read here (CIPA DC-008, section 4.6.2), since Pillow's way loads and parses much more.
    tiff = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[tiff[:4]]
        (start,) = unpack_from(order + "I", tiff, 4)
        (entries,) = unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count = unpack_from(order + "HHI", tiff, entry)
            if tag == _ORIENTATION and count == 1 and kind in _INTEGERS:
                return int(unpack_from(order + _INTEGERS[kind], tiff, entry + 8)[0])
    except (KeyError, StructError):  # none, cut short, or absurd: that must not cost the answer
        pass
    return 1


def _plain(picture: Image.Image) -> Image.Image:
    """The picture in a mode that can be resized, of 8 bits per channel: L, RGB or RGBA."""
    if picture.mode == "I;16":  # Pillow itself would cut off what is above 255
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _on_white(small: Image.Image) -> Image.Image:
    if small.mode != "RGBA":
        return small
    if not small.getbbox():
        text = "expected a picture, found one that is transparent wherever the model looks"
        raise ImageError(f"nothing to see: {text}; put it on a background")
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
