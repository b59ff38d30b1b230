"""An HTTP server on loopback that breaks off and fails as told."""

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
            server.requests.append(self.path)
            file = files.get(self.path)
            status = 404 if file is None else file.statuses.pop(0) if file.statuses else 200
            if file is None or status != 200:
                self.send_error(status)
                return
            self.send_response(200)
            self.send_header("Content-Type", file.kind)
            self.send_header("Content-Length", str(len(file.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(file.content[: file.cut_at.pop(0) if file.cut_at else None])
            self.wfile.flush()
            self.close_connection = True

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as port:
        server = Server(f"http://127.0.0.1:{port}", files)
        yield server
