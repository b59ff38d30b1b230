"""The function as a web action: an HTTP request -> parameters, an answer -> HTTP; and the page.

With `--web true` OpenWhisk merges the query, and a body that is a JSON object or a form of the
kind application/x-www-form-urlencoded, into the parameters; with `--web raw` it does not. What it
does not merge is in `__ow_query` and `__ow_body`. There a body of a binary content type (pictures,
multipart forms, unknown ones) or of application/json is base64, any other is text. Deployments
differ in what they take for binary: a body that is not base64 is taken as it is.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

import action
from action.bootstrap import HEADERS
from action.request import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    RequestError,
    UnsupportedError,
    decode_base64,
)
from action.response import Answer, error_answer

MAX_PAYLOAD = 1024 * 1024  # OpenWhisk's limit of parameters, unless a deployment has set another
METHODS = ("GET", "HEAD", "OPTIONS", "POST")
_ALLOW = {"allow": ", ".join(METHODS)}
_POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PICTURES = {"image", "images"}
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_UPLOAD = "multipart/form-data"
_ACCEPTED = f"image/..., application/octet-stream, {_JSON}, {_UPLOAD} or {_FORM}"
_TRUTH = {"true": True, "false": False}
# Options -> what makes their values of text, which is all that a query has.
_OPTIONS: dict[str, Callable[[str], object]] = {
    "topK": int, "threshold": float, "details": _TRUTH.__getitem__
}  # fmt: skip


def answer(
    params: Answer, model: Answer, classify: Callable[[object], Answer]
) -> tuple[Answer, list[Answer], str]:
    """Answer an HTTP request, as OpenWhisk or DigitalOcean pass it on; never raises an Exception.

    `model` describes it, `classify` answers the parameters of a plain activation. Returns
    `statusCode`, `headers` and `body`, an object or text; and for the log, the answer of each
    picture and the line's end.
    """
    method = ""
    try:
        params = _as_openwhisk(params)
        method = str(params["__ow_method"]).upper()
        if method == "POST":
            reply = _reply(200, classify(_parameters(params)))
        elif method in ("GET", "HEAD"):
            _path_options(params)  # there are no other resources
            shown = _page(params) or _description(model)
            reply = shown if method == "GET" else {**shown, "body": ""}
        elif method == "OPTIONS":
            reply = _reply(204, "", _ALLOW)
        else:
            text = f"method: expected {_ALLOW['allow']}, found {method[:20]!r}"
            reply = _reply(405, {"error": text}, _ALLOW)
    except Exception as error:
        reply = _reply(getattr(error, "status", 500), error_answer(error))
    body = reply["body"]
    pictures = body.get("predictions", [body]) if method == "POST" else []
    name = method if method in METHODS else "other"  # a log line is no place for a client's text
    return reply, pictures, f" method={name} status={reply['statusCode']}"


def _reply(status: int, body: Answer | str, headers: Answer | None = None) -> Answer:
    headers = {**HEADERS, "referrer-policy": "no-referrer", **(headers or {})}
    return {"statusCode": status, "headers": headers, "body": body}


def _description(model: Answer) -> Answer:
    """What the function is and takes, which also tells that it is well."""
    from action.picture import FORMATS
    from action.picture_limits import MAX_PIXELS

    limits: Answer = {"payloadBytes": MAX_PAYLOAD, "imageBytes": MAX_IMAGE_BYTES}
    limits |= {"images": MAX_IMAGES, "pixels": MAX_PIXELS, "formats": list(FORMATS)}
    body = {**model, "version": action.__version__, "limits": limits, "health": "ok"}
    return _reply(200, body, {"vary": "accept"})


def _page(params: Answer) -> Answer | None:
    """The page, if it is there, for those who would rather have it than JSON."""
    accept = _header(params, "accept").lower()
    html, plain = accept.find("text/html"), accept.find(_JSON)
    return None if html < 0 or 0 <= plain < html else _html()


@cache
def _html() -> Answer | None:
    """The page as it is answered, made once.

    The policy lets just its code run: by a hash of each inline element (CSP 3, section 2.3.1).
    """
    from base64 import b64encode
    from hashlib import sha256

    try:
        # From where this module is: a checkout, or `packed.zip` (PEP 302).
        path = os.path.join(os.path.dirname(__file__), "page.html")
        text = globals()["__loader__"].get_data(path).decode()
    except OSError:
        return None
    policy = _POLICY
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}(?:\s[^>]*)?>(.*?)</{tag}>", text, re.DOTALL | re.IGNORECASE)
        digests = [b64encode(sha256(code.encode()).digest()).decode() for code in inline]
        sources = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
        policy += f"; {tag}-src {sources}"
    headers = {"content-type": "text/html; charset=utf-8", "cache-control": "max-age=300"}
    return _reply(200, text, {**headers, "content-security-policy": policy, "vary": "accept"})


def _as_openwhisk(params: Answer) -> Answer:
    """A request as OpenWhisk passes it on, of one with `http` as DigitalOcean's Functions do."""
    if "__ow_method" in params:
        return params
    fields = dict(params)
    http = fields.pop("http")
    for name in ("method", "headers", "path", "body"):
        fields[f"__ow_{name}"] = http.get(name)
    fields["__ow_query"] = http.get("queryString")
    fields["__ow_base64"] = http.get("isBase64Encoded")
    return fields


def _header(params: Answer, name: str) -> str:
    """The value of a header, by its name in lower case; empty if there is none."""
    headers = params.get("__ow_headers")
    return str(headers.get(name) or "") if isinstance(headers, dict) else ""


def _content_type(params: Answer) -> str:
    kind = _header(params, "content-type").partition(";")[0].strip().lower()
    return _JSON if kind.endswith("+json") else kind


def _path_options(params: Answer) -> Answer:
    """Options in the path, as in /topK/5/details/true; raises RequestError for any other path."""
    path = params.get("__ow_path")
    text = path.strip("/") if isinstance(path, str) else ""
    steps = text.split("/") if text else []
    if len(steps) % 2 or not {*steps[::2]} <= _OPTIONS.keys():
        raise RequestError(f"path: expected none, or options as in /topK/5, found {text[:60]!r}")
    return dict(zip(steps[::2], steps[1::2], strict=True))


def _parameters(params: Answer) -> object:
    """Those of a plain activation: the path's count more than the body's, those than the query's.

    Raises ActionError if there are none that can be read.
    """
    fields = {name: value for name, value in params.items() if not name.startswith("__ow_")}
    body, kind = params.get("__ow_body"), _content_type(params)
    if isinstance(fields.get("images"), str) and kind != _JSON:  # in a query or a form
        fields.update(_gathered([("images", fields["images"])]))
    fields.update(_from_query(params.get("__ow_query")))
    if body is not None and body != "":
        sent = _from_body(body, kind, params) if isinstance(body, str) else body
        if not isinstance(sent, dict):
            return sent  # to be refused
        if fields.keys() & _PICTURES and sent.keys() & _PICTURES:
            raise RequestError("expected the picture in the body or in the query, found both")
        fields.update(sent)
    if kind == _FORM and not fields.keys() & _PICTURES:
        # What `curl --data-binary @cat.jpg` says of any file.
        text = "expected the picture's, such as image/jpeg, or a form with 'image'"
        raise RequestError(f"content-type: {text}, found {_FORM} without it")
    fields.update(_path_options(params))
    for name, convert in _OPTIONS.items():
        if isinstance(fields.get(name), str):
            with suppress(KeyError, ValueError):  # what does not fit stays, to be refused
                fields[name] = convert(fields[name])
    return fields


def _gathered(pairs: Sequence[tuple[str, str | bytes]]) -> Answer:
    """Parameters from the fields of a form or a query, of which many may have one name.

    All pictures count, in their order: what is called `image` or `images` (or a list in JSON), and
    files, which are bytes. They are `images`, unless it is but one that is not called so. Of other
    fields the last one counts, as with OpenWhisk.
    """
    fields: Answer = {}
    pictures: list[object] = []
    for name, value in pairs:
        if name not in _PICTURES and isinstance(value, str):
            fields[name] = value
        elif name == "images" and isinstance(value, str) and value.startswith("["):
            pictures += _from_json(value)
        else:
            pictures.append(value)
    if len(pictures) > 1 or any(name == "images" for name, _ in pairs):
        fields["images"] = pictures
    elif pictures:
        fields["image"] = pictures[0]
    return fields


def _from_body(body: str, kind: str, params: Answer) -> object:
    """The parameters in a body; of a form or a picture, files are bytes."""
    if kind in ("", "application/octet-stream") or kind.startswith("image/"):
        return {"image": _bytes(body)}
    if kind == _JSON:
        return _from_json(body)
    if kind == _UPLOAD:
        return _from_upload(_bytes(body), _header(params, "content-type"))
    if kind == _FORM:
        encoded = params.get("__ow_base64")  # by DigitalOcean's; OpenWhisk's is text
        return _from_query(_bytes(body).decode("utf-8", "replace") if encoded else body)
    raise UnsupportedError(f"content-type: expected {_ACCEPTED}, found {kind[:60]!r}")


def _bytes(body: str) -> bytes:
    try:
        return decode_base64(body)
    except RequestError:
        pass
    if "\ufffd" in body:  # what is no text in UTF-8 has become this
        raise UnsupportedError(
            "content-type: expected one that the platform takes for binary, such as image/jpeg or "
            "application/octet-stream, found a body that was passed on as text, which breaks it"
        )
    # Binary content that was taken for text.
    return body.encode("utf-8" if max(body) > "\xff" else "latin-1", "replace")


def _from_json(body: str) -> list[object] | Answer:
    try:
        content = body if body.lstrip()[:1] in ("{", "[") else _bytes(body)
        return json.loads(content)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as error:
        raise RequestError(f"body: expected JSON, found something else: {error}"[:200]) from None


def _from_query(query: object) -> Answer:
    if not isinstance(query, str) or not query:
        return {}
    from urllib.parse import parse_qsl

    return _gathered(parse_qsl(query, keep_blank_values=True))


def _from_upload(content: bytes, content_type: str) -> Answer:
    """The fields of a multipart form (RFC 7578)."""
    boundary = _attribute(content_type, "boundary")
    if not boundary:
        raise RequestError(f"content-type: expected {_UPLOAD} with a boundary, found none")
    parts = (b"\r\n" + content).split(b"\r\n--" + boundary.encode("utf-8", "replace"))[1:]
    if not parts or not parts[-1].startswith(b"--"):
        raise RequestError(f"body: expected {_UPLOAD}, found one without its end")
    fields: list[tuple[str, str | bytes]] = []
    for part in parts[:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        lines = head.decode("utf-8", "replace").split("\r\n")
        headers = {line.partition(":")[0].strip().lower(): line for line in lines}
        disposition = headers.get("content-disposition", "")
        name, filename = _attribute(disposition, "name"), _attribute(disposition, "filename")
        if not filename and "content-type" not in headers:
            fields.append((name, value.decode("utf-8", "replace")))
        elif filename or value:  # else it is a browser's, whose user chose no file
            fields.append((name, value))
    return _gathered(fields)


def _attribute(header: str, name: str) -> str:
    """The value of an attribute in a header, as in `name: value; attribute="value"`."""
    match = re.search(rf';\s*{name}=(?:"([^"]*)"|([^\s;"]+))', header, re.IGNORECASE)
    return (match[1] or match[2] or "") if match else ""
