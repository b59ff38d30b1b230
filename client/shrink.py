"""Convert what the function does not take: pictures that are too large, and HEIC photos.

A picture that is too large for a request becomes a smaller PNG. The function crops, squashes or
pads it to the size of its model. So the whole picture is sent in its own proportions, with more
pixels than models take, and lossless.
"""

from importlib import import_module
from io import BytesIO
from threading import Lock

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


def is_heic(data: bytes) -> bool:
    """Return whether these are the bytes of a HEIC photo."""
    return data[4:12] in _HEIC_STARTS


def convert_heic(data: bytes) -> tuple[bytes, int, int]:
    """Return a HEIC photo as a JPEG, its width and its height, by the package pillow-heif.

    Raises:
        UnreadableError: the package is missing, or cannot read the photo.
    """
    try:
        photo = import_module("pillow_heif").open_heif(BytesIO(data)).to_pillow()
        photo.thumbnail((HEIC_SIDE, HEIC_SIDE))
        return _encode(photo.convert("RGB"), "JPEG")
    except Exception as error:
        raise UnreadableError(
            f"expected a JPEG, PNG, WebP, GIF or BMP, found HEIC, which cannot be converted here "
            f"({error}): run  pip install pillow-heif,  or save it as JPEG"
        ) from None


def shrink_picture(data: bytes, limit: int) -> tuple[bytes, int, int]:
    """Return a picture as a smaller PNG of at most `limit` bytes, its width and its height.

    Raises:
        ImageError: not a picture, or broken.
        UnreadableError: `limit` is too low for any picture.
    """
    with _one_at_a_time:
        side = SIDE
        while side >= MIN_SIDE:
            pixels = picture.decode(data, side, side, 3, 1.0, MEMORY, fit="inside").pixels
            smaller = _encode(Image.fromarray(pixels), "PNG")
            if len(smaller[0]) <= limit:
                return smaller
            side = side * 3 // 4
    raise UnreadableError(f"the picture could not be made smaller than {limit} bytes")


def _encode(image: Image.Image, kind: str) -> tuple[bytes, int, int]:
    """Return a file of this format, its width and its height."""
    file = BytesIO()
    image.save(file, kind, quality=95)
    return file.getvalue(), image.width, image.height
