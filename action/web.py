"""Web action: turn an HTTP request into parameters, and an answer into an HTTP reply; the page.

With `--web true` OpenWhisk merges the query and the body into the parameters, if the body is a JSON
object or a form of type application/x-www-form-urlencoded. With `--web raw` it does not. What is
not merged is in `__ow_query` and `__ow_body`. A body of a binary content type (pictures, multipart
forms, unknown types) or of application/json is base64 there, any other is text. Deployments differ
in which types they treat as binary: a body that is not base64 is taken as it is.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

import action
from action.bootstrap import JSON_HEADERS
from action.request import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    RequestError,
    UnsupportedError,
    decode_base64,
)
from action.response import Answer, error_answer

# OpenWhisk's default limit for parameters, in bytes.
MAX_PAYLOAD = 1024 * 1024
# Characters of a header that are read, as many as web servers take.
_MAX_HEADER = 8192
METHODS = ("GET", "HEAD", "OPTIONS", "POST")
_ALLOW = {"allow": ", ".join(METHODS)}
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PICTURE_FIELDS = {"image", "images"}
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_ACCEPTED = f"image/..., application/octet-stream, {_JSON}, {_MULTIPART} or {_FORM}"
_BOOLEANS = {"true": True, "false": False}
# Option -> the function that parses its text: queries and forms have nothing but text.
_OPTION_PARSERS: dict[str, Callable[[str], object]] = {
    "topK": int, "threshold": float, "details": _BOOLEANS.__getitem__
}  # fmt: skip


def respond(
    params: Answer, model: Answer, classify: Callable[[object], Answer]
) -> tuple[Answer, list[Answer], str]:
    """Answer an HTTP request, as OpenWhisk or DigitalOcean pass it on; never raise an Exception.

    `model` describes the model, `classify` answers the parameters of a plain activation. Returns
    the reply (`statusCode`, `headers` and `body`, an object or text), and for the log the answer
    of each picture and the end of the line.
    """
    method = ""
    try:
        params = _convert_digitalocean_event(params)
        method = str(params["__ow_method"]).upper()
        if method == "POST":
            reply = _make_reply(200, classify(_merge_parameters(params)))
        elif method in ("GET", "HEAD"):
            _parse_path_options(params)  # raises for any other path
            reply = _load_page() if _prefers_html(params) else _describe_function(model)
            if method == "HEAD":
                reply = {**reply, "body": ""}
        elif method == "OPTIONS":
            reply = _make_reply(204, "", _ALLOW)
        else:
            text = f"method: expected {_ALLOW['allow']}, found {method[:20]!r}"
            reply = _make_reply(405, {"error": text}, _ALLOW)
    except Exception as error:
        reply = _make_reply(getattr(error, "status", 500), error_answer(error))
    body = reply["body"]
    pictures = body.get("predictions", [body]) if method == "POST" else []
    name = method if method in METHODS else "other"  # keeps the client's text out of the log
    return reply, pictures, f" method={name} status={reply['statusCode']}"


def _make_reply(status: int, body: Answer | str, headers: Answer | None = None) -> Answer:
    headers = {**JSON_HEADERS, "referrer-policy": "no-referrer", **(headers or {})}
    return {"statusCode": status, "headers": headers, "body": body}


def _describe_function(model: Answer) -> Answer:
    """Return the reply that describes the function and its limits; it serves as health check."""
    from action.picture import FORMATS
    from action.picture_limits import MAX_PIXELS

    limits: Answer = {"payloadBytes": MAX_PAYLOAD, "imageBytes": MAX_IMAGE_BYTES}
    limits |= {"images": MAX_IMAGES, "pixels": MAX_PIXELS, "formats": list(FORMATS)}
    body = {**model, "version": action.__version__, "limits": limits, "health": "ok"}
    return _make_reply(200, body, {"vary": "accept"})


def _prefers_html(params: Answer) -> bool:
    """Return whether the client accepts HTML, and names it before JSON."""
    accept = _get_header(params, "accept").lower()
    html, json_type = accept.find("text/html"), accept.find(_JSON)
    return html >= 0 and not 0 <= json_type < html


@cache
def _load_page() -> Answer:
    """Return the reply with the page.

    The policy allows only its own script and style, by their hashes (CSP 3, section 2.3.1).
    """
    from base64 import b64encode
    from hashlib import sha256

    # The page is beside this module: in a checkout, or in `packed.zip` (PEP 302).
    path = os.path.join(os.path.dirname(__file__), "page.html")
    text = globals()["__loader__"].get_data(path).decode()
    policy = _CONTENT_SECURITY_POLICY
    for tag in ("script", "style"):
        code = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = b64encode(sha256(code.encode()).digest()).decode()
        policy += f"; {tag}-src 'sha256-{digest}'"
    headers = {"content-type": "text/html; charset=utf-8", "cache-control": "max-age=300"}
    headers |= {"content-security-policy": policy, "vary": "accept"}
    return _make_reply(200, text, headers)


def _convert_digitalocean_event(params: Answer) -> Answer:
    """Convert `http`, as DigitalOcean Functions pass it, to OpenWhisk's `__ow_...` parameters."""
    if "__ow_method" in params:
        return params
    fields = dict(params)
    http = fields.pop("http")
    for name in ("method", "headers", "path", "body"):
        fields[f"__ow_{name}"] = http.get(name)
    fields["__ow_query"] = http.get("queryString")
    fields["__ow_base64"] = http.get("isBase64Encoded")
    return fields


def _get_header(params: Answer, name: str) -> str:
    """Return the value of a header, by its name in lower case; empty if there is none."""
    headers = params.get("__ow_headers")
    return str(headers.get(name) or "") if isinstance(headers, dict) else ""


def _get_content_type(params: Answer) -> str:
    kind = _get_header(params, "content-type").partition(";")[0].strip().lower()
    return _JSON if kind.endswith("+json") else kind


def _parse_path_options(params: Answer) -> Answer:
    """Return options in the path, as in /topK/5/details/true; raise RequestError for others."""
    path = params.get("__ow_path")
    text = path.strip("/") if isinstance(path, str) else ""
    parts = text.split("/") if text else []
    if len(parts) % 2 or not {*parts[::2]} <= _OPTION_PARSERS.keys():
        sent = f"found {text[:60]!r:.100}"
        raise RequestError(f"path: expected none, or options as in /topK/5, {sent}")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _merge_parameters(params: Answer) -> object:
    """Merge parameters: the path overrides the body, the body the query.

    Returns the parameters of a plain activation, or a body that is not an object, which
    `parse_request` refuses. Raises ActionError if the request cannot be read.
    """
    fields = {name: value for name, value in params.items() if not name.startswith("__ow_")}
    body, kind = params.get("__ow_body"), _get_content_type(params)
    if isinstance(fields.get("images"), str) and kind != _JSON:  # in a query or a form
        fields.update(_collect_fields([("images", fields["images"])]))
    fields.update(_parse_query(params.get("__ow_query")))
    if body is not None and body != "":
        sent = _parse_body(body, kind, params) if isinstance(body, str) else body
        if not isinstance(sent, dict):
            return sent
        if fields.keys() & _PICTURE_FIELDS and sent.keys() & _PICTURE_FIELDS:
            raise RequestError("expected the picture in the body or in the query, found both")
        fields.update(sent)
    if kind == _FORM and not fields.keys() & _PICTURE_FIELDS:
        # `curl --data-binary @cat.jpg` sends this type with any file.
        text = "expected the picture's, such as image/jpeg, or a form with 'image'"
        sent = f"{_FORM} without it"
        if any(name.lstrip().startswith("{") for name in fields):
            sent = f"JSON text as {_FORM}: send it as {_JSON}"
        raise RequestError(f"content-type: {text}, found {sent}")
    fields.update(_parse_path_options(params))
    _parse_options(fields)
    return fields


def _parse_options(fields: Answer) -> None:
    """Parse options that are text; malformed ones stay, for `parse_request` to refuse."""
    for name, parse in _OPTION_PARSERS.items():
        text = fields.get(name)
        # `int` and `float` would take underscores, and digits of other scripts.
        if isinstance(text, str) and text.isascii() and "_" not in text:
            with suppress(KeyError, ValueError):
                fields[name] = parse(text)


def _collect_fields(pairs: Sequence[tuple[str, object]]) -> Answer:
    """Return the parameters in the fields of a form or a query; names may repeat.

    Pictures are fields named `image` or `images` (this also as a JSON list), and bytes. All
    pictures count, in their order. A single one becomes `image`, unless its field is named
    `images`. Of other fields with one name the last one counts, as with OpenWhisk.
    """
    fields: Answer = {}
    pictures: list[object] = []
    for name, value in pairs:
        if name not in _PICTURE_FIELDS and not isinstance(value, bytes):
            fields[name] = value
        elif name == "images" and isinstance(value, list):
            pictures += value
        elif name == "images" and isinstance(value, str) and value.startswith("["):
            pictures += _parse_json(value)
        else:
            pictures.append(value)
    if len(pictures) > 1 or any(name == "images" for name, _ in pairs):
        fields["images"] = pictures
    elif pictures:
        fields["image"] = pictures[0]
    return fields


def _parse_body(body: str, kind: str, params: Answer) -> object:
    """Return the parameters in a body; pictures and files of a form are bytes."""
    if kind in ("", "application/octet-stream") or kind.startswith("image/"):
        return {"image": _decode_body(body)}
    if kind == _JSON:
        return _parse_json(body)
    if kind == _MULTIPART:
        return _parse_multipart(_decode_body(body), _get_header(params, "content-type"))
    if kind == _FORM:
        if params.get("__ow_base64"):  # only DigitalOcean encodes forms
            body = _decode_body(body).decode("utf-8", "replace")
        return _parse_query(body)
    raise UnsupportedError(f"content-type: expected {_ACCEPTED}, found {kind[:60]!r:.100}")


def _decode_body(body: str) -> bytes:
    """Decode a binary body from base64, or from text if the platform took it for text."""
    try:
        return decode_base64(body)
    except RequestError:
        pass
    if "\ufffd" in body:  # replaces bytes that are not UTF-8
        raise UnsupportedError(
            "content-type: expected one that the platform treats as binary, such as image/jpeg or "
            "application/octet-stream, found a body that was passed on as text, which breaks it"
        )
    return body.encode("utf-8" if max(body) > "\xff" else "latin-1", "replace")


def _parse_json(body: str) -> list[object] | Answer:
    try:
        is_text = body.lstrip()[:1] in ("{", "[")
        content = body if is_text else _decode_body(body)
        return json.loads(content)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as error:
        raise RequestError(f"body: expected JSON, found something else: {error}"[:200]) from None


def _parse_query(query: object) -> Answer:
    if not isinstance(query, str) or not query:
        return {}
    from urllib.parse import parse_qsl

    return _collect_fields(parse_qsl(query, keep_blank_values=True))


def _parse_multipart(content: bytes, content_type: str) -> Answer:
    """Return the parameters in a multipart form (RFC 7578)."""
    boundary = _parse_attributes(content_type).get("boundary")
    if not boundary:
        raise RequestError(f"content-type: expected {_MULTIPART} with a boundary, found none")
    parts = (b"\r\n" + content).split(b"\r\n--" + boundary.encode("utf-8", "replace"))[1:]
    if not parts or not parts[-1].startswith(b"--"):
        raise RequestError(f"body: expected {_MULTIPART}, found one without its end")
    fields: list[tuple[str, object]] = []
    for part in parts[:-1]:
        fields += _parse_part(*part.partition(b"\r\n\r\n")[::2])
    return _collect_fields(fields)


def _parse_part(head: bytes, content: bytes) -> list[tuple[str, object]]:
    """Return the fields in a part of a form; none if a browser's user chose no file.

    A part without a file name is a field (RFC 7578, section 4.4), unless it holds a picture. If its
    type is JSON, as Retrofit's and Spring's clients send it, an object stands for its members.
    """
    lines = head.decode("utf-8", "replace").split("\r\n")
    headers = {line.partition(":")[0].strip().lower(): line for line in lines}
    attributes = _parse_attributes(headers.get("content-disposition", ""))
    name = attributes.get("name", "")
    if re.search(r":\s*base64\s*$", headers.get("content-transfer-encoding", ""), re.IGNORECASE):
        content = decode_base64(content.decode("latin-1"))
    is_file = attributes.get("filename") or attributes.get("filename*")
    if is_file or _is_picture(content, name in _PICTURE_FIELDS):
        return [(name, content)]
    if "filename" in attributes and not content:
        return []
    text = content.decode("utf-8", "replace")
    if "json" in headers.get("content-type", "").lower():
        with suppress(ValueError, RecursionError):
            value = json.loads(text)
            return [*value.items()] if isinstance(value, dict) else [(name, value)]
    return [(name, text)]


def _is_picture(content: bytes, in_picture_field: bool) -> bool:
    """Return whether a part without a file name has a picture's bytes, not text."""
    from action.picture import sniff_format

    if content.isascii() and b"\0" not in content:
        return False
    with suppress(UnsupportedError):
        return bool(sniff_format(content))
    return in_picture_field


def _parse_attributes(header: str) -> dict[str, str]:
    """Return the attributes of a header, as in `name: value; attribute="value"`."""
    # `re` takes up to 200 bytes for each character in quotes.
    header = header[:_MAX_HEADER]
    pairs = re.findall(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', header)
    return {name.lower(): quoted or plain for name, quoted, plain in pairs}
