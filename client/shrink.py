"""Convert what the function does not take: pictures that are too large, and HEIC photos.

A picture that is too large for a request becomes a smaller PNG. The function crops, squashes or
pads it to the size of its model. So the whole picture is sent in its own proportions, with more
pixels than models take, and lossless: a PNG needs no encoder of Pillow's (the zip's Pillow has
none).
"""

import struct
import subprocess
import sys
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

# How the files begin that iPhones send, after 4 bytes.
_HEIC_STARTS = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1"))
# For a clean Python: the Pillow of a zip has no encoder, and pillow-heif needs all of Pillow.
_CONVERT_HEIC = """
import io, sys, pillow_heif
picture = pillow_heif.open_heif(io.BytesIO(sys.stdin.buffer.read())).to_pillow()
picture.thumbnail((2048, 2048))
sys.stdout.buffer.write(b"%d %d\\n" % picture.size)
picture.convert("RGB").save(sys.stdout.buffer, "JPEG", quality=95)
"""

_one_at_a_time = Lock()  # decoding a WebP sets a limit of the whole process


class CannotShrinkError(ActionError):
    """The picture cannot be shrunk here; the text says what to do."""


def is_heic(data: bytes) -> bool:
    """Return whether these are the bytes of a HEIC photo."""
    return data[4:12] in _HEIC_STARTS


def convert_heic(data: bytes) -> tuple[bytes, int, int]:
    """Return a HEIC photo as a JPEG, its width and its height, by the package pillow-heif.

    Raises:
        CannotShrinkError: the package is missing, or cannot read the photo.
    """
    command = [sys.executable, "-c", _CONVERT_HEIC]
    done = subprocess.run(command, input=data, capture_output=True)
    if not done.returncode:
        size, _, picture = done.stdout.partition(b"\n")
        width, height = map(int, size.split())
        return picture, width, height
    reason = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    raise CannotShrinkError(
        f"expected a JPEG, PNG, WebP, GIF or BMP, found HEIC, which cannot be converted here "
        f"({reason}): run  pip install pillow-heif,  or save it as JPEG"
    )


def shrink_picture(data: bytes, limit: int) -> tuple[bytes, int, int]:
    """Return a picture as a smaller PNG of at most `limit` bytes, its width and its height.

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
