"""Copies of the client with a build, and a running `python3 -m action --serve`."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from builder.base.paths import BUILDER, ROOT
from client.local_server import Response
from tests.conftest import HERE, interpreter
from tests.support.server import ask


def copy_client(folder: Path, archive: Path | None = None) -> Path:
    """Copy what `python3 -m action` needs to a folder, with a zip as last build; return it."""
    for package in ("action", "client", "builder/base"):
        shutil.copytree(ROOT / package, folder / package)
    for name in ("__init__.py", "requirements.txt"):
        shutil.copy(BUILDER / name, folder / "builder")
    if archive is not None:
        shutil.unpack_archive(archive, folder / "build" / "local" / HERE)
    return folder


def run_client(
    cwd: Path, *arguments: str | Path, python: str = HERE, site: bool = True, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Run `python3 -m action` to its end, with or without site-packages."""
    flags = () if site else ("-S",)
    command = [interpreter(python), *flags, "-m", "action", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, timeout=120)
    out, err = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(command, done.returncode, out, err)


class LocalServer:
    """`python3 -m action --serve` in a folder, on a free port; or another command that serves."""

    def __init__(self, folder: Path, *arguments: str, command: Sequence[str] = ()) -> None:
        # Without site-packages, and so without waitress...
        serve = [interpreter(HERE), "-S", "-m", "action", "--serve", "--port", "0", *arguments]
        command = command or serve
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (a full pipe would stop it)
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        address = re.match(r"http://127\.0\.0\.1:(\d+)/ ", line)
        assert address, line
        self.printed: list[str] = []
        self.reader = threading.Thread(
            target=lambda: self.printed.extend(self.process.stdout or ())
        )
        self.reader.start()
        self.port = int(address[1])

    def ask(
        self, method: str, target: str = "/", body: bytes | None = None, **headers: str
    ) -> Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.port, method, target, body, sent)

    def stop(self) -> tuple[int, str]:
        """Stop it as Ctrl-C does; return the exit status and what was printed."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=20)
        self.reader.join()
        self.errors.seek(0)
        return self.process.returncode, "".join(self.printed) + self.errors.read()
