"""`python3 -m bench threads`: one thread against two, alone, in competition and under quotas.

Each process runs inferences of the model without a pause. Our interpreter and ai-edge-litert take
turns, with one thread and with two. Throughput is that of all processes together.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import describe_machine
from bench.measure.bare_interpreter import start_bare_interpreter
from bench.measure.cgroup import NoQuotaError, new_group
from bench.peers.ours import OURS, build_ours
from bench.peers.peer import PYTHON, extract_model, find_python
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.model.resolve import ModelOptions, resolve_model
from builder.packages import DEFAULT_OPTIONS
from builder.packages.providers import PROVIDERS

PROVIDER_OF = {"this interpreter": "local", "ai-edge-litert": "wheels"}


@dataclass(frozen=True)
class Scene:
    """How many processes run at once, and the CPUs that they get together; 0 for all."""

    processes: int
    quota: float = 0.0

    def __str__(self) -> str:
        alone = "alone" if self.processes == 1 else f"{self.processes} processes"
        return f"{alone}, {self.quota:g} CPUs" if self.quota else alone


SCENES = (Scene(1), Scene(2), Scene(4), Scene(1, 1.0), Scene(1, 2.0))


@dataclass
class Figures:
    """What the rounds of one interpreter gave in one scene.

    Attributes:
        rates: inferences per second, of all processes together.
        medians: milliseconds of an inference.
        tails: the 95th percentile of that.
        megabytes: resident memory of a process.
    """

    rates: list[float] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def add(self, results: Sequence[dict[str, Any]], seconds: float) -> None:
        """Add a round: the answers of all processes that ran at once."""
        times = [time for result in results for time in result["times"]]
        self.rates.append(len(times) / seconds)
        self.medians.append(statistics.median(times))
        self.tails.append(statistics.quantiles(times, n=20)[-1])
        self.megabytes += [result["megabytes"] for result in results]

    def as_row(self, one_thread: Figures) -> str:
        """Return the medians of the rounds, two of them also as a share of one thread's."""
        times, rates = statistics.median(self.medians), statistics.median(self.rates)
        cells = (
            f"{times:.2f}",
            f"{times / statistics.median(one_thread.medians):.2f}",
            f"{statistics.median(self.tails):.2f}",
            f"{rates:.0f}",
            f"{rates / statistics.median(one_thread.rates):.2f}",
            f"{statistics.median(self.megabytes):.1f}",
        )
        return " | ".join(cells)


def run(arguments: Sequence[str]) -> int:
    """Measure and print a table in Markdown; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m bench threads",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", help="the model, as build_zip.py takes it")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (4)")
    parser.add_argument("--rounds", type=int, default=3, help="of all measurements (3)")
    options = parser.parse_args(arguments)
    console, python = Console(quiet=True), find_python()
    machine = describe_machine(python.full_version)
    model = resolve_model(options.model, ModelOptions(), console)
    archive = build_ours(OURS, model).archive
    packages = {
        name: PROVIDERS[provider](PYTHON, DEFAULT_OPTIONS, console).folder
        for name, provider in PROVIDER_OF.items()
    }
    cases = [(scene, name, n) for scene in SCENES for name in packages for n in (1, 2)]
    figures = {case: Figures() for case in cases}
    with tempfile.TemporaryDirectory(prefix="model-") as scratch:
        path = extract_model(archive, Path(scratch))
        for number in range(options.rounds):
            for case in random.Random(number).sample(cases, len(cases)):
                scene, name, threads = case
                try:
                    results = run_scene(
                        scene, python.path, packages[name], path, threads, options.seconds
                    )
                except NoQuotaError as error:
                    figures.pop(case, None)
                    console.warn(f"{scene} is left out: {error}")
                    continue
                if case in figures:
                    figures[case].add(results, options.seconds)
    print(f"{machine.processor}, {machine.cpu_class.name}; {model.path.stem}; medians\n")
    print(format_table(figures))
    return 0


def run_scene(
    scene: Scene, python: str, packages: Path, model: Path, threads: int, seconds: float
) -> list[dict[str, Any]]:
    """Run all processes of a scene at once for some seconds; return their answers.

    Raises:
        NoQuotaError: no group with a quota can be made here.
    """
    message = f'{{"seconds": {seconds}}}'.encode()
    with ExitStack() as running:
        if scene.quota:
            python = running.enter_context(new_group(scene.quota)).wrap_executable(python)
        loops = [
            running.enter_context(start_bare_interpreter(python, packages, model, threads))
            for _ in range(scene.processes)
        ]
        with ThreadPoolExecutor(scene.processes) as drivers:
            return list(drivers.map(lambda loop: loop.send(message), loops))


def format_table(figures: dict[tuple[Scene, str, int], Figures]) -> str:
    """Return the figures as a table in Markdown; raise BuildError if there are none."""
    if not figures:
        raise BuildError("nothing was measured")
    lines = [
        "| scene | interpreter | threads | ms | to one thread | 95 % | per second | to one thread "
        "| MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (scene, name, threads), each in figures.items():
        row = each.as_row(figures[scene, name, 1])
        lines.append(f"| {scene} | {name} | {threads} | {row} |")
    return "\n".join(lines)
