"""How fast is the interpreter? `python -m bench interpreters MODEL...` answers with a table.

The compiled interpreter, ai-edge-litert's wheel and tflite-runtime's last wheel run the same model
on the same input, one thread each, in turns, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from bench import peers
from builder.console import Console
from builder.errors import BuildError

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


def run(arguments: list[str]) -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench interpreters", description=__doc__)
    parser.add_argument("model", nargs="+", type=Path, help=".tflite files")
    parser.add_argument("--rounds", type=int, default=200, help="inferences of each (200)")
    options = parser.parse_args(arguments)
    found = peers.interpreter()
    folders = _folders()
    print(peers.machine(found))
    for model in options.model:
        with ExitStack() as running:
            workers = {
                name: running.enter_context(Worker(name, found.path, folder, model))
                for name, folder in folders.items()
            }
            times: dict[str, list[float]] = {name: [] for name in folders}
            for _ in range(options.rounds):
                for name, worker in workers.items():
                    times[name].append(worker.inference())
        _show(model, times, options.rounds)


def _show(model: Path, times: dict[str, list[float]], rounds: int) -> None:
    best = statistics.median(times["compiled"])
    print(f"\n{model.name}: median of {rounds}, in turns")
    for name, values in times.items():
        median = statistics.median(values)
        spread = statistics.quantiles(values, n=10)
        print(
            f"  {name:22} {median:8.2f} ms   {median / best:6.2f}x   "
            f"(10 % to 90 %: {spread[0]:.2f} to {spread[-1]:.2f})"
        )


def _folders() -> dict[str, Path]:
    """Name -> folder with packages, for each interpreter."""
    from builder.runtime import DEFAULT, compiled, wheels

    console = Console()
    if not compiled.finished(peers.PYTHON, DEFAULT):
        raise BuildError(
            f"nothing is compiled for Python {peers.PYTHON}",
            f"run  python build_zip.py --python {peers.PYTHON} --runtime local  first",
        )
    return {
        "compiled": compiled.local(peers.PYTHON, DEFAULT, console).folder,
        "ai-edge-litert 2.3.0": wheels.provide(peers.PYTHON, DEFAULT, console).folder,
        "tflite-runtime 2.14.0": _tflite_runtime(console),
    }


def _tflite_runtime(console: Console) -> Path:
    folder = peers.FOLDER / "tflite-runtime"
    shutil.rmtree(folder, ignore_errors=True)
    peers.install(peers.wheels(console), folder)
    return folder
