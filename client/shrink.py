"""Convert what the function does not take: pictures that are too large, and HEIC photos.

A picture that is too large for a request becomes a smaller PNG. The function crops, squashes or
pads it to the size of its model. So the whole picture is sent in its own proportions, with more
pixels than models take, and lossless.
"""

from importlib import import_module
from io import BytesIO
from threading import Lock
from typing import Any

from PIL import Image

from action import picture
from client.errors import UnreadableError

# Pixels of the longer side to start with: three times what a model of 224 pixels takes.
SIDE = 672
MIN_SIDE = 64
# The longer side of a HEIC photo, in pixels.
HEIC_SIDE = 2048
# Bytes that decoding may take: an action's memory is no limit here.
MEMORY = 2_000_000_000

# How the files begin that iPhones send, after 4 bytes.
_HEIC_STARTS = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1"))

_one_at_a_time = Lock()  # decoding a WebP sets a limit of the whole process


def convert_picture(data: bytes, limit: int) -> tuple[bytes, dict[str, Any]]:
    """Return a picture that the function takes, of at most `limit` bytes, and what it is.

    The latter is empty if the picture stays as it is. Else it has its `format`, `width`, `height`,
    `bytes`, and the bytes of the original (`of`).

    Raises:
        ImageError: not a picture, or broken.
        UnreadableError: the picture cannot be converted here.
    """
    converted = _convert_heic(data) if data[4:12] in _HEIC_STARTS else data
    if len(converted) > limit:
        converted = _shrink_picture(converted, limit)
    if converted is data:
        return data, {}
    image = Image.open(BytesIO(converted))
    sent = {"format": image.format, "width": image.width, "height": image.height}
    return converted, {**sent, "bytes": len(converted), "of": len(data)}


def _convert_heic(data: bytes) -> bytes:
    """Return a HEIC photo as a JPEG, by the package pillow-heif."""
    try:
        photo = import_module("pillow_heif").open_heif(BytesIO(data)).to_pillow()
        photo.thumbnail((HEIC_SIDE, HEIC_SIDE))
        return _encode(photo.convert("RGB"), "JPEG")
    except Exception as error:
        raise UnreadableError(
            f"expected a JPEG, PNG, WebP, GIF or BMP, found HEIC, which cannot be converted here "
            f"({error}): run  pip install pillow-heif,  or save it as JPEG"
        ) from None


def _shrink_picture(data: bytes, limit: int) -> bytes:
    """Return a picture as a smaller PNG of at most `limit` bytes."""
    side = SIDE
    while side >= MIN_SIDE:
        with _one_at_a_time:
            pixels = picture.decode(data, side, side, 3, 1.0, MEMORY, fit="inside").pixels
        smaller = _encode(Image.fromarray(pixels), "PNG")
        if len(smaller) <= limit:
            return smaller
        side = side * 3 // 4
    raise UnreadableError(f"the picture could not be made smaller than {limit} bytes")


def _encode(image: Image.Image, kind: str) -> bytes:
    file = BytesIO()
    image.save(file, kind, quality=95)
    return file.getvalue()
