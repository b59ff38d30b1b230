"""Shrink a picture that is too large for a request to a smaller PNG.

The function crops, squashes or pads it to the size of its model. So the whole picture is sent in
its own proportions, with more pixels than models take, and lossless: a PNG needs no encoder of
Pillow's (the zip's Pillow has none).
"""

import struct
import zlib
from threading import Lock
from typing import TYPE_CHECKING

from action.request import ActionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Pixels of the longer side to start with: three times what a model of 224 pixels takes.
SIDE = 672
MIN_SIDE = 64
# Bytes that decoding may take: an action's memory is no limit here.
MEMORY = 2_000_000_000

_one_at_a_time = Lock()  # decoding a WebP sets a limit of the whole process


class CannotShrinkError(ActionError):
    """The picture cannot be shrunk here; the text says what to do."""


def shrink_picture(data: bytes, limit: int) -> tuple[bytes, int, int]:
    """Return a picture as a smaller PNG of at most `limit` bytes, its width and its height.

    Args:
        data: the picture's bytes, in a format that the function supports.
        limit: the most bytes of the PNG.

    Raises:
        ImageError: not a picture, or broken.
        CannotShrinkError: Pillow or numpy are missing, or `limit` is too low for any picture.
    """
    try:
        from action import picture
    except ImportError as error:
        raise CannotShrinkError(
            f"expected a picture of at most {limit // 1000} kB, found {len(data) / 1e6:.1f} MB, "
            f"which cannot be shrunk here ({error}): run  python3 build_zip.py,  or  "
            "pip install pillow numpy,  or send it smaller"
        ) from None
    with _one_at_a_time:
        side = SIDE
        while side >= MIN_SIDE:
            pixels = picture.decode(data, side, side, 3, 1.0, MEMORY, fit="inside").pixels
            encoded = _encode_png(pixels)
            if len(encoded) <= limit:
                return encoded, pixels.shape[1], pixels.shape[0]
            side = side * 3 // 4
    raise CannotShrinkError(f"the picture could not be made smaller than {limit} bytes")


def _encode_png(pixels: "NDArray[np.uint8]") -> bytes:
    """Encode pixels of shape (height, width, 3) as a PNG (ISO/IEC 15948), with filter "Up"."""
    import numpy as np

    height, width, channels = pixels.shape
    filtered = pixels.copy()
    filtered[1:] -= pixels[:-1]  # modulo 256
    rows = np.full((height, 1 + width * channels), 2, np.uint8)  # 2: the filter's type
    rows[:, 1:] = filtered.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits each of RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )  # fmt: skip
