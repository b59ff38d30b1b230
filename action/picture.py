"""Decode a picture's bytes to pixels of the model's size: decode, crop, resize, turn upright."""

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
from PIL.JpegImagePlugin import MARKER, SOF, JpegImageFile, Skip

from action import picture_limits as limits
from action.request import ImageError, TooLargeError, UnsupportedError

# Supported format -> its name in Pillow's modules and classes.
FORMATS = {"JPEG": "Jpeg", "PNG": "Png", "WebP": "WebP", "GIF": "Gif", "BMP": "Bmp"}
# Attributes of Pillow's readers that are replaced.
_OVERRIDES: dict[str, dict[str, object]] = {
    # Do not look for a resolution in EXIF data, which loads the plugin for TIFF.
    "JPEG": {"_read_dpi_from_exif": lambda picture: None},
    # Only the first frame is read: keep nothing to clear it before the second one.
    "GIF": {"disposal_method": property(lambda picture: 0, lambda picture, value: None)},
}
# Chunks of a PNG that may expand to 64 MB and are not needed: colour profiles and texts.
_SKIPPED_CHUNKS = ("iCCP", "iTXt", "tEXt", "zTXt")
# Chunks of a PNG whose checksums count. Others are passed over, and browsers do not check them.
_CHECKED_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf")
# First bytes of supported formats, and of what people send by mistake (for a better error).
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"),
    (b"GIF87a", "GIF"), (b"GIF89a", "GIF"), (b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"),
    (b"%PDF", "PDF"), (b"8BPS", "PSD"), (b"\x00\x00\x01\x00", "ICO"), (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"), (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"PK\x03\x04", "a zip file"), (b"\x1f\x8b", "gzip data"), (b"<svg", "SVG"),
    (b"<?xml", "XML or SVG"), (b"<!DOCTYPE", "HTML"), (b"<html", "HTML"),
    (b"{", "JSON text: send it as application/json"), (b"[", "JSON text"),
    (b"data:", "the text of a data: URL"),
    (b"/9j/", "base64 of a JPEG: decode it"), (b"iVBORw0K", "base64 of a PNG: decode it"),
    (b"UklGR", "base64 of a WebP: decode it"), (b"R0lGOD", "base64 of a GIF: decode it"),
)  # fmt: skip
_HEIC = (
    "HEIC: save it as JPEG; on an iPhone, Settings > Camera > Formats > Most Compatible takes JPEG"
)
# The brands of ISO media files: ISO/IEC 23008-12, annex B, and AV1's image format.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), _HEIC
)
# Kinds of JPEG by the marker of their frame (ITU-T T.81, table B.1; JPEG-LS: T.87).
_JPEG_KINDS = {
    0xC3: "a lossless JPEG", 0xC5: "a hierarchical JPEG", 0xC6: "a hierarchical JPEG",
    0xC7: "a hierarchical JPEG", 0xC9: "a JPEG with arithmetic coding",
    0xCA: "a JPEG with arithmetic coding", 0xCB: "a lossless JPEG", 0xF7: "a JPEG-LS",
}  # fmt: skip
_BILINEAR = Image.Resampling.BILINEAR
# Bytes of a pixel with colours, as Pillow keeps it.
_PIXEL_BYTES = 4
# Larger pictures are converted strip by strip, to save memory.
_MAX_WHOLE_PIXELS = 1 << 20
# A WebP is decoded to at least this many times the model's size. libwebp scales by averaging
# squares of pixels, whose effect would show at a smaller size.
_WEBP_MARGIN = 3
# EXIF's orientation tag (CIPA DC-008, section 4.6.4), and what turns each value upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_90,
}  # fmt: skip
_SIDEWAYS = (5, 6, 7, 8)
# TIFF's integer types, as format letters of `struct`.
_INTEGERS = {1: "B", 3: "H", 4: "I"}

Image.MAX_IMAGE_PIXELS = None  # picture_limits.py checks them, with an error of its own

# pixels: for the model, uint8; format, width, height: of the file.
DecodedPicture = namedtuple("DecodedPicture", "pixels format width height")


def decode(
    data: bytes,
    width: int,
    height: int,
    channels: int,
    crop: float,
    memory: int = limits.MEMORY,
    fit: str = "crop",
) -> DecodedPicture:
    """Decode a picture to the pixels that a model takes.

    It is resized (bilinear, with antialiasing) in one step; EXIF orientation is applied to the
    small result, transparency becomes white. Of an animation, the first frame is decoded.

    Args:
        data: the picture's bytes.
        width: of the result, in pixels.
        height: of the result, in pixels.
        channels: of the result: 3 for RGB, 1 for grey.
        crop: what is kept of the largest central part, as a share of its sides, above 0 and up to
            1; 1 unless `fit` is "crop".
        memory: bytes that decoding may take.
        fit: what of the picture is resized: "crop" for the central part in the result's aspect
            ratio; "squash" for all of it, in any ratio; "pad" for all of it, in its own ratio with
            black bars; "inside" as "pad", but without bars: the result is smaller.

    Returns:
        Pixels as uint8 of shape (height, width, channels), with the picture's format and size.

    Raises:
        ImageError: not a picture, an unsupported format, too many pixels, or broken.
    """
    name = sniff_format(data)
    open_picture = pillow_reader(name)
    # Pillow reads a BMP run by run: its number of runs is limited by check_rows.
    file = (io.BytesIO if name == "BMP" else limits.BoundedFile)(data)
    try:
        with open_picture(file) as picture:
            size = picture.size
            limits.check_pixels(*size)
            picture.decodermaxblock = len(data)  # read at once instead of copying block by block
            scale = max(width, height) / (crop * min(size))
            if picture.mode == "P" or "transparency" in picture.info:
                # Besides these, _resize keeps their rows in colour, resized in width only.
                memory -= int(_PIXEL_BYTES * width * crop * min(size))
            loaded = _load_scaled(picture, data, name, scale, memory)
            orientation = _read_orientation(picture.info.get("exif", b""))
            target = (height, width) if orientation in _SIDEWAYS else (width, height)
            inner = _inner_size(size, target) if fit in ("pad", "inside") else target
            whole = loaded.size  # a draft's is smaller
            region = _crop_region(whole, target, crop) if fit == "crop" else (0, 0, *whole)
            small = _composite_on_white(_resize(loaded, inner, region))
            if fit == "pad":
                small = _pad(small, target)
            if orientation in _UPRIGHT:
                small = small.transpose(_UPRIGHT[orientation])
            pixels = np.asarray(small.convert("RGB" if channels == 3 else "L"), np.uint8)
    except ImageError:
        raise
    except MemoryError:
        text = f"{name}: too large to decode in this action's memory; send it smaller"
        raise TooLargeError(text) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken data
        raise ImageError(f"broken {name}: {_translate_error(error)}") from None
    return DecodedPicture(pixels.reshape(*pixels.shape[:2], channels), name, *size)


def sniff_format(data: bytes) -> str:
    """Return a picture's format, a key of FORMATS, by its first bytes; raise UnsupportedError."""
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
    """Return Pillow's reader for a format, a key of FORMATS; import it for its first picture."""
    plugin = import_module(f"PIL.{FORMATS[name]}ImagePlugin")
    if name == "PNG":
        for chunk in _SKIPPED_CHUNKS:
            setattr(plugin.PngStream, f"chunk_{chunk}", _skip_chunk)
        plugin.PngStream.chunk_CgBI = _refuse_cgbi
        base = plugin.ChunkStream
        plugin.PngStream.crc = lambda stream, chunk, data: (
            base.crc if chunk in _CHECKED_CHUNKS else base.crc_skip
        )(stream, chunk, data)
    reader: type[ImageFile] = getattr(plugin, f"{FORMATS[name]}ImageFile")
    return type(reader.__name__, (reader,), _OVERRIDES.get(name, {}))


def _unsupported(kind: str) -> UnsupportedError:
    text = f"expected {', '.join(FORMATS)}, found {kind}; save it as JPEG or PNG"
    return UnsupportedError(f"unsupported format: {text}")


def _read_frame(picture: JpegImageFile, marker: int) -> None:
    """Read a JPEG's frame header as Pillow does; raise UnsupportedError for whole other kinds.

    Ready-made wheels decode some of them.
    """
    assert picture.fp
    start = picture.fp.tell()
    bits, height = unpack_from(">2xBH", _safe_read(picture.fp, 5))
    kind = _JPEG_KINDS.get(marker & 0xFF, "")
    if not kind and bits != 8:
        kind = f"a JPEG of {bits} bits per sample"
    elif not kind and not height:
        kind = "a JPEG that gives its height after its pixels (DNL)"
    if kind:
        raise _unsupported(kind)
    picture.fp.seek(start)
    SOF(picture, marker)


def _read_scan(picture: JpegImageFile, marker: int) -> None:
    """Read the header of a JPEG's first scan as Pillow does, and note where it starts."""
    assert picture.fp
    picture.info["scan"] = picture.fp.tell()
    Skip(picture, marker)


for _marker in (0xC0, 0xC1, 0xC2, *_JPEG_KINDS):
    MARKER[0xFF00 + _marker] = ("", "", _read_frame)  # type: ignore[assignment]
MARKER[0xFFDA] = ("", "", _read_scan)  # type: ignore[assignment]


def _refuse_cgbi(stream: object, position: int, length: int) -> bytes:
    raise _unsupported("Apple's own form of a PNG (CgBI)")


def _skip_chunk(stream: object, position: int, length: int) -> bytes:
    return _safe_read(stream.fp, length)  # type: ignore[attr-defined]


def _translate_error(error: Exception) -> str:
    """Translate a decoder's error for the client."""
    text = str(error).lower()
    if isinstance(error, EOFError) or "truncat" in text:
        return "the file ends before the picture does; send the whole file"
    if "support" in text:
        return "of a kind that cannot be read here; save it as JPEG or PNG"
    return "its data is damaged; send it again, or re-save it"


def _load_scaled(
    picture: ImageFile, data: bytes, name: str, scale: float, memory: int
) -> Image.Image:
    """Decode at no less than `scale` times the picture's size, or in full if the format can't."""
    size = picture.size
    if size[0] * size[1] > _MAX_WHOLE_PIXELS:
        limits.return_large_blocks()
    if isinstance(picture, JpegImageFile):  # scales to 1/2, 1/4 or 1/8
        if scale < 1:
            picture.draft(picture.mode, (int(size[0] * scale) + 1, int(size[1] * scale) + 1))
        limits.check_jpeg(picture, size, data, memory)
    elif name == "WebP":
        return _load_webp(picture, data, scale, memory)
    else:
        limits.check_rows(picture, name, memory)
    picture.load()
    if name == "BMP" and picture.mode == "RGBA" and not picture.getbbox():
        picture.putalpha(255)  # not transparent: the fourth byte is unused padding
    return picture


def _load_webp(picture: ImageFile, data: bytes, scale: float, memory: int) -> Image.Image:
    """Decode at 1/2, 1/3 ..., where the crop still has _WEBP_MARGIN times the model's size."""
    size = picture.size
    get_still = getattr(picture._decoder, "get_still", None)  # type: ignore[attr-defined]
    if get_still:  # our own addition to Pillow, which wheels lack
        alpha = picture.mode == "RGBA"
        # libwebp ignores transparency when it scales lossy pictures: these are decoded in full.
        in_full = alpha and data[12:16] != b"VP8L"
        divisor = 1 if in_full else max(1, int(1 / (_WEBP_MARGIN * scale)))
        scaled = (ceil(size[0] / divisor), ceil(size[1] / divisor))
        limits.check_webp(size, scaled, data, alpha, memory)
        if still := limits.call_with_memory_limit(memory, get_still, *scaled):
            mode = "RGBA" if alpha else "RGBX"
            return Image.frombuffer(mode, scaled, still, "raw", mode, 0, 1)  # type: ignore[arg-type]
    needed = limits.WEBP * size[0] * size[1]
    limits.check_memory(size, needed, memory, "WebP of this kind")
    limits.call_with_memory_limit(memory, picture.load)
    return picture


def _crop_region(
    size: tuple[int, int], target: tuple[int, int], crop: float
) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the central part in the aspect ratio of `target`."""
    width = crop * min(size[0], size[1] * target[0] / target[1])
    height = crop * min(size[1], size[0] * target[1] / target[0])
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _inner_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size within `target` that has the aspect ratio of `size`."""
    scale = min(target[0] / size[0], target[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _pad(small: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Put a picture in the middle of a black one."""
    padded = Image.new(small.mode, target)
    padded.paste(small, ((target[0] - small.width) // 2, (target[1] - small.height) // 2))
    return padded


def _resize(
    picture: Image.Image, size: tuple[int, int], region: tuple[float, float, float, float]
) -> Image.Image:
    """Resize a region (left, top, right, bottom) of a picture; return L, RGB or RGBA."""
    width, height = picture.size
    left, top, right, bottom = region
    needs_no_conversion = picture.mode in ("L", "RGB") and not picture.has_transparency_data
    if needs_no_conversion or width * height <= _MAX_WHOLE_PIXELS:
        return _convert_mode(picture).resize(size, _BILINEAR, region)
    # Convert strip by strip and resize each strip's width. Pillow resizes the height in a second
    # step anyway.
    left, right, first_column, last_column = _source_range(left, right, width, size[0])
    top, bottom, first, last = _source_range(top, bottom, height, size[1])
    strip = max(1, _MAX_WHOLE_PIXELS // 4 // (last_column - first_column))
    narrow = None
    for row in range(first, last, strip):
        part = _convert_mode(picture.crop((first_column, row, last_column, min(row + strip, last))))
        part = part.convert("RGBa") if part.mode == "RGBA" else part  # premultiplied
        part = part.resize((size[0], part.height), _BILINEAR, (left, 0, right, part.height))
        narrow = narrow or Image.new(part.mode, (size[0], last - first))
        narrow.paste(part, (0, row - first))
    assert narrow
    small = narrow.resize(size, _BILINEAR, (0, top, size[0], bottom))
    return small.convert("RGBA") if small.mode == "RGBa" else small


def _source_range(
    start: float, end: float, length: int, size: int
) -> tuple[float, float, int, int]:
    """Return which of a row's `length` pixels matter to resize `start` to `end` to `size` pixels.

    Returns `start` and `end` relative to these pixels, the first of them, and one past the last.
    """
    start, end = float(np.float32(start)), float(np.float32(end))  # as Pillow rounds them
    margin = (end - start) / size + 1
    first, last = max(0, int(start - margin)), min(length, ceil(end + margin))
    return start - first, end - first, first, last


def _read_orientation(exif: object) -> int:
    """Return the orientation in EXIF data, or 1 (upright) if it is missing or invalid."""
    # Parsed here (CIPA DC-008, section 4.6.2), since Pillow would load and parse much more.
    tiff = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[tiff[:4]]
        (start,) = unpack_from(order + "I", tiff, 4)
        (entries,) = unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count = unpack_from(order + "HHI", tiff, entry)
            if tag == _ORIENTATION and count == 1 and kind in _INTEGERS:
                return int(unpack_from(order + _INTEGERS[kind], tiff, entry + 8)[0])
    except (KeyError, StructError):  # missing, truncated or invalid: classify the picture anyway
        pass
    return 1


def _convert_mode(picture: Image.Image) -> Image.Image:
    """Convert to a mode that can be resized, of 8 bits per channel: L, RGB or RGBA."""
    if picture.mode == "I;16":  # Pillow's conversion would clip at 255
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _composite_on_white(small: Image.Image) -> Image.Image:
    if small.mode != "RGBA":
        return small
    if not small.getbbox():
        text = "expected a picture, found one that is transparent wherever the model looks"
        raise ImageError(f"nothing to see: {text}; put it on a background")
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
