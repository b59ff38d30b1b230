"""Run a zip as OpenWhisk's Python runtime does: unpack it, start it, send it activations.

The runtime unpacks the zip, renames `__main__.py` to `main__.py`, and starts a launcher beside it
that imports `main` from there; of a precompiled zip it starts `exec`. Per activation the launcher
reads one JSON line on standard input and writes one on file descriptor 3 (OpenWhisk's "ActionLoop"
protocol).
"""

import ast
import json
import os
import selectors
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from builder.base.errors import SmokeError
from builder.base.files import last_lines

TIMEOUT_SECONDS = 60.0

LAUNCHER = """\
import json, os, sys, traceback
from sys import stdin, stdout, stderr
sys.path.insert(0, os.getcwd())
from main__ import main
out = os.fdopen(3, "wb")
if os.environ.get("__OW_WAIT_FOR_ACK"):
    out.write(b'{"ok": true}\\n')
    out.flush()
while line := stdin.readline():
    message = json.loads(line)
    payload = message.pop("value", {})
    for key, value in message.items():
        os.environ["__OW_" + key.upper()] = value
    try:
        result = main(payload)
    except Exception as error:
        traceback.print_exc(file=stderr)
        result = {"error": str(error)}
    out.write(json.dumps(result, ensure_ascii=False).encode() + b"\\n")
    stdout.flush()
    stderr.flush()
    out.flush()
"""


class RunningAction:
    """A zip that was started: answers activations until it is closed.

    Attributes:
        init_seconds: from the start of the process to its acknowledgement.
        pid: of the process.
    """

    def __init__(
        self, folder: Path, interpreter: str, environment: dict[str, str], isolated: bool
    ) -> None:
        """Start the unpacked zip in `folder`; raises SmokeError if it does not come up.

        What it is started with, and where, is that of the stock runtime; `isolated` keeps its
        launcher from the interpreter's own packages.
        """
        command = [interpreter, *(("-I", "-S") if isolated else ()), "exec__.py"]
        start = folder / "exec"
        if start.exists():
            shebang = start.read_text("utf-8").partition("\n")[0]
            command = [interpreter, *shebang.split()[1:], str(start)]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._buffer = b""
        reader, writer = os.pipe()
        began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd="/" if start.exists() else folder,
            env={"__OW_WAIT_FOR_ACK": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            preexec_fn=lambda: os.dup2(writer, 3),
            pass_fds=(3,),
            start_new_session=True,  # Ctrl-C is for us; this process ends when we close its input
        )
        os.close(writer)
        self._answers = os.fdopen(reader, "rb", buffering=0)
        self.pid = self._process.pid
        try:
            acknowledged = self._read()
            if acknowledged != {"ok": True}:
                raise SmokeError(f"expected the acknowledgement, found {acknowledged}")
        except BaseException:
            self.close()
            raise
        self.init_seconds = time.perf_counter() - began

    def run(self, params: Any) -> Any:
        """One activation: returns what the action answers.

        Raises:
            SmokeError: the process died, hung, or answered with something else than JSON.
        """
        message = {"value": params, "activation_id": "0" * 32, "action_name": "/guest/classify"}
        return self.send(json.dumps(message).encode())

    def send(self, line: bytes) -> Any:
        """One activation from a raw protocol line, without its newline."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(line + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise SmokeError(f"the action died\n{last_lines(self.log())}") from None
        return self._read()

    def log(self) -> str:
        """What the action printed so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """End the process as the runtime does: by closing its input, then for good."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._log.close()

    def _read(self) -> Any:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        with selectors.DefaultSelector() as ready:
            ready.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not ready.select(max(0.0, deadline - time.monotonic())):
                    self._process.kill()
                    raise SmokeError(
                        f"no answer in {TIMEOUT_SECONDS:.0f} s\n{last_lines(self.log())}"
                    )
                chunk = self._answers.read(1 << 16)
                if not chunk:
                    self._process.wait(5)
                    raise SmokeError(
                        f"the action died (exit status {self._process.returncode})\n"
                        f"{last_lines(self.log())}"
                    )
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError as error:
            raise SmokeError(f"the answer is no JSON: {error}\n{last_lines(self.log())}") from error


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack a zip as the runtime does, up to the launcher beside `main__.py`.

    Raises:
        SmokeError: there is no `__main__.py`, or it does not parse.
    """
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(folder)
    if (folder / "exec").exists():  # precompiled: nothing is left to do
        return
    main = folder / "__main__.py"
    try:
        ast.parse(main.read_bytes())
    except (OSError, SyntaxError) as error:
        raise SmokeError(f"{archive.name}: __main__.py does not load: {error}") from error
    main.rename(folder / "main__.py")
    (folder / "exec__.py").write_text(LAUNCHER)


@contextmanager
def start_action(
    archive: Path,
    interpreter: str,
    environment: dict[str, str] | None = None,
    isolated: bool = True,
) -> Iterator[RunningAction]:
    """A zip, unpacked into an empty folder and started.

    Args:
        archive: the zip.
        interpreter: path of a CPython.
        environment: variables to start it with; by default as good as none.
        isolated: without the interpreter's site-packages, so that the zip has to bring all.
    """
    with tempfile.TemporaryDirectory(prefix="action-") as scratch:
        folder = Path(scratch) / "bin"
        unpack_zip(archive, folder)
        action = RunningAction(folder, interpreter, environment or {}, isolated)
        try:
            yield action
        finally:
            action.close()
