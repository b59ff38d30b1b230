"""`python3 -m bench guard`: fails if the zip has become larger or slower than bench/limits.toml.

It builds the zip for Python 3.11, from compiled packages if they are in the cache, otherwise from
ready-made wheels. It compares no times, only ratios of times that were taken in turns: a slow or
busy machine is slow for both.

zip_bytes       size of the zip
unpacked_bytes  size of all files in it
files           number of files in it
imports         modules loaded when the action is ready, without those that `python -I -S` loads
warm_ratio      a warm activation with the sample picture by one inference of the bare interpreter
litert_ratio    one inference by one of ai-edge-litert, with the same model; compiled packages only,
                and with a baseline per CPU class

A ratio is that of the lower quartiles, since other load only adds. The lowest of three tries
counts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import describe_machine
from bench.measure.activation import encode_activation, time_activation
from bench.measure.bare_interpreter import start_inferences
from bench.measure.size import size_of_zip
from bench.peers.ours import OURS, WHEELS, build_ours
from bench.peers.peer import PYTHON, extract_model, find_python
from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.toml import read_toml
from builder.model.resolve import ModelOptions, resolve_model
from builder.packages import DEFAULT_OPTIONS, compiled
from builder.packages.providers import PROVIDERS

LIMITS = Path(__file__).with_name("limits.toml")
TRIES = 3
# Pairs of timings per try.
ROUNDS = 150

_LIST_IMPORTS = """\
import sys
bare = {*sys.modules}
sys.path.insert(0, sys.argv[1])
import main__
print(*sorted({*sys.modules} - bare))
"""

# Returns the milliseconds of one activation or inference.
Timer = Callable[[], float]


@dataclass(frozen=True)
class Check:
    """A measurement and its limit.

    Attributes:
        name: what was measured.
        measured: its value now.
        baseline: its value in limits.toml.
        margin: allowed deviation; far below the baseline, the baseline is out of date.
    """

    name: str
    measured: float
    baseline: float
    margin: float

    @property
    def ok(self) -> bool:
        """Return whether the measurement is within its limit."""
        return self.measured <= self.baseline + self.margin

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "too much"
        if self.measured < self.baseline - self.margin:
            verdict = "ok, far below: lower the baseline"
        values = (self.measured, self.baseline, self.baseline + self.margin)
        return f"{self.name:16}{''.join(map(_format_value, values))}   {verdict}"


def run(arguments: Sequence[str]) -> int:
    """Measure and print the checks; raises BuildError if one is above its limit."""
    parser = argparse.ArgumentParser(
        prog="python3 -m bench guard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", help="the model, as build_zip.py takes it")
    model_name = parser.parse_args(arguments).model
    checks = measure_checks(model_name)
    print(f"{'':16}{'measured':>12}{'baseline':>12}{'limit':>12}", *checks, sep="\n")
    if failed := [check.name for check in checks if not check.ok]:
        raise BuildError(
            f"too much: {', '.join(failed)}",
            "find the cause (python3 build_zip.py check ZIP lists packages and files); if it is "
            f"worth it, raise the baseline in {LIMITS.parent.name}/{LIMITS.name} and say why",
        )
    return 0


def measure_checks(model_name: str | None) -> list[Check]:
    """Build the zip of a model, measure it, and return the measurements with their limits."""
    console, python = Console(quiet=True), find_python()
    machine = describe_machine(python.full_version)
    model = resolve_model(model_name, ModelOptions(), console)
    is_compiled = compiled.is_cached(PYTHON, DEFAULT_OPTIONS)
    source = "compiled" if is_compiled else "wheels"
    limits = read_toml(LIMITS)
    baselines = select_baselines(limits, model.path.stem, source, machine.cpu_class.slug)
    archive = build_ours(OURS if is_compiled else WHEELS, model).archive
    print(f"{archive.name}, {model.path.stem}, {source} packages for Python {PYTHON}")
    print(f"{machine.processor}, {machine.cpu_class.name}")
    litert = PROVIDERS["wheels"](PYTHON, DEFAULT_OPTIONS, console).folder
    ours = PROVIDERS["local"](PYTHON, DEFAULT_OPTIONS, console).folder if is_compiled else litert
    size, imports = size_of_zip(archive), list_imports(archive, python.path)
    measured: dict[str, float] = {"zip_bytes": size.zip, "unpacked_bytes": size.unpacked}
    measured |= {"files": size.files, "imports": len(imports)}
    measured["warm_ratio"] = warm_ratio(archive, python.path, ours)
    if "litert_ratio" in baselines:
        measured["litert_ratio"] = interpreter_ratio(archive, python.path, ours, litert)
    elif is_compiled:
        print(f"litert_ratio is not measured: no baseline for {machine.cpu_class.name}")
    return set_limits(measured, baselines, limits["tolerance"])


def select_baselines(
    limits: dict[str, Any], model: str, source: str, cpu_class: str
) -> dict[str, float]:
    """Return the baselines by name, for a model and packages ("compiled" or "wheels").

    Raises:
        BuildError: limits.toml has none for this model.
    """
    known = [each for each in limits if each != "tolerance"]
    name = next((each for each in known if model.startswith(each)), None)
    if name is None:
        raise BuildError(
            f"--model: expected one of {', '.join(known)}, found {model}",
            f"only these have limits; add a table to {LIMITS.parent.name}/{LIMITS.name}",
        )
    baselines = dict(limits[name][source])
    del baselines["measured"]
    by_cpu_class = baselines.pop("litert_ratio", {})
    if cpu_class in by_cpu_class:
        baselines["litert_ratio"] = by_cpu_class[cpu_class]
    return baselines


def set_limits(
    measured: Mapping[str, float],
    baselines: Mapping[str, float],
    tolerance: Mapping[str, Mapping[str, float]],
) -> list[Check]:
    """Return each measurement with its baseline and limit."""
    checks = []
    for name, value in measured.items():
        baseline, allowed = baselines[name], tolerance[name]
        margin = allowed.get("more", 0) + allowed.get("share", 0) * baseline
        checks.append(Check(name, value, baseline, margin))
    return checks


def list_imports(archive: Path, python: str) -> list[str]:
    """Return the modules that the start of a zip imports."""
    with tempfile.TemporaryDirectory(prefix="imports-") as scratch:
        folder = Path(scratch) / "bin"
        actionloop.unpack_zip(archive, folder)
        command = [python, "-I", "-S", "-c", _LIST_IMPORTS, str(folder)]
        output = subprocess.check_output(command, cwd=folder, env={}, text=True)
    return output.splitlines()[-1].split()


def warm_ratio(archive: Path, python: str, packages: Path) -> float:
    """Return the time of a zip's warm activation by one inference of the bare interpreter."""
    line = encode_activation(SAMPLE.read_bytes())
    ratios = []
    for _ in range(TRIES):
        with (
            actionloop.start_action(archive, python) as action,
            start_model(archive, python, packages) as infer,
        ):
            ratios.append(quartile_ratio(lambda: time_activation(action, line)[0], infer))
    return min(ratios)


def interpreter_ratio(archive: Path, python: str, ours: Path, theirs: Path) -> float:
    """Return the time of one inference of a zip's model in our interpreter by one in theirs.

    `ours` and `theirs` are folders with an interpreter and numpy.
    """
    ratios = []
    for _ in range(TRIES):
        with (
            start_model(archive, python, ours) as infer,
            start_model(archive, python, theirs) as their_infer,
        ):
            ratios.append(quartile_ratio(infer, their_infer))
    return min(ratios)


@contextmanager
def start_model(archive: Path, python: str, packages: Path) -> Iterator[Timer]:
    """Load a zip's model in a bare interpreter; yield the function that runs one inference."""
    with tempfile.TemporaryDirectory(prefix="model-") as scratch:
        model = extract_model(archive, Path(scratch))
        with start_inferences(python, packages, model) as infer:
            yield infer


def quartile_ratio(first: Timer, second: Timer) -> float:
    """Time both in turns; return the ratio of their lower quartiles."""
    pairs = [(first(), second()) for _ in range(ROUNDS)]
    one, other = (float(statistics.quantiles(each, n=4)[0]) for each in zip(*pairs, strict=True))
    return one / other


def _format_value(value: float) -> str:
    text = f"{value:,.0f}" if value == int(value) or value > 1000 else f"{value:.2f}"
    return f"{text:>12}"
