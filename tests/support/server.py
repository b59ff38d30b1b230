"""An HTTP server on loopback that breaks off, fails and lies as told."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class File:
    """A file that is served at one path.

    Attributes:
        content: the bytes.
        cut_at: lengths of the file at which the first, second, ... responses break off.
        statuses: status codes that the first, second, ... requests get in place of the file.
        ranges: whether `Range` is honoured.
        lie: whether a range request gets 206 with the whole file, as of a broken server.
        kind: the Content-Type.
    """

    content: bytes
    cut_at: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    lie: bool = False
    kind: str = "application/octet-stream"


@dataclass
class Server:
    """The server's address, its files by path, and the requests that it got (path, Range)."""

    url: str
    files: dict[str, File]
    requests: list[tuple[str, str]] = field(default_factory=list)


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


@contextmanager
def listening(
    handler: type[BaseHTTPRequestHandler], certificate: Path | None = None, port: int = 0
) -> Iterator[int]:
    """Answer requests on a port of 127.0.0.1, by default a free one; yield it.

    With a certificate, a PEM file that has its key too, by https.
    """
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as http:
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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            server.requests.append((self.path, wanted))
            file = files.get(self.path)
            status = 404 if file is None else file.statuses.pop(0) if file.statuses else 200
            if file is None or status != 200:
                self.send_error(status)
                return
            start = 0
            if wanted and file.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(file.content):
                    self.send_error(416)
                    return
            body = file.content if file.lie else file.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", file.kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if file.cut_at:
                body = body[: max(0, file.cut_at.pop(0) - start)]
            if self.command != "HEAD":
                self.wfile.write(body)
            self.wfile.flush()
            self.close_connection = True

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as port:
        server = Server(f"http://127.0.0.1:{port}", files)
        yield server
