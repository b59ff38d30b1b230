"""bench/RESULTS.md: all tables, one chapter per CPU class."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from bench.measure.warm import BARE
from bench.report import tables
from bench.report.markdown import list_item, paragraph, percentile
from bench.results import Run

# Title, introduction, and the function that writes the table.
SECTIONS: tuple[tuple[str, str, Callable[[Run], str]], ...] = (
    ("Peers", "Our zips, and what people would deploy instead: the peers.", tables.peers_table),
    (
        "Size",
        "In MB (10^6 bytes). OpenWhisk takes zips of up to 36 MiB, 37.75 MB.",
        tables.size_table,
    ),
    (
        "A warm activation",
        "From a line of JSON on the action's standard input to its answer, in ms; each picture "
        f"goes to each peer in turn. The {BARE} only runs this zip's model: the floor.",
        tables.warm_table,
    ),
    (
        "A cold start",
        "From the init request to the first answer: medians in ms, by stage. Cold starts are "
        "emulated (bench/measure/cold.py explains how). Read the ratios.",
        tables.cold_table,
    ),
    ("Memory", "Of the action's process after the warm activations, in MB.", tables.memory_table),
    (
        "Cost in 2018",
        f"By the prices of [the article]({tables.ARTICLE['source']}), in US dollars per million "
        "activations. Memory is the least that holds the peak and the platform's proxy.",
        tables.cost_table,
    ),
)

# The machine was busy if 10 % of the bare interpreter's rounds took this many times its median.
BUSY_FACTOR = 1.5

READING_NOTES = """\
- Peers run in turns, so that other load on the machine hits all alike. Read times as ratios.
- Percentiles interpolate linearly between the two nearest values.
- top-1 is the share of the labelled pictures whose first class is the label.
- The zip is what is sent to the platform; for a custom image, what the image adds to its base.
- A cold start does not include scheduling, making the container, pulling an image, the network.
- The peak is the most that was resident at any time; private excludes mapped files."""


def format_page(runs: Sequence[Run]) -> str:
    """Return the whole page."""
    introduction = (
        "`python3 -m bench` writes this file from the results in `bench/results/`: do not edit "
        "it. Kernels are chosen by the CPU's instruction sets, so each CPU class has a chapter; "
        "do not compare times of two chapters. "
        "[`docs/internals.md`](../docs/internals.md) explains how to measure."
    )
    parts = ["# Results of `python3 -m bench`", paragraph(introduction)]
    for run in runs:
        parts += _format_chapter(run)
    parts += ["## How to read it", READING_NOTES]
    return "\n\n".join(parts) + "\n"


def _format_chapter(run: Run) -> list[str]:
    parts = [
        f"## {run.machine.cpu_class.name}: {run.machine.processor}, {run.date}",
        paragraph(f"{describe_setup(run)} {warn_if_busy(run)}".strip()),
    ]
    parts += filter(None, [list_problems(run)])
    for title, introduction, format_table in SECTIONS:
        parts += [f"### {title}", paragraph(introduction), format_table(run)]
    minutes = f"It took {run.minutes:.0f} minutes."
    return [*parts, "### Command", f"```sh needs=minutes\n{run.command}\n```", minutes]


def describe_setup(run: Run) -> str:
    """Return a sentence with machine, date, versions and pictures."""
    machine = run.machine
    instructions = ", ".join(machine.instructions) or "no AVX2"
    median = f"s (median {run.picture_bytes / 1000:.0f} kB)" if run.pictures > 1 else ""
    return (
        f"Measured on {machine.processor} ({instructions}), {machine.cores} cores, "
        f"{machine.memory / 1e9:.0f} GB, {machine.system}, on {run.date}, Python {machine.python}, "
        f"model {run.model or 'unknown'}, with {run.pictures} picture{median}."
    )


def warn_if_busy(run: Run) -> str:
    """Return a warning if other load on the machine disturbed the run, else an empty string."""
    # Alone, each inference takes the same time.
    bare = run.warm[BARE].ms if BARE in run.warm else [0.0]
    is_busy = percentile(bare, 90) > BUSY_FACTOR * statistics.median(bare)
    return "**The machine was busy: times are too long, and ratios scatter.**" if is_busy else ""


def list_problems(run: Run) -> str:
    """Return a list of the peers that failed and of what ended early; empty if all is well."""
    problems = [
        f"Not measured: *{name}*: {info.problem.rstrip('.')}."
        for name, info in run.peers.items()
        if info.problem
    ]
    problems += [
        f"Ended early: {what}: {problem.rstrip('.')}." for what, problem in run.problems.items()
    ]
    return "\n".join(list_item(" ".join(each.split())) for each in problems)
