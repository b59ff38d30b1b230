"""Parse an activation's parameters: pictures, base64, options; and the errors for clients."""

import binascii
import sys
from collections import namedtuple

# OpenWhisk's own limit for a payload, 1 MiB by default, is lower.
MAX_IMAGE_BYTES = 20 * 1024 * 1024
# Per activation, whose memory, time and result are limited.
MAX_IMAGES = 100
DEFAULT_TOP_K = 3

_PARAMETERS = {name.lower(): name for name in ("image", "images", "topK", "threshold", "details")}
_JSON_TYPES = {
    dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip
# Patterns of what is sent in place of base64, and how an error names each.
_WRAPPINGS = (
    (r"(bytearray\()?b['\"]", "Python's b'...': call .decode() on the base64"),
    (r"[{\[]\s*[\"']?type[\"']?\s*:\s*[\"']Buffer|<Buffer ",
     "a Node Buffer: send buffer.toString('base64')"),
    (r"\[object \w+\]", "JavaScript's name of an object: send the base64 of its bytes"),
    (r"\[B@[0-9a-f]|System\.Byte\[\]", "the name of a byte array: send the base64 of its bytes"),
    (r"\[?\s*-?\d{1,3}\s*,\s*-?\d{1,3}\b", "a list of numbers: send the bytes as base64"),
    (r"[{\[]", "JSON text: send it as application/json"),
    (r"[\"']", "text in quotes: send it without them"),
    (r"@\S", "the name of a file: send its bytes as base64"),
    (r"undefined$|null$|None$", "the text of a missing value"),
)  # fmt: skip
_WHITE_SPACE = b" \t\r\n\v\f"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class ActionError(Exception):
    """An error that the client can fix: the text says what was expected and what was found.

    Attributes:
        status: the HTTP status of a web action's reply.
    """

    status = 400


class RequestError(ActionError):
    """A parameter is missing, of the wrong type, or out of range."""


class ImageError(ActionError):
    """The picture cannot be classified: it is broken, or a subclass names another reason."""

    status = 422


class UnsupportedError(ImageError):
    """The picture's format or the request's content type is not supported."""

    status = 415


class TooLargeError(ImageError):
    """The picture has too many bytes or pixels."""

    status = 413


class Options:
    """Options of a classification.

    Attributes:
        top_k: the most classes to return.
        threshold: the least probability of a class to return.
        details: whether to describe the model, the picture and the activation.
        top_k_given: whether the client set `top_k`: only then, classes of probability 0 count.
    """

    def __init__(
        self,
        top_k: object,
        threshold: object,
        details: object,
        classes: int,
        top_k_given: bool = True,
    ) -> None:
        """Check the options for a model with `classes` classes; raise RequestError."""
        if isinstance(top_k, float) and top_k.is_integer():
            top_k = int(top_k)  # JSON has one type of number: some clients write 5 as 5.0
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            text = "topK: expected a whole number, 1 or more"
            raise RequestError(f"{text}, found {_describe_value(top_k)}")
        number = threshold if isinstance(threshold, (int, float)) else -1
        if isinstance(threshold, bool) or not 0 <= number <= 1:  # NaN fails the comparison too
            text = "threshold: expected a number from 0 to 1"
            raise RequestError(f"{text}, found {_describe_value(threshold)}")
        if not isinstance(details, bool):
            raise RequestError(f"details: expected true or false, found {_describe_value(details)}")
        self.top_k = min(top_k, classes)
        self.threshold = float(number)
        self.details = details
        self.top_k_given = top_k_given


# images: a list of values for `read_image`, each of which may fail on its own; batch: whether the
# client sent a list; options: Options.
Request = namedtuple("Request", "images batch options")


def parse_request(params: object, classes: int) -> Request:
    """Parse the parameters of an activation for a model with `classes` classes.

    Unknown names are ignored, since OpenWhisk merges package and default parameters into every
    activation. Raises RequestError if a parameter is missing, misspelt, of the wrong type or out of
    range.
    """
    if not isinstance(params, dict):
        raise RequestError(f"expected a JSON object of parameters, found {_json_type(params)}")
    for name in map(str, params):
        known = _PARAMETERS.get(name.replace("_", "").replace("-", "").lower(), name)
        if name != known:
            raise RequestError(f"unknown parameter {name[:40]!r}: did you mean {known!r}?")
    top_k = params.get("topK", min(DEFAULT_TOP_K, classes))
    threshold, details = params.get("threshold", 0.0), params.get("details", False)
    options = Options(top_k, threshold, details, classes, top_k_given="topK" in params)
    if ("image" in params) == ("images" in params):
        either = "either 'image' (one picture, base64 or a data: URL) or 'images' (a list of them)"
        raise RequestError(f"expected {either}, found {'both' if 'image' in params else 'neither'}")
    if "image" in params:
        return Request([params["image"]], False, options)
    images = params["images"]
    if not isinstance(images, list) or not images:
        kind = "an empty list" if images == [] else _json_type(images)
        raise RequestError(f"images: expected a list of one or more pictures, found {kind}")
    if len(images) > MAX_IMAGES:
        text = f"images: expected at most {MAX_IMAGES} pictures, found {len(images)}"
        raise RequestError(f"{text}; send them in several activations")
    return Request(images, True, options)


def read_image(value: object) -> bytes:
    """Return the bytes of an `image`: base64 (as for `decode_base64`), a `data:` URL, or bytes.

    Raises RequestError if it is none of these, or empty; TooLargeError over MAX_IMAGE_BYTES.
    """
    if isinstance(value, str):
        text = _strip_data_url(value)
        if len(text) > MAX_IMAGE_BYTES * 3 // 2:  # 4/3 for base64, the rest for line breaks
            raise TooLargeError(_size_error_text(len(text) * 3 // 4))
        value = decode_base64(text)
    if not isinstance(value, bytes):
        kind = _json_type(value)
        if isinstance(value, dict) and value.get("type") == "Buffer":
            kind = "a Node Buffer as JSON: send buffer.toString('base64')"
        raise RequestError(f"image: expected a string of base64 data, found {kind}")
    if not value:
        raise RequestError("image: expected the bytes of a picture, found none")
    if len(value) > MAX_IMAGE_BYTES:
        raise TooLargeError(_size_error_text(len(value)))
    return value


def _size_error_text(size: int) -> str:
    limit = MAX_IMAGE_BYTES / 2**20
    return f"image: expected at most {limit:.0f} MiB, found {size / 2**20:.1f} MiB; send it smaller"


def _strip_data_url(text: str) -> str:
    """Return the base64 of a `data:` URL, or other text unchanged; RequestError for other URLs."""
    start = text[:20].lstrip().lower()
    if "://" in start:
        url = f"as base64 or a data: URL, found the URL {text[:60]!r:.100}"
        advice = "this function fetches nothing, send the picture itself"
        raise RequestError(f"image: expected the picture, {url}: {advice}")
    if not start.startswith("data:"):
        return text
    head, comma, data = text.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        form = "data:image/jpeg;base64,..."
        raise RequestError(f"image: expected a URL of the form {form}, found {head[:60]!r:.100}")
    return _unescape(data) if "%" in data else data


def _unescape(data: str) -> str:
    """Decode the escapes that base64 can have, of punctuation and white space; leave all others.

    None of these characters can be a part of another escape: the order does not matter.
    """
    for character in "+/=-_ \t\r\n":
        escape = f"%{ord(character):02X}"
        data = data.replace(escape, character).replace(escape.lower(), character)
    return data


def decode_base64(text: str) -> bytes:
    """Decode base64 (RFC 4648, sections 4 and 5); raise RequestError if it is malformed.

    White space, the URL-safe alphabet and missing padding are accepted. So are spaces that were a
    "+" before a form was decoded, where they can be told from white space.
    """
    try:
        # The fast path silently skips other characters: check that it has skipped none.
        data = _a2b_base64(text)
        expected = len(text) // 4 * 3 - text.count("=", -2)
        if data and len(text) % 4 == 0 and len(data) == expected:
            return data
    except ValueError:
        pass
    try:
        return _decode_lenient(text.encode("ascii"))
    except UnicodeEncodeError as error:
        reason = f"character {text[error.start]!r} at position {error.start}"
    except ValueError as error:
        reason = str(error)
    problem = _name_wrapping(text) or f"text that is not base64 ({reason})"
    raise RequestError(f"image: expected base64 data, found {problem}")


def _a2b_base64(text: str | bytes) -> bytes:
    """Decode as `binascii` does; our own Pillow, where it is loaded, has the faster function."""
    own = getattr(sys.modules.get("PIL._imaging"), "a2b_base64", None)
    data: bytes = (own or binascii.a2b_base64)(text)
    return data


def _name_wrapping(text: str) -> str:
    """Name what other programs make of bytes that were not encoded; empty for other text."""
    import re

    start = text[:100].strip()
    return next((name for pattern, name in _WRAPPINGS if re.match(pattern, start)), "")


def _decode_lenient(text: bytes) -> bytes:
    """Decode base64 after removing white space; raise ValueError with the reason."""
    if b" " in text.strip():
        text = _restore_plus(text.strip(b"\t\r\n\v\f").lstrip())
    text = text.translate(_URL_SAFE, _WHITE_SPACE)
    digits = text.rstrip(b"=")
    if other := digits.translate(None, _ALPHABET):
        raise ValueError(f"character {chr(other[0])!r}")
    padding = len(text) - len(digits)
    if len(digits) % 4 == 1 or padding not in (0, -len(digits) % 4):
        raise ValueError(f"{len(digits)} characters and {padding} of padding: it is incomplete")
    return _a2b_base64(digits + b"=" * (-len(digits) % 4))


def _restore_plus(text: bytes) -> bytes:
    """Turn the spaces in base64 back into "+" if a form decoded them; ValueError if unclear.

    Each space is either a former "+", or white space between lines. It can be a "+" only if there
    is no other "+" and the length is then possible for base64. It can be white space only if all
    lines have one length and the length without it is possible. For example "AA A" is "AA+A", and
    "AAAA AAAA" is two lines.
    """
    if any(digit in text for digit in (b"+", b"-", b"_")):
        return text
    body = text.rstrip()
    *lines, last = map(len, body.split())
    # The length of the base64 if the spaces are white space, and if they are "+".
    as_white_space = len(body.translate(None, _WHITE_SPACE))
    as_plus = as_white_space + body.count(b" ")
    # Remainders by 4 that no base64 has; padded base64 consists of whole groups of four.
    impossible = (1, 2, 3) if body.endswith(b"=") else (1,)
    if as_plus % 4 in impossible:
        return text
    like_lines = len({*lines}) == 1 and last <= lines[0]
    if as_white_space % 4 not in impossible and like_lines:
        several_lines = len(lines) > 1 or body != text or b"\n " in text
        if several_lines or (as_plus % 4 and not as_white_space % 4):
            return text
        if as_plus % 4 or not as_white_space % 4:
            raise ValueError("a space: a '+' that a form decoded? Send it as %2B")
    # Spaces at the end are "+" too, if the length is then a multiple of 4.
    ends_in_plus = (as_plus + len(text) - len(body)) % 4 == 0
    return (text if ends_in_plus else body).replace(b" ", b"+")


def _describe_value(value: object) -> str:
    """Describe a value for an error text: short, with its JSON type where that is wrong."""
    if isinstance(value, str):
        return f"a string {value[:40]!r:.100}"
    if value is None or isinstance(value, (bool, list, dict)):
        return _json_type(value)
    try:
        return repr(value)[:40]
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a number too long to print"


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _JSON_TYPES.get(type(value), type(value).__name__)
