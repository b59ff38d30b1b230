"""Content types as OpenWhisk's controller understands them: which are text, and what is passed on.

Its HTTP server is akka-http 10.2. That knows some media types, which are binary or text whatever
their parameters say (`MediaTypes`). Any other is text if it has a charset, else binary
(`CommonActions.getMediaType`). A header that it cannot parse is as if it were not there
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
_WHOLE = re.compile(rf"({_TOKEN}) */({_TOKEN}) *((?:{_PARAMETER})*)")

_TEXT = {
    "application": """atom+xml base64 javascript json json-patch+json merge-patch+json problem+json
        problem+xml rss+xml soap+xml vnd.api+json vnd.google-earth.kml+xml x-latex x-vrml
        x-www-form-urlencoded xhtml+xml xml xml-dtd""",
    "text": """asp cache-manifest calendar css csv event-stream html markdown mcf plain richtext
        tab-separated-values uri-list vnd.wap.wml vnd.wap.wmlscript x-asm x-c x-component x-h
        x-java-source x-pascal x-script x-scriptcsh x-scriptelisp x-scriptksh x-scriptlisp
        x-scriptperl x-scriptperl-module x-scriptphyton x-scriptrexx x-scriptscheme x-scriptsh
        x-scripttcl x-scripttcsh x-scriptzsh x-server-parsed-html x-setext x-sgml x-speech
        x-uuencode x-vcalendar x-vcard xml""",
}
_BINARY = {
    "application": """cbor excel font-woff gnutar grpc+proto java-archive lha lzx mspowerpoint
        msword octet-stream pdf postscript vnd.google-earth.kmz vnd.ms-excel vnd.ms-fontobject
        vnd.ms-powerpoint x-7z-compressed x-ace-compressed x-apple-diskimage x-arc-compressed
        x-bzip x-bzip2 x-chrome-extension x-compress x-compressed x-debian-package x-dvi
        x-font-opentype x-font-truetype x-gtar x-gzip x-rar-compressed x-redhat-package-manager
        x-shockwave-flash x-tar x-tex x-texinfo x-x509-ca-cert x-xpinstall zip""",
    "audio": """aiff basic midi mod mpeg ogg voc vorbis voxware wav webm x-pn-realaudio x-psid
        xm""",
    "font": "woff woff2",
    "image": """gif jpeg pict png svg+xml tiff webp x-icon x-ms-bmp x-pcx x-pict x-quicktime x-rgb
        x-xbitmap x-xpixmap""",
    "message": "delivery-status http rfc822",
    "video": """avs-video divx gl mp4 mpeg ogg quicktime webm x-dv x-flv x-motion-jpeg x-ms-asf
        x-msvideo x-sgi-movie""",
}
_KNOWN = {
    f"{main}/{sub}": binary
    for families, binary in ((_TEXT, False), (_BINARY, True))
    for main, subs in families.items()
    for sub in subs.split()
}
_FIXED = {JSON, FORM, "text/event-stream"}
"""Whose charset is always UTF-8 and is not passed on; so is that of any known +json."""


class MediaType(NamedTuple):
    """What the controller goes by.

    `value` is the type with its parameters, but for the charset, by which two types are the same;
    `header` is what it passes on; a body is base64 for the action if the type is `binary`.
    """

    value: str
    header: str
    binary: bool

    @property
    def is_json(self) -> bool:
        """Whether a body is merged into the parameters, if it is an object."""
        return self.value == JSON or self.value.endswith("+json")


def parse(content_type: str) -> MediaType:
    """Understand a Content-Type header (RFC 9110, section 8.3), as akka-http does.

    Args:
        content_type: the header's value; empty if there is none.
    """
    whole = _WHOLE.fullmatch(content_type.replace("\t", " ").strip(" "))
    if not whole:
        return MediaType(DEFAULT, DEFAULT, True)
    kind = f"{whole[1]}/{whole[2]}".lower()
    given = [(name, _unquoted(value)) for name, value in re.findall(_PARAMETER, whole[3])]
    charset = next((value for name, value in given[::-1] if name.lower() == "charset"), None)
    rest = sorted({name: value for name, value in given if name.lower() != "charset"}.items())
    value = kind + "".join(f"; {name}={_quoted(value)}" for name, value in rest)
    binary = _KNOWN.get(kind, kind.startswith("multipart/") or charset is None)
    fixed = binary or kind in _FIXED or (kind in _KNOWN and kind.endswith("+json"))
    header = value if fixed or charset is None else f"{value}; charset={charset}"
    return MediaType(value, header, binary)


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _quoted(value: str) -> str:
    if re.fullmatch(_TOKEN, value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
