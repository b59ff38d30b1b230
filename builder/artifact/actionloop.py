"""Run a zip as OpenWhisk's Python runtime does: unpack it, start it, send it activations.

The runtime unpacks the zip, renames `__main__.py` to `main__.py`, and starts a launcher beside it
that imports `main` from there; of a precompiled zip it starts `exec`. Per activation the launcher
reads one JSON line on standard input and writes one on file descriptor 3 (OpenWhisk's "ActionLoop"
protocol).
"""

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
from builder.base.processes import last_lines

TIMEOUT_SECONDS = 60.0

# Stands for the stock runtime's own launcher.
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
    """A started zip that answers activations until it is closed.

    Attributes:
        init_seconds: from the start of the process to its acknowledgement.
        pid: of the process.
    """

    def __init__(
        self, folder: Path, python: str, environment: dict[str, str], isolated: bool
    ) -> None:
        """Start the unpacked zip in a folder, with the environment of the stock runtime.

        Raises:
            SmokeError: it does not come up.
        """
        command = [python, *(("-I", "-S") if isolated else ()), "exec__.py"]
        start = folder / "exec"
        if start.exists():
            shebang = start.read_text("utf-8").partition("\n")[0]
            command = [python, *shebang.split()[1:], str(start)]
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
        self._replies = os.fdopen(reader, "rb", buffering=0)
        self.pid = self._process.pid
        try:
            acknowledgement = self._read_reply()
            if acknowledgement != {"ok": True}:
                raise SmokeError(f"expected the acknowledgement, found {acknowledgement}")
        except BaseException:
            self.close()
            raise
        self.init_seconds = time.perf_counter() - began

    def run(self, params: Any) -> Any:
        """Activate the action once; return its answer.

        Raises:
            SmokeError: the process died, hung, or wrote something other than JSON.
        """
        message = {"value": params, "activation_id": "0" * 32, "action_name": "/guest/classify"}
        return self.send(json.dumps(message).encode())

    def send(self, line: bytes) -> Any:
        """Activate the action with a raw line of the protocol; return its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._error("the action died") from None
        return self._read_reply()

    def log(self) -> str:
        """Return what the action printed so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """End the process as the runtime does: close its input, and kill it if that fails."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._replies.close()
        self._log.close()

    def _read_reply(self) -> Any:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        with selectors.DefaultSelector() as ready:
            ready.register(self._replies, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not ready.select(max(0.0, deadline - time.monotonic())):
                    self._process.kill()
                    raise self._error(f"no answer in {TIMEOUT_SECONDS:.0f} s")
                chunk = self._replies.read(1 << 16)
                if not chunk:
                    status = self._process.wait(5)
                    raise self._error(f"the action died (exit status {status})")
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError as error:
            raise self._error(f"the answer is no JSON: {error}") from error

    def _error(self, text: str) -> SmokeError:
        """Return an error that quotes the end of the log."""
        return SmokeError(f"{text}\n{last_lines(self.log())}")


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack a zip as the runtime does, up to the launcher beside `main__.py`."""
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(folder)
    if (folder / "exec").exists():  # precompiled: nothing is left to do
        return
    (folder / "__main__.py").rename(folder / "main__.py")
    (folder / "exec__.py").write_text(LAUNCHER)


@contextmanager
def start_action(
    archive: Path, python: str, environment: dict[str, str] | None = None, isolated: bool = True
) -> Iterator[RunningAction]:
    """Unpack a zip into an empty folder, start it, and close it at the end.

    If `isolated`, that Python's own packages are hidden, so that the zip has to bring all.
    """
    with tempfile.TemporaryDirectory(prefix="action-") as scratch:
        folder = Path(scratch) / "bin"
        unpack_zip(archive, folder)
        action = RunningAction(folder, python, environment or {}, isolated)
        try:
            yield action
        finally:
            action.close()
