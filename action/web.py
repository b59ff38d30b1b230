"""The function as a web action: HTTP requests, as OpenWhisk passes them on, and HTTP answers.

With `--web true` OpenWhisk merges the query, and a body that is a JSON object or a form of the
kind application/x-www-form-urlencoded, into the parameters; with `--web raw` it does not. What it
does not merge is in `__ow_query` and `__ow_body`. There a body of a binary content type (pictures,
multipart forms, unknown ones) or of application/json is base64, any other is text. Deployments
differ in what they take for binary, so a body that is not base64 is taken as it is.

DigitalOcean's Functions say the same in other words, under `http`, which `translated` turns into
these.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import cache

import action
from action.packages import HEADERS
from action.request import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    RequestError,
    UnsupportedError,
    decoded,
    parse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from action.classifier import Classifier
    from action.pipeline import Pipeline
    from action.response import Answer, Timings

MAX_PAYLOAD = 1024 * 1024
"""OpenWhisk's limit for the parameters of an activation, unless a deployment has set another."""

METHODS = ("GET", "HEAD", "OPTIONS", "POST")
_ALLOW = {"allow": ", ".join(METHODS)}
_FORM = "application/x-www-form-urlencoded"
_UPLOAD = "multipart/form-data"
_ACCEPTED = f"image/..., application/octet-stream, application/json, {_UPLOAD} or {_FORM}"
_HEADERS = {**HEADERS, "referrer-policy": "no-referrer"}


def answer(params: dict[str, Any], pipeline: Pipeline, timings: Timings) -> Answer:
    """Answer one web invocation.

    Args:
        params: what OpenWhisk made of the HTTP request.
        pipeline: classifies the pictures.
        timings: where to add the time spent.

    Returns:
        `statusCode`, `headers` and `body`: an object, which OpenWhisk sends as JSON, or text.

    Raises:
        ActionError: the request cannot be answered; its `status` says whose fault it is.
    """
    method = _method(params)
    if method == "OPTIONS":
        return reply(204, "", _ALLOW)
    if method not in METHODS:
        text = f"method: expected {_ALLOW['allow']}, found {method[:20]!r}"
        return reply(405, {"error": text}, _ALLOW)
    steps = _from_path(params.get("__ow_path"))
    if method == "POST":
        fields = {**_fields(params), **steps}
        request = parse(_converted(fields), len(pipeline.classifier.labels))
        return reply(200, pipeline.answer(request, timings))
    shown = _page(params) or _description(pipeline.classifier)
    return {**shown, "body": ""} if method == "HEAD" else shown


def translated(params: dict[str, Any]) -> dict[str, Any]:
    """A request as OpenWhisk passes it on, where it came as DigitalOcean's Functions do.

    Those have `http`: `headers`, `method` and `path`; of a raw one also `queryString`, `body` and
    `isBase64Encoded`.
    """
    if "__ow_method" in params:
        return params
    fields = dict(params)
    http = fields.pop("http")
    for name in ("method", "headers", "path", "body"):
        fields[f"__ow_{name}"] = http.get(name)
    fields["__ow_query"] = http.get("queryString")
    body = http.get("body")
    kind = _kind(_header(fields, "content-type"))
    if http.get("isBase64Encoded") and isinstance(body, str) and kind == _FORM:
        fields["__ow_body"] = _bytes(body).decode("utf-8", "replace")  # OpenWhisk's is text
    return fields


def reply(status: int, body: Answer | str, headers: dict[str, str] | None = None) -> Answer:
    """A web action's answer, with the headers that all have."""
    return {"statusCode": status, "headers": {**_HEADERS, **(headers or {})}, "body": body}


def logged(params: dict[str, Any], answered: Answer) -> tuple[list[Answer], str]:
    """For the log: the answer of each picture, and the end of the line."""
    method, body = _method(params), answered["body"]
    pictures = body.get("predictions", [body]) if method == "POST" else []
    name = method if method in METHODS else "other"  # a log line is no place for a client's text
    return pictures, f" method={name} status={answered['statusCode']}"


def _method(params: dict[str, Any]) -> str:
    return str(params["__ow_method"]).upper()


def _header(params: dict[str, Any], name: str) -> str:
    headers = params.get("__ow_headers")
    return str(headers.get(name) or "") if isinstance(headers, dict) else ""


# The request -> parameters as those of a plain invocation


def _fields(params: dict[str, Any]) -> Any:
    """The parameters, from wherever they are: the body's count more than the query's."""
    fields = {name: value for name, value in params.items() if not name.startswith("__ow_")}
    fields.update(_from_query(params.get("__ow_query")))
    body, content_type = params.get("__ow_body"), _header(params, "content-type")
    if body is not None and body != "":
        sent = _from_body(body, content_type) if isinstance(body, str) else body
        if not isinstance(sent, dict):
            return parse(sent, 1)  # which says what is expected
        fields.update(sent)
    if _kind(content_type) == _FORM and not fields.keys() & {"image", "images"}:
        # What `curl --data-binary @cat.jpg` says of any file.
        raise RequestError(
            "content-type: expected the picture's, such as image/jpeg, or a form with 'image', "
            f"found {_FORM} without it"
        )
    return fields


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _from_body(body: str, content_type: str) -> Any:
    """The parameters in a body; of a form or a picture, files are bytes."""
    kind = _kind(content_type)
    if kind in ("", "application/octet-stream") or kind.startswith("image/"):
        return {"image": _bytes(body)}
    if kind == "application/json" or kind.endswith("+json"):
        return _from_json(body)
    if kind == _UPLOAD:
        return _from_upload(_bytes(body), content_type)
    if kind == _FORM:
        return _from_query(body)
    raise UnsupportedError(f"content-type: expected {_ACCEPTED}, found {kind[:60]!r}")


def _bytes(body: str) -> bytes:
    try:
        return decoded(body)
    except RequestError:
        pass
    try:
        return body.encode("latin-1")  # binary content that was taken for text
    except UnicodeEncodeError:
        return body.encode("utf-8", "replace")


def _from_json(body: str) -> Any:
    try:
        return json.loads(body if body.lstrip()[:1] in ("{", "[") else _bytes(body))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"body: expected JSON, found something else: {error}"[:200]) from None


def _from_query(query: Any) -> dict[str, str]:
    if not isinstance(query, str) or not query:
        return {}
    from urllib.parse import parse_qsl

    return dict(parse_qsl(query, keep_blank_values=True))


def _from_path(path: Any) -> dict[str, str]:
    """Options in the path, as in /topK/5/details/true."""
    text = path.strip("/") if isinstance(path, str) else ""
    if not text:
        return {}
    steps = text.split("/")
    if len(steps) % 2 or not set(steps[::2]) <= set(_CONVERSIONS):
        raise RequestError(f"path: expected none, or options as in /topK/5, found {path[:60]!r}")
    return dict(zip(steps[::2], steps[1::2], strict=True))


def _from_upload(content: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a multipart form (RFC 7578). `image` is its file, or else its first one."""
    boundary = _attribute(content_type, "boundary")
    if not boundary:
        raise RequestError(f"content-type: expected {_UPLOAD} with a boundary, found none")
    parts = (b"\r\n" + content).split(b"\r\n--" + boundary.encode("utf-8", "replace"))[1:]
    if not parts or not parts[-1].startswith(b"--"):
        raise RequestError(f"body: expected {_UPLOAD}, found one without its end")
    fields: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for part in parts[:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        lines = head.decode("utf-8", "replace").split("\r\n")
        headers = {line.partition(":")[0].strip().lower(): line for line in lines}
        disposition = headers.get("content-disposition", "")
        name = _attribute(disposition, "name")
        if "content-type" in headers or _attribute(disposition, "filename"):
            files.setdefault(name, value)
        else:
            fields[name] = value.decode("utf-8", "replace")
    if files:
        fields["image"] = files.get("image", next(iter(files.values())))
    return fields


def _attribute(header: str, name: str) -> str:
    """The value of an attribute in a header, as in `name: value; attribute="value"`."""
    import re

    found = re.search(rf';\s*{name}=(?:"([^"]*)"|([^\s;"]+))', header, re.IGNORECASE)
    return (found[1] or found[2] or "") if found else ""


def _converted(fields: dict[str, Any]) -> dict[str, Any]:
    """Options from text, which is all that a query has; what does not fit stays, to be refused."""
    for name, convert in _CONVERSIONS.items():
        value = fields.get(name)
        if isinstance(value, str):
            with suppress(KeyError, ValueError):
                fields[name] = convert(value)
    return fields


_CONVERSIONS: dict[str, Callable[[str], Any]] = {
    "topK": int,
    "threshold": float,
    "details": {"true": True, "false": False}.__getitem__,
}


# GET


def _description(classifier: Classifier) -> Answer:
    """What the function is and takes, which also tells that it is well."""
    from action.picture_cost import MAX_PIXELS
    from action.picture_format import FORMATS

    limits = {
        "payloadBytes": MAX_PAYLOAD,
        "imageBytes": MAX_IMAGE_BYTES,
        "images": MAX_IMAGES,
        "pixels": MAX_PIXELS,
        "formats": list(FORMATS),
    }
    model = {"model": classifier.name, "classes": len(classifier.labels)}
    body = {**model, "version": action.__version__, "limits": limits, "health": "ok"}
    return reply(200, body, {"vary": "accept"})


def _page(params: dict[str, Any]) -> Answer | None:
    """The page, for those who would rather have it than JSON, if it is there."""
    accept = _header(params, "accept").lower()
    html, plain = accept.find("text/html"), accept.find("application/json")
    text, policy = _page_file() if html >= 0 and not 0 <= plain < html else ("", "")
    if not text:
        return None
    headers = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "max-age=300",
        "content-security-policy": policy,
        "vary": "accept",
    }
    return reply(200, text, headers)


@cache
def _page_file() -> tuple[str, str]:
    """The page beside this module, if it is there, and the policy that lets just its code run."""
    try:
        # From where this module is: a checkout, or `packed.zip` (PEP 302).
        loader: Any = globals()["__loader__"]
        path = os.path.join(os.path.dirname(__file__), "page.html")
        text = loader.get_data(path).decode()
    except OSError:
        return "", ""
    allowed = "".join(f"{tag}-src {_hashes(text, tag)}; " for tag in ("script", "style"))
    return text, (
        f"default-src 'none'; {allowed}img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(page: str, tag: str) -> str:
    """Sources for a content security policy (CSP 3, section 2.3.1): a hash per inline element."""
    import re
    from base64 import b64encode
    from hashlib import sha256

    inline = re.findall(rf"<{tag}(?:\s[^>]*)?>(.*?)</{tag}>", page, re.DOTALL | re.IGNORECASE)
    digests = [b64encode(sha256(code.encode()).digest()).decode() for code in inline]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
