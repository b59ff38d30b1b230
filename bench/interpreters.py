"""One inference: the compiled interpreter, ai-edge-litert's wheel and tflite-runtime's last wheel.

They run the same models on the same input, one thread each, in turns.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from bench import peers
from builder.errors import BuildError

WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """An interpreter in a process of its own, with a model loaded and run a few times."""

    def __init__(self, name: str, python: str, packages: Path, model: Path) -> None:
        """Start it; raises BuildError if it does not load the model."""
        self._process = subprocess.Popen(
            [python, "-I", "-S", str(WORKER), str(packages), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,  # Ctrl-C is for us
        )
        if not self._answer():
            self.__exit__(None, None, None)
            raise BuildError(f"{name} does not load {model}")

    def inference(self) -> float:
        """Milliseconds of one more inference."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def measure(
    folders: Mapping[str, Path],
    models: Mapping[str, Path],
    count: int,
    found: dict[str, Any],
    progress: Callable[[str], None],
) -> None:
    """Fill `found["inference"]` with ms per interpreter and model.

    Args:
        folders: what to call an interpreter -> folder with its packages.
        models: what to call a model -> .tflite file.
        count: inferences of each.
        found: the results.
        progress: told what is going on.
    """
    times: dict[str, list[float]] = {}
    python = peers.interpreter().path
    with ExitStack() as running:
        workers = {}
        for name, folder in folders.items():
            for which, path in models.items():
                title = f"{name}, {which}"
                progress(f"one inference: {title}")
                workers[title] = running.enter_context(Worker(title, python, folder, path))
        try:
            for number in range(count):
                progress(f"one inference: round {number + 1} of {count}")
                for title, worker in workers.items():
                    times.setdefault(title, []).append(round(worker.inference(), 3))
        finally:
            found["inference"] = {title: {"ms": ms} for title, ms in times.items()}
