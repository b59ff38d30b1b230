"""Parameters of an activation -> pictures and options, and the errors a client can get."""

from __future__ import annotations

import binascii

TYPE_CHECKING = False  # the module `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""Largest encoded picture, in bytes. OpenWhisk's own payload limit (1 MiB by default) is lower."""

MAX_IMAGES = 100
"""Most pictures of one activation, since its memory, time and result are limited."""

DEFAULT_TOP_K = 3

_NAMES = ("image", "images", "topK", "threshold", "details")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class ActionError(Exception):
    """Something the client can mend: the text says what was expected and what was found.

    `status` is what a web action answers with.
    """

    status = 400


class RequestError(ActionError):
    """A parameter is missing, of the wrong type, or out of range."""


class ImageError(ActionError):
    """The bytes are not a picture that can be classified: broken, unless a subclass says else."""

    status = 422


class UnsupportedError(ImageError):
    """The content type or the format of the picture is not one of those that are taken."""

    status = 415


class TooLargeError(ImageError):
    """The picture has too many bytes or pixels."""

    status = 413


class Options:
    """How to answer: at most `top_k` classes, each with at least `threshold` probability.

    Classes with a probability of 0 count only where so many were asked for (`asked`).
    """

    __slots__ = ("asked", "details", "threshold", "top_k")

    def __init__(self, top_k: int, threshold: float, details: bool, asked: bool = True) -> None:
        self.asked = asked
        self.top_k = top_k
        self.threshold = threshold
        self.details = details


class Request:
    """What the client asked for. `images` are values for `image_bytes`, each to fail on its own."""

    __slots__ = ("batch", "images", "options")

    def __init__(self, images: list[Any], batch: bool, options: Options) -> None:
        self.images = images
        self.batch = batch
        self.options = options


def parse(params: Any, classes: int) -> Request:
    """Read the parameters of an activation.

    Unknown names are left alone, since OpenWhisk merges package and default parameters into
    every activation; but one that differs from a known name only in spelling is refused.

    Args:
        params: the activation's `value` object.
        classes: number of classes of the model, the upper bound of `topK`.

    Raises:
        RequestError: a parameter is missing, misspelt, of the wrong type or out of range.
    """
    if not isinstance(params, dict):
        raise RequestError(f"expected a JSON object of parameters, found {_kind(params)}")
    for name in params:
        if name not in _NAMES and not str(name).startswith("__ow_"):
            _refuse_misspelt(str(name))
    options = parse_options(
        params.get("topK", min(DEFAULT_TOP_K, classes)),
        params.get("threshold", 0.0),
        params.get("details", False),
        classes,
        asked="topK" in params,
    )
    if ("image" in params) == ("images" in params):
        found = "both" if "image" in params else "neither"
        raise RequestError(
            "expected either 'image' (one picture, base64 or a data: URL) or 'images' "
            f"(a list of them), found {found}"
        )
    if "image" in params:
        return Request([params["image"]], False, options)
    images = params["images"]
    if not isinstance(images, list) or not images:
        found = "an empty list" if images == [] else _kind(images)
        raise RequestError(f"images: expected a list of one or more pictures, found {found}")
    if len(images) > MAX_IMAGES:
        raise RequestError(
            f"images: expected at most {MAX_IMAGES} pictures, found {len(images)}; "
            "send them in several activations"
        )
    return Request(images, True, options)


def parse_options(
    top_k: Any, threshold: Any, details: Any, classes: int, asked: bool = True
) -> Options:
    """Check the options of a request; raises RequestError with what was expected and found.

    `asked` is whether `top_k` is the client's own.
    """
    if isinstance(top_k, float) and top_k.is_integer():
        top_k = int(top_k)  # JSON knows one kind of number: some write 5 as 5.0
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= classes:
        raise RequestError(
            f"topK: expected a whole number from 1 to {classes}, found {_shown(top_k)}"
        )
    number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if not number or not 0 <= threshold <= 1:  # NaN fails the comparison too
        raise RequestError(f"threshold: expected a number from 0 to 1, found {_shown(threshold)}")
    if not isinstance(details, bool):
        raise RequestError(f"details: expected true or false, found {_shown(details)}")
    return Options(top_k, float(threshold), details, asked)


def image_bytes(value: Any) -> bytes:
    """The picture in one `image` value.

    Args:
        value: base64 text (white space, the URL-safe alphabet and missing padding are fine), or a
            `data:` URL with base64 data; the bytes themselves are taken as well.

    Raises:
        RequestError: not a string, not base64, or empty.
        TooLargeError: more than MAX_IMAGE_BYTES.
    """
    if isinstance(value, bytes):
        return _sized(value)
    if not isinstance(value, str):
        raise RequestError(f"image: expected a string of base64 data, found {_kind(value)}")
    text = _data_of_url(value) if value[:5].lower() == "data:" else value
    if len(text) > MAX_IMAGE_BYTES * 3 // 2:  # 4/3 for base64, the rest for line breaks
        raise TooLargeError(_too_large(len(text) * 3 // 4))
    return _sized(decoded(text))


def _sized(data: bytes) -> bytes:
    if not data:
        raise RequestError("image: expected the bytes of a picture, found none")
    if len(data) > MAX_IMAGE_BYTES:
        raise TooLargeError(_too_large(len(data)))
    return data


def _too_large(size: int) -> str:
    limit = MAX_IMAGE_BYTES / 2**20
    return f"image: expected at most {limit:.0f} MiB, found {size / 2**20:.1f} MiB; send it smaller"


def decoded(text: str) -> bytes:
    """What base64 `text` stands for, as lenient as `image_bytes`; raises RequestError."""
    try:
        data = binascii.a2b_base64(text)  # at full speed, but silent about what it passes over
        if data and len(data) == len(text) // 4 * 3 - text.count("=", -2):  # that is, nothing
            return data
    except ValueError:
        pass
    try:
        plain = text.encode("ascii").translate(_URL_SAFE, b" \t\r\n\v\f")
        packed = plain.rstrip(b"=")
        left = packed.translate(None, _ALPHABET)
        if left or len(plain) - len(packed) > 2:
            raise ValueError(f"character {chr(left[0] if left else plain[-1])!r}")
        return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4))
    except ValueError as error:
        raise RequestError(
            f"image: expected base64 data, found text that is not base64 ({_reason(error)})"
        ) from None


def _data_of_url(url: str) -> str:
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise RequestError(
            f"image: expected a URL of the form data:image/jpeg;base64,..., found {head[:60]!r}"
        )
    if "%" in data:
        from urllib.parse import unquote

        data = unquote(data)
    return data


def _refuse_misspelt(name: str) -> None:
    plain = name.replace("_", "").replace("-", "").lower()
    for known in _NAMES:
        if plain == known.lower():
            raise RequestError(f"unknown parameter {name[:40]!r}: did you mean {known!r}?")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"character {error.object[error.start]!r} at position {error.start}"
    return str(error).lower()


def _shown(value: Any) -> str:
    """A value for an error text: short, and with its JSON type where that is the mistake."""
    if isinstance(value, str):
        return f"a string {value[:40]!r}"
    if value is None or isinstance(value, (bool, list, dict)):
        return _kind(value)
    try:
        return repr(value)[:40]
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a number too long to print"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)
