"""A picture that is too large for a request -> a smaller one of what the function looks at.

The function looks at the central square of a picture, at the size of its model. So that square is
sent, in more pixels than models take, and without loss: as a PNG, which needs no encoder of
Pillow's (the zip's has none).
"""

import struct
import zlib
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from action.request import ActionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 512
"""Pixels of the square, at first: twice what a model of 224 pixels looks at of it."""
LEAST = 64
MEMORY = 2_000_000_000
"""Bytes that decoding may take here, where no action's memory is the limit."""

_one_at_a_time = Lock()  # decoding a WebP sets a limit of the whole process


class Smaller(NamedTuple):
    """A smaller picture: a PNG, square."""

    data: bytes
    side: int


class UnableError(ActionError):
    """Nothing here can make pictures smaller; the text says what to do."""


def smaller(data: bytes, limit: int) -> Smaller:
    """The central square of a picture in at most `limit` bytes.

    Args:
        data: the picture's bytes, in a format that the function takes.
        limit: of the PNG, in bytes.

    Raises:
        ImageError: not a picture, or broken.
        UnableError: Pillow or numpy are missing, or `limit` is too low for any picture.
    """
    try:
        from action import picture
    except ImportError as error:
        raise UnableError(
            f"expected a picture of at most {limit // 1000} kB, found {len(data) / 1e6:.1f} MB, "
            f"and nothing here that makes it smaller ({error}): run  python build_zip.py,  or  "
            "pip install pillow numpy,  or send it smaller"
        ) from None
    with _one_at_a_time:
        side = SIDE
        while side >= LEAST:
            packed = _png(picture.decode(data, side, side, 3, crop=1.0, memory=MEMORY).pixels)
            if len(packed) <= limit:
                return Smaller(packed, side)
            side = side * 3 // 4
    raise UnableError(f"the picture could not be made smaller than {limit} bytes")


def _png(pixels: "NDArray[np.uint8]") -> bytes:
    """Pixels of shape (height, width, 3) as a PNG (ISO/IEC 15948), rows filtered by "Up"."""
    import numpy as np

    height, width, channels = pixels.shape
    filtered = pixels.copy()
    filtered[1:] -= pixels[:-1]  # modulo 256
    rows = np.full((height, 1 + width * channels), 2, np.uint8)  # 2: the filter's type
    rows[:, 1:] = filtered.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of each of RGB
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )  # fmt: skip
