"""What a picture may cost: its pixels, and the memory and time that decoding takes.

Told from its head before anything is decoded; where the head does not tell, the decoder is stopped
at the limit.
"""

import io
from collections.abc import Callable

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from action.request import ImageError, TooLargeError

MAX_PIXELS = 100_000_000
# Bytes that a picture may take while it is decoded. Of the 128 MB of OpenWhisk's smallest action
# the process itself takes 35, the platform's proxy beside it 30 to 40.
MEMORY = 56_000_000
MAX_SCANS = 50  # of a JPEG: each passes over all its coefficients; encoders make about ten
# How often Pillow may read from a file: twice or three times per segment, chunk or block. Some of
# them it joins, each to all before it.
MAX_READS = 20_000
# In bytes:
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2}  # a pixel, by Pillow's mode; of others it is 4
_ALIGNMENT, _POINTER = 4, 8  # of Pillow's rows, and where it keeps where one begins
_COEFFICIENT = 2  # one of a JPEG (libjpeg's JCOEF)
_LOSSLESS = 4  # a pixel in libwebp, if lossless or transparent, whatever the scale
WEBP = 16  # a pixel with Pillow's own WebP decoder: two canvases, a copy and the picture
_TABLES = 8_000_000  # of a WebP, on top of MEMORY, which is about its pixels
# In rows, or bytes per pixel:
_MORE_ROWS = 4  # of decoders: PNG's filters need the row before, this one, and one to spare
_RUNS = 7  # of a BMP in runs: Python decodes it (0.1 us per pixel), and copies
_SKIPPED_ROWS = 256  # one step of that may pass over 255


class BoundedFile(io.BytesIO):
    """The bytes of a picture, for MAX_READS reads."""

    _left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """As BytesIO's; raises TooLargeError when it was called too often."""
        self._left -= 1
        if self._left < 0:
            text = "expected a picture in at most some thousand chunks or segments, found more"
            raise TooLargeError(f"too many parts: {text}; save it anew")
        return super().read(size)


def check_pixels(width: int, height: int) -> None:
    """Raise ImageError if there are none, TooLargeError if there are over MAX_PIXELS."""
    if width < 1 or height < 1:
        raise ImageError(f"expected a picture with pixels, found {width} x {height}")
    if width * height > MAX_PIXELS:
        size = f"{width} x {height} ({width * height / 1e6:.0f} megapixels)"
        most = f"{MAX_PIXELS // 10**6} megapixels"
        raise TooLargeError(f"too many pixels: expected at most {most}, found {size}")


def check_rows(picture: ImageFile, name: str) -> None:
    """Raise TooLargeError if decoding a PNG, GIF or BMP, as `name` says, takes over MEMORY."""
    row = -(-picture.width * _STORED.get(picture.mode, 4) // _ALIGNMENT) * _ALIGNMENT + _POINTER
    needed = (picture.height + _MORE_ROWS) * row
    if picture.tile and picture.tile[0][0] == "bmp_rle":
        needed += (_RUNS * picture.height + _SKIPPED_ROWS) * picture.width
    check_memory(picture.size, needed, f"{name} of this kind ({picture.mode})")


def check_jpeg(picture: JpegImageFile, size: tuple[int, int], data: bytes) -> None:
    """Raise TooLargeError if decoding a JPEG takes over MEMORY, or MAX_SCANS.

    It was read up to its first scan, and set to its scale; `size` is that of the whole picture in
    pixels, `data` the file's bytes.
    """
    # Before the first scan's data is its header: marker, length, number of components, 2 bytes for
    # each, 3 more (ITU T.81, B.2.3). It names all components, if there is but one scan.
    assert picture.fp
    layers = picture.layers
    begin = picture.fp.tell() - 8 - 2 * layers
    one_scan = data[begin : begin + 5] == bytes((0xFF, 0xDA, 0, 6 + 2 * layers, layers))
    needed = picture.width * picture.height * _STORED.get(picture.mode, 4)
    if one_scan and not picture.info.get("progressive"):
        check_memory(size, needed, "JPEG as long as this", advice="smaller")
        return
    # All coefficients are kept until the last scan, at any scale.
    samplings = [across * down for _, across, down, _ in picture.layer]
    needed += _COEFFICIENT * size[0] * size[1] * sum(samplings) // max(samplings)
    scans = data.count(b"\xff\xda", begin)
    if scans > MAX_SCANS:
        text = f"expected at most {MAX_SCANS} in a progressive JPEG, found {scans}"
        raise TooLargeError(f"too many scans: {text}; send it as a baseline JPEG")
    check_memory(size, needed, "progressive JPEG")


def check_webp(size: tuple[int, int], scaled: tuple[int, int], data: bytes, alpha: bool) -> None:
    """Raise TooLargeError if decoding a WebP at a size takes over MEMORY by our part of Pillow."""
    lossless = 0 if data[12:16] == b"VP8 " else _LOSSLESS
    needed = 4 * scaled[0] * scaled[1] + lossless * size[0] * size[1]
    check_memory(size, needed, f"WebP of this kind ({'transparent' if alpha else 'opaque'})")


def check_memory(
    size: tuple[int, int], needed: int, kind: str, advice: str = "as a baseline JPEG, or smaller"
) -> None:
    """Raise TooLargeError if decoding a picture of `size` pixels takes over MEMORY bytes."""
    if needed > MEMORY:
        pixels = size[0] * size[1] / 1e6
        most = f"{pixels * MEMORY / needed:.1f} megapixels"
        text = f"expected at most {most}, found {size[0]} x {size[1]} ({pixels:.1f} megapixels)"
        raise TooLargeError(f"too many pixels for a {kind}: {text}; send it {advice}")


def bounded(load: Callable[..., object], *arguments: int) -> object:
    """Call `load`, which raises MemoryError if it takes more than MEMORY and some tables."""
    # What the tables of a lossless WebP take cannot be told from its head: up to 800 MB.
    from resource import RLIMIT_DATA, getpagesize, getrlimit, setrlimit

    before = getrlimit(RLIMIT_DATA)
    with open("/proc/self/statm", "rb") as file:
        used = int(file.read().split()[5]) * getpagesize()
    most = min([used + MEMORY + _TABLES, *(limit for limit in before if limit >= 0)])
    setrlimit(RLIMIT_DATA, (most, before[1]))
    try:
        return load(*arguments)
    finally:
        setrlimit(RLIMIT_DATA, before)
