"""An interpreter in a process of its own, seen from here."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from builder.base.errors import BuildError

_PROCESS = Path(__file__).with_name("interpreter_process.py")


class Worker:
    """An interpreter with a model loaded and run a few times; a context manager that ends it."""

    def __init__(self, name: str, python: str, packages: Sequence[Path], model: Path) -> None:
        """Start it.

        Args:
            name: in errors.
            python: path of the CPython that runs it.
            packages: folders with the interpreter and numpy, in the order of the path.
            model: a .tflite or an .onnx.

        Raises:
            BuildError: it does not load the model.
        """
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            [python, "-I", "-S", str(_PROCESS), str(model), *map(str, packages)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            start_new_session=True,  # Ctrl-C is for us
        )
        try:
            self._answer(f"to load {model.name}")
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def inference(self) -> float:
        """Milliseconds of one more inference; raises BuildError if it has died."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # then there is no answer either
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return float(self._answer("an inference"))

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _answer(self, expected: str) -> str:
        assert self._process.stdout
        if line := self._process.stdout.readline():
            return line
        self._process.wait()
        self._log.seek(0)
        last = self._log.read().decode(errors="replace").strip()[-300:]
        status = self._process.returncode
        raise BuildError(
            f"{self.name}: expected {expected}, it died (exit status {status}): {last}"
        )
