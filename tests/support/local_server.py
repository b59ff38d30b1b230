"""Copies of the client with a build, and a running `python3 -m action --serve`."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.base.paths import BUILDER, ROOT
from tests.conftest import HERE, interpreter


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


@contextmanager
def serving_locally(folder: Path, *arguments: str, command: Sequence[str] = ()) -> Iterator[int]:
    """Run `python3 -m action --serve`, or another command that serves; yield the port.

    At the end it is stopped as by Ctrl-C, and must not have failed.
    """
    # Without site-packages, and so without waitress.
    serve = [interpreter(HERE), "-S", "-m", "action", "--serve", "--port", "0", *arguments]
    with tempfile.NamedTemporaryFile() as output:
        process = subprocess.Popen(command or serve, cwd=folder, stdout=output, stderr=output)
        printed = Path(output.name)
        while not (address := re.match(r"http://127\.0\.0\.1:(\d+)/ ", printed.read_text())):
            assert process.poll() is None, printed.read_text()
            time.sleep(0.02)
        try:
            yield int(address[1])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
        text = printed.read_text()
        assert process.returncode == 0 and text.endswith("stopped\n"), text
        assert "Traceback" not in text, text
