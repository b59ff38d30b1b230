"""A regression guard: `python -m bench guard` says whether the zip has become larger or slower.

It builds the zip for Python 3.11, from compiled packages where they were compiled before and else
from ready-made wheels, and compares what it measures with bench/limits.toml. No times are compared,
only ratios of times that were taken in turns: a machine that is slow, or busy, is so for both.

zip_bytes       of the zip
unpacked_bytes  of all files in it
files           in it
imports         modules that are loaded when the action is ready, without those that
                `python -I -S` loads by itself
warm_ratio      a warm activation with the sample picture, from the line on standard input to its
                answer, by one inference of the interpreter alone; of both the lower quartile,
                since what else the machine does only adds, and the least of up to three tries
kernels_ratio   one inference with our own kernels by one with XNNPACK's own, taken likewise: those
                for this CPU, or, where it has VNNI, for AVX2; where `python -m builder.native
                variants` compiled what this takes (docs/internals.md)
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.machine import CpuClass, named
from bench.measure.interpreter import Worker
from bench.measure.networks import COMPILED, variants
from bench.peers import peer as peers
from bench.results import OUR, XNNPACK
from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.toml import read_toml
from builder.model import resolve
from builder.model.resolve import ModelOptions
from builder.packages import DEFAULT_OPTIONS, compiled
from builder.packages.providers import PROVIDERS

LIMITS = Path(__file__).with_name("limits.toml")
TRIES = 3
ROUNDS = 150
"""Activations and inferences per try."""

_IMPORTS = """\
import sys
bare = {*sys.modules}
sys.path.insert(0, sys.argv[1])
import main__
print(*sorted({*sys.modules} - bare))
"""


@dataclass(frozen=True)
class Check:
    """One figure against its limit.

    Attributes:
        name: of the figure.
        measured: just now.
        baseline: what it was when it was written down.
        limit: the most that it may be.
        floor: below it, the baseline is out of date.
    """

    name: str
    measured: float
    baseline: float
    limit: float
    floor: float

    @property
    def ok(self) -> bool:
        """Whether it is within its limit."""
        return self.measured <= self.limit

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "too much"
        if self.measured < self.floor:
            verdict = "ok, far below: lower the baseline"
        numbers = "".join(f"{_short(n):>12}" for n in (self.measured, self.baseline, self.limit))
        return f"{self.name:16}{numbers}   {verdict}"


def run(arguments: Sequence[str]) -> int:
    """Parse the command line, measure, print; raises BuildError if something is too much."""
    parser = argparse.ArgumentParser(
        prog="python -m bench guard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", help="as build_zip.py takes it")
    parser.add_argument("--variants", type=Path, default=COMPILED, help="folder with them")
    options = parser.parse_args(arguments)
    console = Console(quiet=True)
    python = peers.interpreter()
    chosen = resolve.resolve_model(options.model, ModelOptions(), console)
    source = "compiled" if compiled.is_cached(peers.PYTHON, DEFAULT_OPTIONS) else "wheels"
    limits = read_toml(LIMITS)
    baseline = baselines(limits, chosen.path.stem, source)
    provider = "local" if source == "compiled" else source
    archive = peers.ours(chosen, console, provider=provider).archive
    packages = PROVIDERS[provider](peers.PYTHON, DEFAULT_OPTIONS, console).folder
    where = machine.here(python.full_version)
    print(f"{archive.name}, {chosen.path.stem}, {source} packages")
    print(f"{where.processor}, {where.cpu.name}")
    if source == "wheels":
        print(f"nothing is compiled for Python {peers.PYTHON}: the limits are those of wheels")
    measured = {**sizes(archive), "imports": len(imports(archive, python.path))}
    enough = compare({"warm_ratio": 0}, baseline, limits["tolerance"])[0].limit
    measured["warm_ratio"] = warm_ratio(archive, python.path, packages, enough)
    if by_class := baseline.pop("kernels_ratio", None):
        if found := kernels(options.variants, where.cpu):
            slug, pair = found
            baseline["kernels_ratio"] = by_class[slug]
            enough = compare({"kernels_ratio": 0}, baseline, limits["tolerance"])[0].limit
            ratio = kernels_ratio(archive, python.path, packages, pair, enough)
            measured["kernels_ratio"] = ratio
            print(f"kernels_ratio is of those for {named(slug).name}")
        else:
            print("kernels_ratio is not measured: there are no variants for this CPU, see --help")
    checks = compare(measured, baseline, limits["tolerance"])
    print(f"{'':16}{'measured':>12}{'baseline':>12}{'limit':>12}", *checks, sep="\n")
    if failed := [check.name for check in checks if not check.ok]:
        raise BuildError(
            f"too much: {', '.join(failed)}",
            "find what brought it (python build_zip.py --check ZIP lists parts and files); if it "
            f"is worth it, raise the baseline in {LIMITS.parent.name}/{LIMITS.name} and say why",
        )
    return 0


def baselines(limits: dict[str, Any], name: str, source: str) -> dict[str, Any]:
    """The baselines for a model and a source of packages: numbers, kernels_ratio's by class of CPU.

    Args:
        limits: what is in limits.toml.
        name: of the model's file.
        source: "compiled" or "wheels".

    Raises:
        BuildError: there are none.
    """
    known = [each for each in limits if each != "tolerance"]
    for each in known:
        if name.startswith(each):
            return {key: value for key, value in limits[each][source].items() if key != "measured"}
    raise BuildError(
        f"--model: expected one of {', '.join(known)}, found {name}",
        f"there are limits for those only; add a table to {LIMITS.parent.name}/{LIMITS.name}",
    )


def compare(
    measured: dict[str, float], baseline: dict[str, float], tolerance: dict[str, dict[str, float]]
) -> list[Check]:
    """Each figure that was measured, with its baseline and limit."""
    checks = []
    for name, value in measured.items():
        allowed = tolerance[name]
        more = allowed.get("more", 0) + allowed.get("share", 0) * baseline[name]
        base = baseline[name]
        checks.append(Check(name, value, base, base + more, base - more))
    return checks


def sizes(archive: Path) -> dict[str, float]:
    """The figures that the zip's directory gives."""
    size = peers.size(archive)
    return {"zip_bytes": size.zip, "unpacked_bytes": size.unpacked, "files": size.files}


def imports(archive: Path, python: str) -> list[str]:
    """Names of the modules that a start imports, the action's own and `main__` among them.

    Raises:
        BuildError: it does not import.
    """
    with tempfile.TemporaryDirectory(prefix="imports-") as scratch:
        folder = Path(scratch) / "bin"
        actionloop.unpack_zip(archive, folder)
        done = subprocess.run(
            [python, "-I", "-S", "-c", _IMPORTS, str(folder)],
            cwd=folder,
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise BuildError(f"{archive.name} does not import: {done.stderr.strip()[-2000:]}")
    return done.stdout.splitlines()[-1].split()


def warm_ratio(archive: Path, python: str, packages: Path, enough: float) -> float:
    """A warm activation by one inference of the bare interpreter.

    Args:
        archive: the zip.
        python: path of what runs both.
        packages: folder with the interpreter and numpy.
        enough: with a ratio of at most this there is no further try.

    Raises:
        BuildError: the action did not answer with results.
    """
    packed = peers.line(SAMPLE.read_bytes())
    least = float("inf")
    for _ in range(TRIES):
        warm, alone = [], []
        with (
            actionloop.start_action(archive, python) as action,
            tempfile.TemporaryDirectory(prefix="bare-") as scratch,
            Worker(
                "bare interpreter", python, [packages], peers.network(archive, Path(scratch))
            ) as bare,
        ):
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answer = action.send(packed)
                warm.append((time.perf_counter() - began) * 1000)
                if "results" not in answer:
                    raise BuildError(f"{archive.name}: expected results, found {answer}")
                alone.append(bare.inference())
        least = min(least, _quartile(warm) / _quartile(alone))
        if least <= enough:
            break
    return least


Pair = tuple[list[Path], list[Path]]
"""What comes before the packages for our own kernels and for XNNPACK's own."""


def kernels(folder: Path, cpu: CpuClass) -> tuple[str, Pair] | None:
    """What to compare, and the slug of the class that those kernels are for; None without.

    Where that is this CPU's class, our own are what is shipped.

    Args:
        folder: with variants; may be missing.
        cpu: the class of this machine's CPU.
    """
    compiled = {(each.kernels, each.forced): path for each, path in variants(folder, cpu)}
    if cpu.slug in ("avx2", "avx512"):
        theirs = compiled.get((XNNPACK, ""))
        return (cpu.slug, ([], [theirs])) if theirs else None
    pair = [compiled[key] for key in ((OUR, "avx2"), (XNNPACK, "avx2")) if key in compiled]
    return ("avx2", ([pair[0]], [pair[1]])) if len(pair) == 2 else None


def kernels_ratio(
    archive: Path,
    python: str,
    packages: Path,
    pair: Pair,
    enough: float,
) -> float:
    """One inference of a zip's model with our own kernels by one with XNNPACK's own.

    Args:
        archive: the zip.
        python: path of what runs both.
        packages: folder with numpy, and with what is shipped.
        pair: of `kernels`.
        enough: with a ratio of at most this there is no further try.
    """
    least = float("inf")
    for _ in range(TRIES):
        times: tuple[list[float], list[float]] = ([], [])
        with ExitStack() as running:
            scratch = running.enter_context(tempfile.TemporaryDirectory(prefix="kernels-"))
            network = peers.network(archive, Path(scratch))
            workers = [
                running.enter_context(Worker(name, python, [*before, packages], network))
                for name, before in zip((OUR, XNNPACK), pair, strict=True)
            ]
            for _ in range(ROUNDS):
                for worker, taken in zip(workers, times, strict=True):
                    taken.append(worker.inference())
        ours, theirs = map(_quartile, times)
        least = min(least, ours / theirs)
        if least <= enough:
            break
    return least


def _quartile(times: list[float]) -> float:
    return statistics.quantiles(times, n=4)[0]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value > 1000 else f"{value:.2f}"
