"""An HTTP request, as OpenWhisk passes it on -> parameters as those of a plain invocation.

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
from contextlib import suppress

from action.request import RequestError, UnsupportedError, decoded, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PICTURES = {"image", "images"}
_FORM = "application/x-www-form-urlencoded"
_UPLOAD = "multipart/form-data"
_ACCEPTED = f"image/..., application/octet-stream, application/json, {_UPLOAD} or {_FORM}"


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
    kind = _kind(header(fields, "content-type"))
    if http.get("isBase64Encoded") and isinstance(body, str) and kind == _FORM:
        fields["__ow_body"] = _bytes(body).decode("utf-8", "replace")  # OpenWhisk's is text
    return fields


def parameters(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a request: the path's count more than the body's, those than the query's.

    Raises:
        ActionError: there are none that can be read.
    """
    return _converted({**_fields(params), **path_options(params)})


def path_options(params: dict[str, Any]) -> dict[str, str]:
    """Options in the path, as in /topK/5/details/true; raises RequestError for any other path."""
    path = params.get("__ow_path")
    text = path.strip("/") if isinstance(path, str) else ""
    if not text:
        return {}
    steps = text.split("/")
    if len(steps) % 2 or not set(steps[::2]) <= set(_CONVERSIONS):
        raise RequestError(f"path: expected none, or options as in /topK/5, found {text[:60]!r}")
    return dict(zip(steps[::2], steps[1::2], strict=True))


def header(params: dict[str, Any], name: str) -> str:
    """The value of a header, by its name in lower case; empty if there is none."""
    headers = params.get("__ow_headers")
    return str(headers.get(name) or "") if isinstance(headers, dict) else ""


def _fields(params: dict[str, Any]) -> Any:
    """The parameters, from wherever they are: the body's count more than the query's."""
    fields = {name: value for name, value in params.items() if not name.startswith("__ow_")}
    body, content_type = params.get("__ow_body"), header(params, "content-type")
    kind = _kind(content_type)
    if isinstance(fields.get("images"), str) and not _is_json(kind):  # in a query or a form
        fields.update(_gathered([("images", fields["images"])]))
    fields.update(_from_query(params.get("__ow_query")))
    if body is not None and body != "":
        sent = _from_body(body, content_type) if isinstance(body, str) else body
        if not isinstance(sent, dict):
            return parse(sent, 1)  # which says what is expected
        if fields.keys() & _PICTURES and sent.keys() & _PICTURES:
            raise RequestError("expected the picture in the body or in the query, found both")
        fields.update(sent)
    if kind == _FORM and not fields.keys() & _PICTURES:
        # What `curl --data-binary @cat.jpg` says of any file.
        raise RequestError(
            "content-type: expected the picture's, such as image/jpeg, or a form with 'image', "
            f"found {_FORM} without it"
        )
    return fields


def _gathered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Parameters from the fields of a form or a query, of which many may have one name.

    All pictures count, in their order: whatever is called `image` or `images`, and files, which are
    bytes. Those are `images`, unless it is but one which is not called so. `images` may also be a
    list in JSON. Of other fields the last one counts, as with OpenWhisk.
    """
    fields = {name: value for name, value in pairs if _is_option(name, value)}
    pictures: list[Any] = []
    several = False
    for name, value in pairs:
        if not _is_option(name, value):
            several |= name == "images"
            listed = name == "images" and value[:1] == "["
            pictures += _from_json(value) if listed else [value]
    if several or len(pictures) > 1:
        fields["images"] = pictures
    elif pictures:
        fields["image"] = pictures[0]
    return fields


def _is_option(name: str, value: Any) -> bool:
    return name not in _PICTURES and not isinstance(value, bytes)


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_json(kind: str) -> bool:
    return kind == "application/json" or kind.endswith("+json")


def _from_body(body: str, content_type: str) -> Any:
    """The parameters in a body; of a form or a picture, files are bytes."""
    kind = _kind(content_type)
    if kind in ("", "application/octet-stream") or kind.startswith("image/"):
        return {"image": _bytes(body)}
    if _is_json(kind):
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
    if "\ufffd" in body:  # what is no text in UTF-8 has become this
        raise UnsupportedError(
            "content-type: expected one that the platform takes for binary, such as image/jpeg or "
            "application/octet-stream, found a body that was passed on as text, which breaks it"
        )
    try:
        return body.encode("latin-1")  # binary content that was taken for text
    except UnicodeEncodeError:
        return body.encode("utf-8", "replace")


def _from_json(body: str) -> Any:
    try:
        return json.loads(body if body.lstrip()[:1] in ("{", "[") else _bytes(body))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"body: expected JSON, found something else: {error}"[:200]) from None


def _from_query(query: Any) -> dict[str, Any]:
    if not isinstance(query, str) or not query:
        return {}
    from urllib.parse import parse_qsl

    return _gathered(parse_qsl(query, keep_blank_values=True))


def _from_upload(content: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a multipart form (RFC 7578)."""
    boundary = _attribute(content_type, "boundary")
    if not boundary:
        raise RequestError(f"content-type: expected {_UPLOAD} with a boundary, found none")
    parts = (b"\r\n" + content).split(b"\r\n--" + boundary.encode("utf-8", "replace"))[1:]
    if not parts or not parts[-1].startswith(b"--"):
        raise RequestError(f"body: expected {_UPLOAD}, found one without its end")
    fields: list[tuple[str, Any]] = []
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
