"""Serve the web action on loopback, without OpenWhisk: `python3 -m action --serve`.

This does what OpenWhisk's controller does, as far as a web action and its clients notice. It turns
HTTP requests into parameters, refuses some itself, and turns the action's result into a response.
Written after `WebActions.scala`, and held to what a real one answered. HTTP itself is waitress's.
"""

import base64
import http.client
import json
import logging
import os
import re
import socket
import sys
import uuid
from collections.abc import Callable, Iterable
from io import TextIOWrapper
from string import hexdigits
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from action.web import MAX_PAYLOAD
from client import media_type

HOST = "127.0.0.1"
# A page of another site may reach this server under a name of its own: DNS rebinding.
_OWN_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)
_RESERVED = {f"__ow_{name}" for name in ("method", "headers", "path", "user", "query", "body")}
_MAX_TARGET = 8192
# Bytes of a body that are read, to answer with 413 what OpenWhisk refuses.
_MAX_BODY = 64 * 1024 * 1024
# The function's own address on the platform.
_ADDRESS = re.compile(r"/api/v1/web/[^/?]+/[^/?]+/[^/?.]+(\.[^/?]*)?(?=[/?]|$)")
# Extension of that address -> the result's media type, and what the result has to be.
_EXTENSIONS: dict[str, tuple[str, Any]] = {
    ".http": ("message/http", dict), ".json": (media_type.JSON, (dict, list)),
    ".html": ("text/html", str), ".svg": ("image/svg+xml", str), ".text": ("text/plain", object),
}  # fmt: skip
_FORM_TEXT = re.compile(r"(?:[!-\"$&-~]|%[0-9A-Fa-f]{2})*")
# What Python's JSON parser says -> what the platform's parser expects.
_EXPECTED_JSON = {
    "Expecting property name enclosed in double quotes": "'\"'",
    "Expecting value": "JSON Value",
    "Extra data": "end-of-input",
}
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH",
    "access-control-allow-headers": "Authorization, Origin, X-Requested-With, Content-Type, "
    "Accept, User-Agent",
}

Main = Callable[[Any], Any]


class IncomingRequest(NamedTuple):
    """An HTTP request; the names of `headers` are lower case, `target` may have a query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    content: bytes


class RequestRefused(Exception):
    """OpenWhisk answers the request itself.

    Attributes:
        status: of the response.
        cors: whether the response has the headers that let pages of other sites read it.
    """

    def __init__(self, status: int, text: str, cors: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.cors = cors

    def response(self) -> Response:
        """Return the response."""
        if self.status == 414:
            return Response(414, {"content-type": "text/plain; charset=UTF-8"}, str(self).encode())
        content = json.dumps({"code": uuid.uuid4().hex, "error": str(self)}).encode()
        cors = _CORS if self.cors else {}
        return Response(self.status, {**cors, "content-type": media_type.JSON}, content)


def answer_request(main: Main, request: IncomingRequest, raw: bool = False) -> Response:
    """Answer a request as OpenWhisk does for the web action `main`.

    The path may be the action's address on the platform, such as
    `/api/v1/web/guest/default/classify.json`, or only what follows it.
    """
    headers: dict[str, str] = {}
    try:
        target, extension = _split_address(request.target)
        if request.method == "OPTIONS":
            return Response(200, _CORS, b"")
        params = web_action_params(request._replace(target=target), raw)
        headers = {**_CORS, "x-openwhisk-activation-id": uuid.uuid4().hex}
        response = http_response(main(params), extension, request.headers.get("accept", ""))
    except RequestRefused as refusal:
        response = refusal.response()
        headers = headers if refusal.cors else {}
    return response._replace(headers={**headers, **response.headers})


def _split_address(target: str) -> tuple[str, str]:
    """Return the part of a target behind the action's address, and the address's extension."""
    if len(target) > _MAX_TARGET:
        raise RequestRefused(
            414, f"URI length exceeds the configured limit of {_MAX_TARGET} characters"
        )
    match = _ADDRESS.match(target)
    extension = match[1] if match and match[1] else ".http"
    if extension not in _EXTENSIONS:
        raise RequestRefused(404, "The requested resource does not exist.")
    return target[match.end() :] if match else target, extension


def web_action_params(request: IncomingRequest, raw: bool = False) -> dict[str, Any]:
    """Return the parameters that OpenWhisk passes to a web action for a request.

    `raw` is for an action that was created with `--web raw`.

    Raises:
        RequestRefused: OpenWhisk would not invoke the action.
    """
    path, _, query = request.target.partition("?")
    content_type = request.headers.get("content-type")
    kind = media_type.parse_content_type(content_type or "")
    headers = dict(request.headers)
    headers.pop("content-length", None)
    if request.body:
        headers["content-type"] = kind.header
    system: dict[str, Any] = {
        "__ow_method": request.method.lower(),
        "__ow_headers": headers,
        "__ow_path": "" if path == "/" else path,
    }
    if (size := len(request.body)) > MAX_PAYLOAD:
        raise RequestRefused(413, f"Request larger than allowed: {size} > {MAX_PAYLOAD} bytes.")
    body = _parse_body(request.body, kind, raw) if request.body or content_type else None
    if raw:
        return {**system, "__ow_query": query, "__ow_body": "" if body is None else body}
    fields = dict(parse_qsl(query, keep_blank_values=True))
    fields.update(body if isinstance(body, dict) else {})
    if _RESERVED & fields.keys():
        text = "Request defines parameters that are not allowed (e.g., reserved properties)."
        raise RequestRefused(400, text, cors=True)
    params = {**system, **fields}
    if body is not None and not isinstance(body, dict):
        params["__ow_body"] = body
    return params


def _parse_body(content: bytes, kind: media_type.MediaType, raw: bool) -> Any:
    """Return the body as a JSON value, None if there is none, as in `WebActions.scala`."""
    if kind.is_json and not raw:
        return _parse_json(content) if content else None
    if kind.value == media_type.FORM and not raw:
        text = content.decode("utf-8", "replace")
        _check_form(text)
        return dict(parse_qsl(text, keep_blank_values=True))
    if kind.binary or kind.value == media_type.JSON:
        return base64.b64encode(content).decode()
    return content.decode("utf-8", "replace")


def _parse_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        found = f"character '{error.doc[error.pos]}'" if error.doc[error.pos :] else "end-of-input"
        text = f"Unexpected {found} at input index {error.pos} (line {error.lineno}, position "
        text += f"{error.colno}), expected {_EXPECTED_JSON.get(error.msg, error.msg)}:\n"
        text += f"{error.doc.split(chr(10))[error.lineno - 1]}\n{'^':>{error.colno}}\n"
    except (ValueError, RecursionError) as error:
        text = str(error)
    raise RequestRefused(400, f"The request content was malformed:\n{text}")


def _check_form(text: str) -> None:
    """Raise RequestRefused at a character that has to be percent-encoded."""
    position = len(_FORM_TEXT.match(text)[0])  # type: ignore[index]
    if position == len(text):
        return
    expected = "'+', query-char, pct-encoded, '&' or 'EOI'"
    if text[position] == "%":
        expected = "HEXDIG"
        position += 2 if text[position + 1 : position + 2] in set(hexdigits) else 1
    found = text[position : position + 1].encode("unicode_escape").decode()
    place = f"(line 1, column {position + 1}): {text.partition(chr(10))[0]}\n{'^':>{position + 1}}"
    raise RequestRefused(
        400, f"Illegal query: Invalid input '{found}', expected {expected} {place}"
    )


def http_response(result: Any, extension: str = ".http", accept: str = "") -> Response:
    """Return OpenWhisk's response for the result of a web action.

    Raises:
        RequestRefused: OpenWhisk cannot make a response of the result, or not one that the client
            accepts.
    """
    if "error" in result:
        result = result["error"]
    elif extension == ".text":
        if "text" not in result:
            raise RequestRefused(404, "Response does not include requested property.", cors=True)
        result = result["text"]
    kind, expected = _EXTENSIONS[extension]
    if not isinstance(result, expected):
        raise RequestRefused(400, f"Response is not valid '{kind}'.", cors=True)
    if extension != ".http":
        result = {"headers": {"content-type": kind}, "body": result}
    headers = {name.lower(): value for name, value in (result.get("headers") or {}).items()}
    body = result.get("body")
    status = result.get("statusCode", 204 if body is None else 200)
    if body in (None, ""):
        headers.pop("content-type", None)
        return Response(status, headers, b"")
    if isinstance(body, str):
        return Response(status, {"content-type": "text/html", **headers}, body.encode())
    headers.setdefault("content-type", media_type.JSON)
    if headers["content-type"] == media_type.JSON and not _accepts_json(accept):
        text = "Resource representation is only available with these types:"
        raise RequestRefused(406, f"{text}\n{media_type.JSON}")
    return Response(status, headers, json.dumps(body, indent=2, ensure_ascii=False).encode())


def _accepts_json(accept: str) -> bool:
    """Return whether an Accept header (RFC 9110, section 12.5.1) allows JSON."""
    ranges = {item.partition(";")[0].strip().lower() for item in accept.split(",")}
    return not accept.strip() or bool(ranges & {"*/*", "application/*", media_type.JSON})


def run_server(main: Main, port: int, raw: bool) -> int:
    """Answer HTTP requests until Ctrl-C; return the exit status."""
    try:
        listener = socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else error
        print(f"cannot listen on port {port}: {reason}; choose another --port", file=sys.stderr)
        return 2
    print(f"http://{HOST}:{listener.getsockname()[1]}/  (Ctrl-C stops it)", flush=True)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    _serve(_wsgi_application(main, raw), listener)
    print("stopped")
    return 0


def _wsgi_application(main: Main, raw: bool) -> Callable[..., Iterable[bytes]]:
    """Return the web action as a WSGI application (PEP 3333)."""

    def application(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        if _OWN_HOST.fullmatch(host):
            status, headers, content = answer_request(main, _read_request(environ), raw)
        else:
            text = f"Host: expected localhost or {HOST}, found {host[:60]!r}"
            text += "; this server is for its own machine only"
            status, headers, content = RequestRefused(400, text).response()
        if status != 204:
            headers = {**headers, "content-length": str(len(content))}
        reason = http.client.responses.get(status, "")
        start(f"{status} {reason}", [(name, str(value)) for name, value in headers.items()])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else content]

    return application


def _read_request(environ: dict[str, Any]) -> IncomingRequest:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name == "CONTENT_TYPE"
    }
    body = environ["wsgi.input"].read()
    return IncomingRequest(environ["REQUEST_METHOD"], environ["REQUEST_URI"], headers, body)


def _serve(application: Callable[..., Iterable[bytes]], listener: socket.socket) -> None:
    """Serve a WSGI application until Ctrl-C, one request at a time as in a container."""
    import waitress
    from waitress.channel import HTTPChannel
    from waitress.parser import HTTPRequestParser, ParsingError

    class Parser(HTTPRequestParser):  # type: ignore[misc]
        def parse_header(self, header: bytes) -> None:
            try:
                super().parse_header(header)
            except ValueError:  # a number of thousands of digits, an address with half a "[::1]"
                raise ParsingError("a header cannot be read") from None

    class Channel(HTTPChannel):  # type: ignore[misc]
        parser_class = Parser

    # Otherwise it warns when a second request has to wait.
    logging.getLogger("waitress").setLevel(logging.ERROR)
    server = waitress.create_server(
        application, sockets=[listener], threads=1, channel_timeout=30, ident=None,
        max_request_body_size=_MAX_BODY, clear_untrusted_proxy_headers=False,
        log_socket_errors=False,
    )  # fmt: skip
    server.channel_class = Channel
    server.run()
