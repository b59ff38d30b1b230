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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine import describe_machine
from bench.measure.bare_interpreter import start_bare_interpreter
from bench.measure.cgroup import NoQuotaError, new_group
from bench.peers.ours import OURS, build_ours
from bench.peers.peer import PYTHON, extract_model, find_python
from bench.report.markdown import table
from builder.base.console import Console
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


# Scene, interpreter, threads.
Case = tuple[Scene, str, int]

SCENES = (Scene(1), Scene(2), Scene(4), Scene(1, 1.0), Scene(1, 2.0))


class Figures(NamedTuple):
    """What one round of an interpreter in a scene gave.

    Attributes:
        ms: median of an inference.
        tail: 95th percentile of that, in ms.
        rate: inferences per second, of all processes together.
        megabytes: median resident memory of a process.
    """

    ms: float
    tail: float
    rate: float
    megabytes: float


def summarize(results: Sequence[dict[str, Any]], seconds: float) -> Figures:
    """Return the figures of a round from the answers of all processes that ran at once."""
    times = [time for result in results for time in result["times"]]
    return Figures(
        ms=statistics.median(times),
        tail=statistics.quantiles(times, n=20)[-1],
        rate=len(times) / seconds,
        megabytes=statistics.median(result["megabytes"] for result in results),
    )


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
    rounds: dict[Case, list[Figures]] = {case: [] for case in cases}
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
                    console.warn(f"{scene} is left out: {error}")
                else:
                    rounds[case].append(summarize(results, options.seconds))
    print(f"{machine.processor}, {machine.cpu_class.name}; {model.path.stem}; medians\n")
    print(format_table(rounds))
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
        group = running.enter_context(new_group(scene.quota)) if scene.quota else None
        loops = [
            running.enter_context(start_bare_interpreter(python, packages, model, threads))
            for _ in range(scene.processes)
        ]
        for loop in loops:
            if group:
                group.write_text(str(loop.pid))
        with ThreadPoolExecutor(scene.processes) as drivers:
            return list(drivers.map(lambda loop: loop.send(message), loops))


def format_table(rounds: dict[Case, list[Figures]]) -> str:
    """Return the medians of the rounds as a table in Markdown, without cases that had none."""
    medians = {
        case: Figures(*map(statistics.median, zip(*each, strict=True)))
        for case, each in rounds.items()
        if each
    }
    rows = []
    for (scene, name, threads), each in medians.items():
        one_thread = medians[scene, name, 1]
        times = [f"{each.ms:.2f}", f"{each.ms / one_thread.ms:.2f}", f"{each.tail:.2f}"]
        rates = [f"{each.rate:.0f}", f"{each.rate / one_thread.rate:.2f}"]
        rows.append([str(scene), name, str(threads), *times, *rates, f"{each.megabytes:.1f}"])
    head = ["scene", "interpreter", "threads", "ms", "to one thread", "95 %", "per second"]
    return table([*head, "to one thread", "MB"], rows, left=2)
