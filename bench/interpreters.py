"""One inference: the compiled interpreter, ai-edge-litert's wheel and tflite-runtime's last wheel.

They run the same models on the same input, one thread each, in turns.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from bench import peers
from bench.peers import FOLDER, PYTHON
from builder.console import Console
from builder.download import Package
from builder.errors import BuildError
from builder.runtime import DEFAULT, compiled, wheels

WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """An interpreter in a process of its own, with a model loaded and run a few times."""

    def __init__(
        self, name: str, python: str, packages: Path, model: Path, scratch: Path | None = None
    ) -> None:
        """Start it; `scratch` is a folder to remove at the end."""
        self._scratch = scratch
        self._process = subprocess.Popen(
            [python, "-I", "-S", str(WORKER), str(packages), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
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
        if self._scratch:
            shutil.rmtree(self._scratch)

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def measure(
    models: Mapping[str, Path],
    count: int,
    found: dict[str, Any],
    console: Console,
    progress: Callable[[str], None],
) -> None:
    """Fill `found["inference"]` with ms per interpreter and model.

    Args:
        models: what to call it -> .tflite file.
        count: inferences of each.
        found: the results.
        console: shows what is fetched.
        progress: told what is going on.
    """
    times: dict[str, list[float]] = {}
    python = peers.interpreter().path
    with ExitStack() as running:
        workers = {}
        for name, folder in _folders(console).items():
            for which, path in models.items():
                title = f"{name}, {which}"
                progress(f"one inference: {title}")
                workers[title] = running.enter_context(Worker(title, python, folder, path))
        try:
            for number in range(count):
                if number % 10 == 0:
                    progress(f"one inference: round {number + 1} of {count}")
                for title, worker in workers.items():
                    times.setdefault(title, []).append(round(worker.inference(), 3))
        finally:
            found["inference"] = {title: {"ms": ms} for title, ms in times.items()}


def _folders(console: Console) -> dict[str, Path]:
    """Name -> folder with packages, for each interpreter that is here."""
    found = {
        f"ai-edge-litert {_version(wheels.pinned(PYTHON), 'ai-edge-litert')}": wheels.provide(
            PYTHON, DEFAULT, console
        ).folder,
        f"tflite-runtime {_version(peers.old(), 'tflite-runtime')}": _tflite_runtime(console),
    }
    if not compiled.finished(PYTHON, DEFAULT):
        return found
    return {"compiled here": compiled.local(PYTHON, DEFAULT, console).folder, **found}


def _version(packages: list[Package], name: str) -> str:
    return next(package.version for package in packages if package.name == name)


def _tflite_runtime(console: Console) -> Path:
    folder = FOLDER / "tflite-runtime"
    shutil.rmtree(folder, ignore_errors=True)
    peers.install(peers.wheels(console), folder)
    return folder
