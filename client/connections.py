"""Send HTTP requests to one server over connections that stay open, through a proxy if need be."""

import base64
import http.client
import ssl
from collections import deque
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

MAX_REPLY_BYTES = 16 * 1024 * 1024
# What a connection raises that the server closed while it was idle.
_STALE = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


class HttpRequest(NamedTuple):
    """A request to the server's URL; `query` takes the place of the URL's own."""

    method: str
    query: str
    body: bytes | None
    headers: dict[str, str]


class Reply(NamedTuple):
    """A server's reply; `headers` as http.client has them."""

    status: int
    headers: http.client.HTTPMessage
    content: bytes


def create_tls_context(ca: Path | None, insecure: bool) -> ssl.SSLContext:
    """Return how to check certificates.

    The authorities in the PEM file `ca` are trusted in place of the system's.

    Raises:
        OSError: the file cannot be read; ssl.SSLError if it has no certificates.
    """
    context = ssl.create_default_context(cafile=ca)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Connections:
    """Connections to the server of a URL; may be used from several threads.

    Each request takes the connection that was used last, so each thread keeps to about one.
    """

    def __init__(self, url: SplitResult, context: ssl.SSLContext) -> None:
        self._url, self._context = url, context
        self._idle: deque[http.client.HTTPConnection] = deque()
        proxy = "" if proxy_bypass(url.netloc) else getproxies().get(url.scheme, "")
        self._proxy = urlsplit(proxy if "://" in proxy or not proxy else f"http://{proxy}")

    def send(self, request: HttpRequest, timeout: float) -> Reply:
        """Send a request and return the reply; raise OSError or HTTPException if that fails."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._send(self._connect(), request, timeout)
            try:
                return self._send(connection, request, timeout)
            except _STALE:
                continue

    def _connect(self) -> http.client.HTTPConnection:
        url, proxy = self._url, self._proxy
        server = proxy if proxy.hostname else url
        host = server.hostname or ""
        if "https" not in (url.scheme, server.scheme):
            return http.client.HTTPConnection(host, server.port)
        connection = http.client.HTTPSConnection(host, server.port, context=self._context)
        if proxy.hostname and url.scheme == "https":
            connection.set_tunnel(url.hostname or "", url.port, self._proxy_headers())
        return connection

    def _proxy_headers(self) -> dict[str, str]:
        if not self._proxy.username:
            return {}
        user = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return {"proxy-authorization": "Basic " + base64.b64encode(user.encode()).decode()}

    def _send(
        self, connection: http.client.HTTPConnection, request: HttpRequest, timeout: float
    ) -> Reply:
        target, headers = self._url._replace(query=request.query), request.headers
        if self._proxy.hostname and self._url.scheme == "http":
            headers = {**headers, **self._proxy_headers()}
        else:
            target = target._replace(scheme="", netloc="", path=target.path or "/")
        connection.timeout = timeout
        if connection.sock:
            connection.sock.settimeout(timeout)
        try:
            connection.request(request.method, target.geturl(), request.body, headers)
            with connection.getresponse() as response:
                content = response.read(MAX_REPLY_BYTES)
                if response.length:
                    raise http.client.IncompleteRead(content, response.length)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return Reply(response.status, response.headers, content)
