"""An HTTP server on loopback, which answers as a function says; one that serves files."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from client.local_server import IncomingRequest, Response


@dataclass
class File:
    """A file that is served at one path.

    Attributes:
        content: the bytes.
        cut_at: lengths of the file at which the first, second, ... responses break off.
        statuses: status codes that the first, second, ... requests get in place of the file; 0 is
            no status of HTTP: clients see a broken connection.
        kind: the Content-Type.
    """

    content: bytes
    cut_at: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    kind: str = "application/octet-stream"


@dataclass
class Server:
    """The server's address, its files by path, and the paths that were asked for."""

    url: str
    files: dict[str, File]
    requests: list[str] = field(default_factory=list)


def make_certificate(folder: Path, host: str) -> Path:
    """Make a certificate for a host, as "IP:127.0.0.1"; return the PEM file with it and its key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl to make a certificate")
    path, made = folder / "server.pem", folder / "cert.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", f"/CN={host.partition(':')[2]}", "-addext", f"subjectAltName={host}"]
    command: list[str | Path] = [program, "req", *kind, *names, "-keyout", path, "-out", made]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + made.read_bytes())
    return path


def ask(
    port: int, method: str, target: str, body: bytes | None, headers: dict[str, str]
) -> Response:
    """Send a request to a port of 127.0.0.1; the names of the response's headers are lower case."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        received = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, received, answer.read())


@contextmanager
def listening(
    respond: Callable[[IncomingRequest], Response], certificate: Path | None = None, port: int = 0
) -> Iterator[int]:
    """Answer requests on a port of 127.0.0.1, by default a free one; yield it.

    Each connection has a thread. A response that is shorter than its `content-length` breaks off.
    With a certificate, a PEM file that has its key too, by https.
    """

    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {key.lower(): value for key, value in self.headers.items()}
            response = respond(IncomingRequest(self.command, self.path, headers, body))
            content = b"" if self.command == "HEAD" else response.content
            headers = {"date": self.date_time_string(), **response.headers}
            if response.status != 204:
                headers.setdefault("content-length", str(len(response.content)))
                self.close_connection |= int(headers["content-length"]) > len(response.content)
            self.send_response_only(response.status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            with suppress(ConnectionError):  # a client that was stopped
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Connection) as http:
        if certificate:
            # A client that does not trust the certificate hangs up: that is no error here.
            http.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            http.socket = context.wrap_socket(
                http.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        try:
            yield http.server_address[1]
        finally:
            http.shutdown()
            thread.join()


@contextmanager
def serving(files: dict[str, File]) -> Iterator[Server]:
    """Serve `files` on a free port of 127.0.0.1 until the block ends."""
    server = Server("", files)

    def respond(request: IncomingRequest) -> Response:
        server.requests.append(request.target)
        file = files.get(request.target)
        status = 404 if file is None else file.statuses.pop(0) if file.statuses else 200
        if file is None or status != 200:
            return Response(status, {}, b"")
        headers = {"content-type": file.kind, "content-length": str(len(file.content))}
        end = file.cut_at.pop(0) if file.cut_at else None
        return Response(200, headers, file.content[:end])

    with listening(respond) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server
