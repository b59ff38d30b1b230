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
_PARAMETER = rf'; *({_TOKEN}) *= *({_TOKEN}|"[^"]*") *'
_CONTENT_TYPE = re.compile(rf"({_TOKEN}) */({_TOKEN}) *((?:{_PARAMETER})*)")

# Known type -> whether it is binary. Only types that the function accepts, and similar ones.
_KNOWN = {
    JSON: False,
    FORM: False,
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
    parameters = re.findall(_PARAMETER, match[3])
    charset = next((value for name, value in parameters if name.lower() == "charset"), None)
    value = kind + "".join(
        f"; {name}={text}" for name, text in parameters if name.lower() != "charset"
    )
    binary = _KNOWN.get(kind, kind.startswith("multipart/") or charset is None)
    # JSON and forms are always UTF-8: their charset is not passed on.
    fixed = binary or charset is None or kind in (JSON, FORM)
    return MediaType(value, value if fixed else f"{value}; charset={charset}", binary)
