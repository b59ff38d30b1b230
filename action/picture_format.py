"""Which formats are taken, by a file's first bytes, and Pillow's readers of them, made frugal."""

from __future__ import annotations

from functools import cache

from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from action.request import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = type[ImageFile.ImageFile]

_PASSED_OVER = ("iCCP", "iTXt", "tEXt", "zTXt")
"""Chunks of a PNG that may expand to 64 MB, and are not looked at: colour profiles and texts."""

Image.MAX_IMAGE_PIXELS = None  # picture_cost.py counts them, with an error of our own


class _JpegFile(JpegImageFile):
    """Without its look into EXIF for a resolution, which loads the plugin for TIFF."""

    def _read_dpi_from_exif(self) -> None:
        pass


# Each of the others is imported when the first picture of its kind comes, not at each start.


@cache
def _png() -> Reader:
    from PIL.PngImagePlugin import PngImageFile, PngStream

    def passed_over(stream: PngStream, position: int, length: int) -> bytes:
        return ImageFile._safe_read(stream.fp, length)  # type: ignore[arg-type]

    for chunk in _PASSED_OVER:
        setattr(PngStream, f"chunk_{chunk}", passed_over)
    return PngImageFile


@cache
def _webp() -> Reader:
    from PIL.WebPImagePlugin import WebPImageFile

    return WebPImageFile


@cache
def _gif() -> Reader:
    from PIL.GifImagePlugin import GifImageFile

    class GifFile(GifImageFile):
        """The first frame: what follows it does not matter: nothing is kept to clear it away."""

        @property
        def disposal_method(self) -> int:
            return 0

        @disposal_method.setter
        def disposal_method(self, value: int) -> None:
            pass

    return GifFile


@cache
def _bmp() -> Reader:
    from PIL.BmpImagePlugin import BmpImageFile

    return BmpImageFile


FORMATS: dict[str, Callable[[], Reader]] = {
    "JPEG": lambda: _JpegFile,
    "PNG": _png,
    "WebP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
}
"""What is accepted -> what imports Pillow's reader of it."""
_ACCEPTED = ", ".join(FORMATS)

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


def sniff(data: bytes) -> str:
    """The picture's format by its first bytes, a key of FORMATS.

    Raises:
        UnsupportedError: any other format, named where it is known; or no picture at all.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        name = _BRANDS.get(data[8:12], "a video or HEIF file")
    else:
        name = next((name for magic, name in _MAGIC if data.startswith(magic)), "")
    if name in FORMATS:
        return name
    if name:
        raise UnsupportedError(f"unsupported format: expected {_ACCEPTED}, found {name}")
    raise UnsupportedError(
        f"not a picture: expected {_ACCEPTED}, found {len(data)} bytes that start with {data[:8]!r}"
    )
