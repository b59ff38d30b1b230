"""Limits of a picture: its pixels, and the memory and time that decoding may take.

They are checked by the picture's header before anything is decoded. Where the header does not tell
the cost, the decoder is stopped at the limit.
"""

import io
from collections.abc import Callable
from functools import cache
from math import ceil

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from action.request import ImageError, TooLargeError

MAX_PIXELS = 100_000_000
# Bytes that decoding a picture may take. Of the 128 MB of OpenWhisk's smallest action, the process
# itself takes 35 MB and the platform's proxy 30 to 40 MB.
MEMORY = 56_000_000
# Scans of a JPEG: each passes over all coefficients; encoders make about ten.
MAX_SCANS = 50
# Scans times coefficients of a JPEG: 0.4 ns each, 0.25 s in all.
_MAX_VISITS = 600_000_000
# Bytes of a PNG's rows before its filters are undone, which takes up to 7 ns each: 0.35 s in all.
_MAX_FILTERED_BYTES = 52_000_000
# What each pixel of a PNG takes on top of its bytes, in their time; once more if interlaced, and
# twice if a colour is transparent, since the pixels are then resized with an alpha channel.
_PNG_PIXEL = 0.25
# How often Pillow may read from a file: two or three times per segment, chunk or block. Some of
# these it appends to all earlier ones, which takes quadratic time.
MAX_READS = 20_000
# Bytes per pixel, by Pillow's mode; 4 for other modes.
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}
# Pillow aligns rows, and stores a pointer to each.
_ROW_ALIGNMENT, _ROW_POINTER = 4, 8
# Bytes per coefficient of a JPEG (libjpeg's JCOEF), and the sides of its blocks.
_COEFFICIENT, _BLOCK = 2, 8
# Rows of a JPEG's components, for each of its sampling, that libjpeg keeps besides the picture.
_JPEG_ROWS = 16
# Bytes per pixel in libwebp, if lossless or transparent, at any scale.
_WEBP_LOSSLESS = 4
# Bytes per pixel with Pillow's own WebP decoder: two canvases, a copy and the picture.
WEBP = 16
# Bytes of a lossless WebP's tables, on top of the memory for its pixels.
_WEBP_TABLES = 8_000_000
# Rows that decoders need besides the picture: PNG's filters read the row before; one is spare.
_DECODER_ROWS = 4
# Bytes per pixel of a run-length encoded BMP: Python decodes it (0.1 us per pixel), and copies.
_BMP_RUNS = 7
# Rows of such a BMP that may be skipped: one step skips up to 255.
_BMP_SKIPPED_ROWS = 256


# glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD (malloc.h): blocks below the second are from the
# heap, as ever, and the heap's free end goes back to the system when it is over the first.
_MALLOC_OPTIONS = ((-1, 1 << 20), (-3, 1 << 20))


@cache
def return_large_blocks() -> None:
    """Make glibc return large blocks to the system as soon as they are freed.

    By itself it raises both thresholds, up to 64 MB, with what is freed, and memory stays for good.
    Called for the first large picture, since it takes 0.5 ms; `import ctypes` would take 3 ms.
    """
    import _ctypes

    mallopt = _ctypes.dlsym(_ctypes.dlopen(None, 0), "mallopt")  # type: ignore[arg-type]
    for option in _MALLOC_OPTIONS:
        _ctypes.call_function(mallopt, option)


class BoundedFile(io.BytesIO):
    """A picture's bytes as a file that may be read MAX_READS times."""

    _reads_left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as BytesIO does; raise TooLargeError after MAX_READS calls."""
        self._reads_left -= 1
        if self._reads_left < 0:
            text = "expected a picture in at most some thousand chunks or segments, found more"
            raise TooLargeError(f"too many parts: {text}; re-save it")
        return super().read(size)


def check_pixels(width: int, height: int) -> None:
    """Raise ImageError for a picture without pixels, TooLargeError for one over MAX_PIXELS."""
    if width < 1 or height < 1:
        raise ImageError(f"expected a picture with pixels, found {width} x {height}")
    if width * height > MAX_PIXELS:
        size = f"{width} x {height} ({width * height / 1e6:.0f} megapixels)"
        most = f"{MAX_PIXELS // 10**6} megapixels"
        raise TooLargeError(f"too many pixels: expected at most {most}, found {size}")


def check_rows(picture: ImageFile, name: str, memory: int) -> None:
    """Raise TooLargeError if decoding a PNG, GIF or BMP (`name`) takes over `memory` bytes."""
    aligned = -(-picture.width * _PIXEL_BYTES.get(picture.mode, 4) // _ROW_ALIGNMENT)
    needed = (picture.height + _DECODER_ROWS) * (aligned * _ROW_ALIGNMENT + _ROW_POINTER)
    if picture.tile and picture.tile[0][0] == "bmp_rle":
        needed += (_BMP_RUNS * picture.height + _BMP_SKIPPED_ROWS) * picture.width
    kind = f"{name} of this kind ({picture.mode})"
    check_memory(picture.size, needed, memory, kind)
    if name == "PNG":
        check_memory(picture.size, _png_work(picture), _MAX_FILTERED_BYTES, kind)


def _png_work(picture: ImageFile) -> int:
    """Return what decoding a PNG may cost, in the time of a byte whose filter is undone."""
    # Pillow's raw mode is one letter per channel, and the bits of a sample if they are not 8.
    letters, _, bits = str(picture.tile[0][3]).partition(";")
    depth = 1 if letters == "1" else int(bits.removesuffix("B") or 8)
    steps = 1 + bool(picture.info.get("interlace")) + 2 * ("transparency" in picture.info)
    row = -(-picture.width * len(letters) * depth // 8) + _PNG_PIXEL * steps * picture.width
    return int(row * picture.height)


def check_jpeg(picture: JpegImageFile, size: tuple[int, int], data: bytes, memory: int) -> None:
    """Raise TooLargeError if decoding a JPEG takes over `memory` bytes, or too many scans.

    Args:
        picture: read up to its first scan, whose place is in `info`, with its scale set.
        size: of the picture in full, in pixels.
        data: the file's bytes.
        memory: bytes that decoding may take.
    """
    # After a scan's marker are its length and number of components (ITU T.81, B.2.3). If the first
    # scan has all components, it is the only one.
    components, scan = picture.layers, picture.info["scan"]
    one_scan = data[scan + 2] == components
    widest = max(across for _, across, _, _ in picture.layer)
    tallest = max(down for _, _, down, _ in picture.layer)
    needed = picture.width * picture.height * _PIXEL_BYTES.get(picture.mode, 4)
    needed += _JPEG_ROWS * tallest * components * picture.width
    if one_scan and not picture.info.get("progressive"):
        check_memory(size, needed, memory, "JPEG of this shape", advice="smaller")
        return
    # libjpeg keeps all coefficients until the last scan, at any scale. Each component has whole
    # units of `widest` by `tallest` blocks, of which it uses as many as its own sampling.
    units = ceil(size[0] / (_BLOCK * widest)) * ceil(size[1] / (_BLOCK * tallest))
    coefficients = _BLOCK**2 * units * sum(across * down for _, across, down, _ in picture.layer)
    check_memory(size, needed + _COEFFICIENT * coefficients, memory, "progressive JPEG")
    scans, most = data.count(b"\xff\xda", scan - 2), min(MAX_SCANS, _MAX_VISITS // coefficients)
    if scans > most:
        text = f"expected at most {most} in a progressive JPEG of this size, found {scans}"
        raise TooLargeError(f"too many scans: {text}; send it as a baseline JPEG")


def check_webp(
    size: tuple[int, int], scaled: tuple[int, int], data: bytes, alpha: bool, memory: int
) -> None:
    """Raise TooLargeError if our decoder takes over `memory` bytes to decode a WebP to `scaled`."""
    lossless = 0 if data[12:16] == b"VP8 " else _WEBP_LOSSLESS
    needed = 4 * scaled[0] * scaled[1] + lossless * size[0] * size[1]
    kind = f"WebP of this kind ({'transparent' if alpha else 'opaque'})"
    check_memory(size, needed, memory, kind)


def check_memory(
    size: tuple[int, int],
    needed: int,
    memory: int,
    kind: str,
    advice: str = "as a baseline JPEG, or smaller",
) -> None:
    """Raise TooLargeError if the `needed` bytes to decode `size` pixels are over `memory`."""
    if needed > memory:
        pixels = size[0] * size[1] / 1e6
        most = f"{pixels * memory / needed:.1f} megapixels"
        text = f"expected at most {most}, found {size[0]} x {size[1]} ({pixels:.1f} megapixels)"
        raise TooLargeError(f"too many pixels for a {kind}: {text}; send it {advice}")


def call_with_memory_limit(memory: int, load: Callable[..., object], *arguments: int) -> object:
    """Call a WebP decoder; raise MemoryError if it takes over `memory` bytes plus some tables."""
    # The tables of a lossless WebP take up to 800 MB, which its header does not tell.
    from resource import RLIMIT_DATA, getpagesize, getrlimit, setrlimit

    before = getrlimit(RLIMIT_DATA)
    with open("/proc/self/statm", "rb") as file:
        used = int(file.read().split()[5]) * getpagesize()
    most = min([used + memory + _WEBP_TABLES, *(limit for limit in before if limit >= 0)])
    setrlimit(RLIMIT_DATA, (most, before[1]))
    try:
        return load(*arguments)
    finally:
        setrlimit(RLIMIT_DATA, before)
