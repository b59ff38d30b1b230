"""Parameters of an activation -> pictures and options, and the errors a client can get."""

import binascii
from collections import namedtuple

MAX_IMAGE_BYTES = 20 * 1024 * 1024  # OpenWhisk's own limit of a payload, by default 1 MiB, is lower
MAX_IMAGES = 100  # of one activation, since its memory, time and result are limited
DEFAULT_TOP_K = 3

_NAMES = {name.lower(): name for name in ("image", "images", "topK", "threshold", "details")}
_KINDS = {
    dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip
_WHITE_SPACE = b" \t\r\n\v\f"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class ActionError(Exception):
    """Something the client can mend: the text says what was expected and what was found."""

    status = 400  # what a web action answers with


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

    Those with a probability of 0 count only where the client itself asked for so many (`asked`).
    """

    def __init__(
        self, top_k: object, threshold: object, details: object, classes: int, asked: bool = True
    ) -> None:
        """Check them, for a model of so many classes; raises RequestError."""
        if isinstance(top_k, float) and top_k.is_integer():
            top_k = int(top_k)  # JSON knows one kind of number: some write 5 as 5.0
        if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= classes:
            text = f"topK: expected a whole number from 1 to {classes}"
            raise RequestError(f"{text}, found {_shown(top_k)}")
        share = threshold if isinstance(threshold, (int, float)) else -1
        if isinstance(threshold, bool) or not 0 <= share <= 1:  # NaN fails the comparison too
            text = "threshold: expected a number from 0 to 1"
            raise RequestError(f"{text}, found {_shown(threshold)}")
        if not isinstance(details, bool):
            raise RequestError(f"details: expected true or false, found {_shown(details)}")
        self.top_k = top_k
        self.threshold = float(share)
        self.details = details
        self.asked = asked


Request = namedtuple("Request", "images batch options")
"""A list of values for `read_image`, each to fail on its own; whether it came as one; Options."""


def parse(params: object, classes: int) -> Request:
    """Read the parameters of an activation, for a model of so many classes.

    Unknown names are left alone, since OpenWhisk merges package and default parameters into every
    activation. Raises RequestError if one is missing, misspelt, of the wrong type or out of range.
    """
    if not isinstance(params, dict):
        raise RequestError(f"expected a JSON object of parameters, found {_kind(params)}")
    for name in map(str, params):
        known = _NAMES.get(name.replace("_", "").replace("-", "").lower(), name)
        if name != known:
            raise RequestError(f"unknown parameter {name[:40]!r}: did you mean {known!r}?")
    top_k = params.get("topK", min(DEFAULT_TOP_K, classes))
    threshold, details = params.get("threshold", 0.0), params.get("details", False)
    options = Options(top_k, threshold, details, classes, asked="topK" in params)
    if ("image" in params) == ("images" in params):
        either = "either 'image' (one picture, base64 or a data: URL) or 'images' (a list of them)"
        raise RequestError(f"expected {either}, found {'both' if 'image' in params else 'neither'}")
    if "image" in params:
        return Request([params["image"]], False, options)
    images = params["images"]
    if not isinstance(images, list) or not images:
        kind = "an empty list" if images == [] else _kind(images)
        raise RequestError(f"images: expected a list of one or more pictures, found {kind}")
    if len(images) > MAX_IMAGES:
        text = f"images: expected at most {MAX_IMAGES} pictures, found {len(images)}"
        raise RequestError(f"{text}; send them in several activations")
    return Request(images, True, options)


def read_image(value: object) -> bytes:
    """The picture in an `image`: base64 (as for `decoded`), a `data:` URL of it, or the bytes.

    Raises RequestError if it is none of these, or empty; TooLargeError over MAX_IMAGE_BYTES.
    """
    if isinstance(value, str):
        text = _base64_of(value)
        if len(text) > MAX_IMAGE_BYTES * 3 // 2:  # 4/3 for base64, the rest for line breaks
            raise TooLargeError(_too_large(len(text) * 3 // 4))
        value = decode_base64(text)
    if not isinstance(value, bytes):
        raise RequestError(f"image: expected a string of base64 data, found {_kind(value)}")
    if not value:
        raise RequestError("image: expected the bytes of a picture, found none")
    if len(value) > MAX_IMAGE_BYTES:
        raise TooLargeError(_too_large(len(value)))
    return value


def _too_large(size: int) -> str:
    limit = MAX_IMAGE_BYTES / 2**20
    return f"image: expected at most {limit:.0f} MiB, found {size / 2**20:.1f} MiB; send it smaller"


def _base64_of(text: str) -> str:
    """The data of a `data:` URL, and other text as it is; RequestError for any other URL."""
    start = text[:20].lstrip().lower()
    if "://" in start:
        url = f"as base64 or a data: URL, found the URL {text[:60]!r}"
        advice = "this function fetches nothing, send the picture itself"
        raise RequestError(f"image: expected the picture, {url}: {advice}")
    if not start.startswith("data:"):
        return text
    head, comma, data = text.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        form = "data:image/jpeg;base64,..."
        raise RequestError(f"image: expected a URL of the form {form}, found {head[:60]!r}")
    if "%" not in data:
        return data
    from urllib.parse import unquote

    return unquote(data)


def decode_base64(text: str) -> bytes:
    """What base64 `text` stands for (RFC 4648, sections 4 and 5), or RequestError.

    White space, the URL-safe alphabet and no padding at all are fine; so is a "+" that a form has
    made a space of, where it can be told from white space.
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
        if left := packed.translate(None, _ALPHABET):
            raise ValueError(f"character {chr(left[0])!r}")
        padding = len(plain) - len(packed)
        if len(packed) % 4 == 1 or padding not in (0, -len(packed) % 4):
            raise ValueError(f"{len(packed)} characters and {padding} of padding: it is not whole")
        return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4))
    except UnicodeEncodeError as error:
        reason = f"character {text[error.start]!r} at position {error.start}"
    except ValueError as error:
        reason = str(error)
    raise RequestError(f"image: expected base64 data, found text that is not base64 ({reason})")


def _with_plus(text: bytes) -> bytes:
    """Base64 with each space a "+" again, if a form made it one; ValueError if it can't be told.

    Then no "+" is left, and the length is one that base64 has. White space stands between lines of
    one length.
    """
    if any(kept in text for kept in (b"+", b"-", b"_")):
        return text
    inner = text.rstrip()
    *lines, last = map(len, inner.split())
    white = len(inner.translate(None, _WHITE_SPACE))
    plus = white + inner.count(b" ")
    # Padded base64 is of whole groups of four; else a group of one is what cannot be.
    wrong = (1, 2, 3) if inner.endswith(b"=") else (1,)
    if plus % 4 in wrong:
        return text
    if white % 4 not in wrong and len({*lines}) == 1 and last <= lines[0]:  # like lines, at least
        if len(lines) > 1 or inner != text or b"\n " in text or (plus % 4 and not white % 4):
            return text
        if plus % 4 or not white % 4:
            raise ValueError("a space: a '+' that a form lost? Send it as %2B")
    ends = (plus + len(text) - len(inner)) % 4 == 0  # in a "+", or in white space
    return (text if ends else inner).replace(b" ", b"+")


def _shown(value: object) -> str:
    """A value for an error text: short, and with its JSON type where that is the mistake."""
    if isinstance(value, str):
        return f"a string {value[:40]!r}"
    if value is None or isinstance(value, (bool, list, dict)):
        return _kind(value)
    try:
        return repr(value)[:40]
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a number too long to print"


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _KINDS.get(type(value), type(value).__name__)
