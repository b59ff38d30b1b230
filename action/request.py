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
_PICTURE = "image: expected the picture, as base64 or a data: URL"
_WHITE_SPACE = b" \t\r\n\v\f"
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
        value: base64 text (as for `decoded`), or a `data:` URL with base64 data; the bytes
            themselves are taken as well.

    Raises:
        RequestError: not a string, a URL of another kind, not base64, or empty.
        TooLargeError: more than MAX_IMAGE_BYTES.
    """
    if isinstance(value, bytes):
        return _sized(value)
    if not isinstance(value, str):
        raise RequestError(f"image: expected a string of base64 data, found {_kind(value)}")
    start = value[:20].lstrip().lower()
    if "://" in start:
        raise RequestError(
            f"{_PICTURE}, found the URL {value[:60]!r}: this function fetches nothing, send the "
            "picture itself"
        )
    text = _data_of_url(value) if start.startswith("data:") else value
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
    """What base64 `text` stands for (RFC 4648, sections 4 and 5), to the last character.

    White space, the URL-safe alphabet and no padding at all are fine. So is a "+" that a form has
    made a space of, where it can be told from white space.

    Raises:
        RequestError: it is not base64.
    """
    try:
        data = binascii.a2b_base64(text)  # at full speed, but silent about what it passes over
        whole = len(text) // 4 * 3 - text.count("=", -2)
        if data and len(text) % 4 == 0 and len(data) == whole:  # that is, nothing
            return data
    except ValueError:
        pass
    try:
        plain = text.encode("ascii")
        if b" " in plain.strip():
            plain = _with_plus(plain.strip(b"\t\r\n\v\f").lstrip())
        plain = plain.translate(_URL_SAFE, _WHITE_SPACE)
        packed = plain.rstrip(b"=")
        left = packed.translate(None, _ALPHABET)
        if left:
            raise ValueError(f"character {chr(left[0])!r}")
        padding = len(plain) - len(packed)
        if len(packed) % 4 == 1 or padding not in (0, -len(packed) % 4):
            raise ValueError(f"{len(packed)} characters and {padding} of padding: it is not whole")
        return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4))
    except ValueError as error:
        raise RequestError(
            f"image: expected base64 data, found text that is not base64 ({_reason(error)})"
        ) from None


def _with_plus(text: bytes) -> bytes:
    """Base64 with each space a "+" again, if it was a form that made it one.

    Then no "+" is left, and the length is one that base64 has. White space stands between lines of
    one length.

    Raises:
        ValueError: it cannot be told.
    """
    if any(kept in text for kept in (b"+", b"-", b"_")):
        return text
    inner = text.rstrip()
    *lines, last = map(len, inner.split())
    white = len(inner.translate(None, _WHITE_SPACE))
    plus = white + inner.count(b" ")
    # Padded base64 is of whole groups of four; else a group of one is what cannot be.
    wrong = (1, 2, 3) if inner.endswith(b"=") else (1,)
    may_be_white = white % 4 not in wrong
    if plus % 4 in wrong:
        return text
    if may_be_white and len({*lines}) == 1 and last <= lines[0]:  # like lines, at least
        if len(lines) > 1 or inner != text or b"\n " in text or (plus % 4 and not white % 4):
            return text
        if plus % 4 or not white % 4:
            raise ValueError("a space: a '+' that a form lost? Send it as %2B")
    ends = (plus + len(text) - len(inner)) % 4 == 0  # in a "+", or in white space
    return (text if ends else inner).replace(b" ", b"+")


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
    return str(error)


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
