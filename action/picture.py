"""Bytes of a picture -> pixels of the model's size: decode, crop, resize, turn upright."""

from __future__ import annotations

import io
from math import ceil
from struct import error as StructError
from struct import unpack_from

import numpy as np
from PIL import Image
from PIL.Image import Transpose as Turn
from PIL.JpegImagePlugin import JpegImageFile

from action import picture_cost as cost
from action.picture_format import FORMATS, sniff
from action.request import ImageError, TooLargeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

_WHOLE = 1 << 20
"""Largest picture, in pixels, that is converted as a whole."""
_WEBP_MARGIN = 3
"""How many times the model's size a WebP is decoded to, at least: libwebp averages squares of
pixels; scaled down further by that, it would show."""
_ORIENTATION = 0x0112
"""EXIF's tag (CIPA DC-008, section 4.6.4), and what puts a picture of each value upright."""
_UPRIGHT = {
    2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_90,
}  # fmt: skip
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
    read = FORMATS[name]()
    try:
        # A BMP may be read run by run, but is refused if that would take too long.
        file = (io.BytesIO if name == "BMP" else cost.BoundedFile)(data)
        with read(file) as picture:
            size = picture.size
            cost.check_pixels(*size)
            picture.decodermaxblock = len(data)  # read at once: not copied block by block
            pixels = _pixels(picture, data, name, (width, height, channels), crop)
    except ImageError:
        raise
    except MemoryError:
        raise TooLargeError(
            f"{name}: too large to decode in this action's memory; send it smaller"
        ) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken data
        raise ImageError(f"broken {name}: {_cause(error)}") from None
    return Decoded(pixels, name, *size)


def _cause(error: Exception) -> str:
    """In the client's words what a decoder, in its own, finds wrong."""
    text = str(error).lower()
    if isinstance(error, EOFError) or "truncat" in text:
        return "the file ends before the picture does; send it whole"
    if "support" in text:
        return "of a kind that cannot be read here; save it anew, as JPEG or PNG"
    return "its data is damaged; send it again, or save it anew"


def _pixels(
    picture: ImageFile, data: bytes, name: str, shape: tuple[int, int, int], crop: float
) -> NDArray[np.uint8]:
    width, height, channels = shape
    scale = max(width, height) / (crop * min(picture.size))
    if isinstance(picture, JpegImageFile):
        _load_jpeg(picture, data, scale)
        loaded: Image.Image = picture
    elif name == "WebP":
        loaded = _load_webp(picture, data, scale)
    else:
        cost.check_rows(picture, name)
        picture.load()
        if name == "BMP" and picture.mode == "RGBA" and not picture.getbbox():
            picture.putalpha(255)  # no transparency, but a byte that nobody filled
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
    if scale < 1:
        picture.draft(picture.mode, (int(size[0] * scale) + 1, int(size[1] * scale) + 1))
    cost.check_jpeg(picture, size, data)
    picture.load()


def _load_webp(picture: ImageFile, data: bytes, scale: float) -> Image.Image:
    """Decode at 1/2, 1/3 ..., where the crop still has _WEBP_MARGIN times the model's size."""
    size = picture.size
    decoder: Any = picture._decoder  # type: ignore[attr-defined]
    get_still = getattr(decoder, "get_still", None)  # our own addition to Pillow
    if get_still:
        # Lossy pictures are scaled with no regard to transparency.
        alpha = picture.mode == "RGBA"
        whole = alpha and data[12:16] != b"VP8L"
        by = 1 if whole else max(1, int(1 / (_WEBP_MARGIN * scale)))
        scaled = (ceil(size[0] / by), ceil(size[1] / by))
        cost.check_webp(size, scaled, data, alpha)
        if still := cost.bounded(get_still, *scaled):
            mode = "RGBA" if alpha else "RGBX"
            return Image.frombuffer(mode, scaled, still, "raw", mode, 0, 1)
    cost.check_whole_webp(size)
    cost.bounded(picture.load)
    return picture


def _square(picture: Image.Image, size: tuple[int, int], crop: float) -> Image.Image:
    """The central square of `crop` times the shorter side in this size: L, RGB or RGBA."""
    width, height = picture.size
    side = crop * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    right, bottom = left + side, top + side
    as_it_is = picture.mode in ("L", "RGB") and not picture.has_transparency_data
    if as_it_is or width * height <= _WHOLE:
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
        if part.mode == "RGBA":
            part = part.convert("RGBa")  # premultiplied
        box = (left, 0, right, part.height)
        part = part.resize((size[0], part.height), Image.Resampling.BILINEAR, box=box)
        narrow = narrow or Image.new(part.mode, (size[0], last - first))
        narrow.paste(part, (0, row - first))
    assert narrow
    box = (0, top, size[0], bottom)
    small = narrow.resize(size, Image.Resampling.BILINEAR, box=box)
    return small.convert("RGBA") if small.mode == "RGBa" else small


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
        raise ImageError(
            "nothing to see: expected a picture, found one that is transparent wherever the model "
            "looks; put it on a background"
        )
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
