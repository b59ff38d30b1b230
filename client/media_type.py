"""Parse content types as OpenWhisk's controller does: which are text, and what is passed on.

Its HTTP server is pekko-http 1.1, once akka-http 10.2. That knows some media types, which
are binary or text whatever their parameters (`MediaTypes`). Any other is text if it has a charset,
else binary (`CommonActions.getMediaType`). A header that it cannot parse is ignored
(`HttpHeaderParser`), and a body without one is application/octet-stream (`HttpMessageParser`).
"""

import re
from typing import NamedTuple

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
DEFAULT = "application/octet-stream"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = rf"; *({_TOKEN}) *= *({_TOKEN}|{_QUOTED}) *"
_CONTENT_TYPE = re.compile(rf"({_TOKEN}) */({_TOKEN}) *((?:{_PARAMETER})*)")

# Known type -> whether it is binary. Only types that the function accepts, and similar ones.
_KNOWN = {
    JSON: False,
    FORM: False,
    "application/json-patch+json": False,
    "application/merge-patch+json": False,
    "application/problem+json": False,
    "application/vnd.api+json": False,
    "text/html": False,
    "text/plain": False,
    DEFAULT: True,
    "image/gif": True,
    "image/jpeg": True,
    "image/png": True,
    "image/svg+xml": True,
    "image/tiff": True,
    "image/webp": True,
    "image/x-ms-bmp": True,
}
# Types that are always UTF-8, whose charset is not passed on; so are all known +json types.
_ALWAYS_UTF8 = {JSON, FORM}


class MediaType(NamedTuple):
    """A content type.

    Attributes:
        value: the type with its parameters but without its charset; the controller compares this.
        header: the header that is passed on to the action.
        binary: whether a body is passed on as base64.
    """

    value: str
    header: str
    binary: bool

    @property
    def is_json(self) -> bool:
        """Whether a body is merged into the parameters, if it is an object."""
        return self.value == JSON or self.value.endswith("+json")


def parse_content_type(content_type: str) -> MediaType:
    """Parse a Content-Type header (RFC 9110, section 8.3) as pekko-http does."""
    match = _CONTENT_TYPE.fullmatch(content_type.replace("\t", " ").strip(" "))
    if not match:
        return MediaType(DEFAULT, DEFAULT, True)
    kind = f"{match[1]}/{match[2]}".lower()
    parameters = [(name, _unquote(value)) for name, value in re.findall(_PARAMETER, match[3])]
    charset = next((value for name, value in parameters[::-1] if name.lower() == "charset"), None)
    rest = sorted({name: value for name, value in parameters if name.lower() != "charset"}.items())
    value = kind + "".join(f"; {name}={_quote(value)}" for name, value in rest)
    binary = _KNOWN.get(kind, kind.startswith("multipart/") or charset is None)
    fixed = binary or kind in _ALWAYS_UTF8 or (kind in _KNOWN and kind.endswith("+json"))
    header = value if fixed or charset is None else f"{value}; charset={charset}"
    return MediaType(value, header, binary)


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _quote(value: str) -> str:
    if re.fullmatch(_TOKEN, value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
