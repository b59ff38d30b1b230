"""How fast is the interpreter? `python -m bench.interpreters MODEL...` answers with a table.

The compiled interpreter, ai-edge-litert's wheel and tflite-runtime's last wheel run the same model
on the same input, one thread each, in turns, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuildError
from builder.paths import BUILD, BUILDER, DOWNLOADS, ROOT
from builder.tools import environment

if TYPE_CHECKING:
    from builder.console import Console

INSIDE = "CLASSIFY_BENCH"
WORKER = Path(__file__).with_name("worker.py")
PYTHON = "3.11"
"""The last Python that tflite-runtime has wheels for."""


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.interpreters", description=__doc__)
    parser.add_argument("model", nargs="+", type=Path, help=".tflite files")
    parser.add_argument("--rounds", type=int, default=200, help="inferences of each (200)")
    options = parser.parse_args(arguments)
    try:
        if os.environ.get(INSIDE) != str(ROOT):
            python = environment("tools", BUILDER / "requirements.txt")
            command = [str(python), "-m", "bench.interpreters", *arguments]
            return subprocess.run(command, env={**os.environ, INSIDE: str(ROOT)}).returncode
        return _compare(options.model, options.rounds)
    except BuildError as error:
        print(f"error: {error}\n  {error.hint}", file=sys.stderr)
        return 1


def _compare(models: list[Path], rounds: int) -> int:
    from builder import interpreters

    found = interpreters.find(PYTHON)
    if found is None:
        raise BuildError(f"expected Python {PYTHON} on this machine, found none")
    folders = _folders()
    print(f"{platform.machine()}, {_processor()}, Python {found.full_version}, one thread")
    for model in models:
        times = _measure(found.path, folders, model, rounds)
        best = statistics.median(times["compiled"])
        print(f"\n{model.name}: median of {rounds}, in turns")
        for name, values in times.items():
            median = statistics.median(values)
            spread = statistics.quantiles(values, n=10)
            print(
                f"  {name:22} {median:8.2f} ms   {median / best:6.2f}x   "
                f"(10 % to 90 %: {spread[0]:.2f} to {spread[-1]:.2f})"
            )
    return 0


def _folders() -> dict[str, Path]:
    """Name -> folder with packages, for each interpreter."""
    from builder.console import Console
    from builder.runtime import DEFAULT, compiled, wheels

    console = Console()
    if not compiled.finished(PYTHON, DEFAULT):
        raise BuildError(
            f"nothing is compiled for Python {PYTHON}",
            f"run  python build_zip.py --python {PYTHON} --runtime local  first",
        )
    return {
        "compiled": compiled.local(PYTHON, DEFAULT, console).folder,
        "ai-edge-litert 2.3.0": wheels.provide(PYTHON, DEFAULT, console).folder,
        "tflite-runtime 2.14.0": _tflite_runtime(console),
    }


def _tflite_runtime(console: Console) -> Path:
    """The wheels of tflite-runtime and the numpy 1 that it needs, unpacked."""
    from builder.data import pins, read
    from builder.download import Package, from_index
    from builder.runtime.wheels import unpack

    folder = BUILD / "bench" / "tflite-runtime"
    for name, pin in read(Path(__file__).with_name("pins.toml")).items():
        package = Package(name, **pin)
        platforms = pins()["wheels"]["platforms"]
        [wheel] = from_index([package], DOWNLOADS, console, PYTHON, platforms)
        if not (folder / f"{name}.done").exists():
            unpack(wheel, folder, "")  # whole: the removal lists are for newer releases
            (folder / f"{name}.done").touch()
    return folder


def _measure(
    python: str, folders: dict[str, Path], model: Path, rounds: int
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in folders}
    with ExitStack() as running:
        workers = {}
        for name, folder in folders.items():
            command = [python, "-I", "-S", str(WORKER), str(folder), str(model)]
            worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
            )
            running.enter_context(worker)
            if not (worker.stdout and worker.stdout.readline()):
                raise BuildError(f"{name} does not load {model}")
            workers[name] = worker
        for _ in range(rounds):
            for name, worker in workers.items():
                assert worker.stdin
                assert worker.stdout
                worker.stdin.write("\n")
                worker.stdin.flush()
                times[name].append(float(worker.stdout.readline()))
        for worker in workers.values():
            assert worker.stdin
            worker.stdin.close()
    return times


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
