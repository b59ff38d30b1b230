"""Serve the web action on loopback, without OpenWhisk: `python3 -m action --serve`.

This does what OpenWhisk's controller does, as far as a web action notices: it turns HTTP requests
into parameters, checks the limit of 1 MiB, and turns the action's answer into an HTTP response.
"""

import base64
import json
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import TextIOWrapper
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from action.web import MAX_PAYLOAD
from client import media_type

HOST = "127.0.0.1"
_RESERVED = {f"__ow_{name}" for name in ("method", "headers", "path", "user", "query", "body")}
# Bytes of a body over the limit that are read: a client that is still sending sees no response.
_MAX_DISCARDED = 64 * 1024 * 1024

Main = Callable[[Any], Any]


class RequestRefused(Exception):
    """OpenWhisk answers the request itself, with this status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class IncomingRequest(NamedTuple):
    """An HTTP request; the names of `headers` are lower case, `target` may have a query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


def web_action_params(request: IncomingRequest, raw: bool = False) -> dict[str, Any]:
    """Return the parameters that OpenWhisk passes to a web action for a request.

    Args:
        request: the HTTP request.
        raw: whether the action was created with `--web raw`, else with `--web true`.

    Raises:
        RequestRefused: OpenWhisk would not invoke the action.
    """
    path, _, query = request.target.partition("?")
    content_type = request.headers.get("content-type")
    kind = media_type.parse_content_type(content_type or "")
    headers = dict(request.headers)
    if request.body:
        headers["content-type"] = kind.header
    system: dict[str, Any] = {
        "__ow_method": request.method.lower(),
        "__ow_headers": headers,
        "__ow_path": "" if path == "/" else path,
    }
    if len(request.body) > MAX_PAYLOAD:
        raise _size_refusal(len(request.body))
    body = _parse_body(request.body, kind, raw) if request.body or content_type else None
    if raw:
        params = {**system, "__ow_query": query, "__ow_body": "" if body is None else body}
    else:
        fields = dict(parse_qsl(query, keep_blank_values=True))
        fields.update(body if isinstance(body, dict) else {})
        if reserved := sorted(_RESERVED & fields.keys()):
            raise RequestRefused(400, f"{reserved[0]} is OpenWhisk's own")
        params = {**system, **fields}
        if body is not None and not isinstance(body, dict):
            params["__ow_body"] = body
    size = len(json.dumps(params))
    if size > MAX_PAYLOAD:
        raise _size_refusal(size)
    return params


def _parse_body(content: bytes, kind: media_type.MediaType, raw: bool) -> Any:
    """Return the body as a JSON value, None if there is none, as in `WebActions.scala`."""
    if kind.is_json and not raw:
        try:
            return json.loads(content) if content else None
        except (ValueError, RecursionError) as error:
            raise RequestRefused(400, f"the body is not JSON: {error}") from None
    if kind.value == media_type.FORM and not raw:
        return dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))
    if kind.binary or kind.value == media_type.JSON:
        return base64.b64encode(content).decode()
    return content.decode("utf-8", "replace")


def _size_refusal(size: int) -> RequestRefused:
    limit = f"OpenWhisk takes {MAX_PAYLOAD} bytes per request"
    return RequestRefused(413, f"{limit}, found {size}; send the picture smaller")


def http_response(answer: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of OpenWhisk's response for a web action's answer."""
    headers, body = dict(answer["headers"]), answer["body"]
    if body == "":
        headers.pop("content-type", None)
    content = body if isinstance(body, str) else json.dumps(body)
    return answer["statusCode"], headers, content.encode()


def run_server(main: Main, port: int, raw: bool) -> int:
    """Answer HTTP requests until Ctrl-C; return the exit status."""
    try:
        server = make_server(main, port, raw)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        print(f"cannot listen on port {port}: {reason}; choose another --port", file=sys.stderr)
        return 2
    print(f"http://{HOST}:{server.server_port}/  (Ctrl-C stops it)", flush=True)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
    return 0


def make_server(main: Main, port: int, raw: bool) -> ThreadingHTTPServer:
    """Return a server for `main` that listens on loopback.

    Raises:
        OSError: the port is in use, or may not be used.
    """
    one_at_a_time = Lock()  # as in a container on the platform

    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def handle_any(self) -> None:
            try:
                params = web_action_params(self.read_request(), raw)
                with one_at_a_time:
                    status, headers, content = http_response(main(params))
            except RequestRefused as refusal:
                status, headers = refusal.status, {"content-type": "application/json"}
                content = json.dumps({"error": str(refusal), "code": "local"}).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.command != "HEAD" else b"")

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):  # any method
                return self.handle_any
            raise AttributeError(name)

        def read_request(self) -> IncomingRequest:
            if "chunked" in self.headers.get("transfer-encoding", ""):
                self.close_connection = True
                raise RequestRefused(411, "this local server needs a content-length")
            length = self.headers.get("content-length", "0")
            if not length.isascii() or not length.isdigit():
                self.close_connection = True
                raise RequestRefused(400, "the content-length is not a number")
            if int(length) > MAX_PAYLOAD:
                self.close_connection = True
                left = min(int(length), _MAX_DISCARDED)
                while left > 0 and (chunk := self.rfile.read(min(left, 1 << 16))):
                    left -= len(chunk)
                raise _size_refusal(int(length))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(length))
            path, mark, query = self.path.partition("?")
            return IncomingRequest(self.command, unquote(path) + mark + query, headers, body)

        def log_message(self, *_: object) -> None:
            """Log nothing: the function logs each activation."""

    return ThreadingHTTPServer((HOST, port), Connection)
