"""bench/RESULTS.md: everything that was measured, one chapter per class of CPU."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence

from bench.machine import CLASSES
from bench.measure.warm import BARE
from bench.report import costs, scaling, tables
from bench.report import markdown as text
from bench.report.figures import charted
from bench.results import Run

PARTS: tuple[tuple[str, str, Callable[[Run], str]], ...] = (
    ("What was compared", "", tables.peers),
    (
        "Against the targets",
        "This zip and the zip that pip makes of tflite-runtime:",
        tables.targets,
    ),
    ("Size", "In MB (10^6 bytes). OpenWhisk takes zips of up to 36 MiB, 37.75 MB.", tables.size),
    (
        "A warm activation",
        "From a line of JSON on the action's standard input to its answer, in ms; each picture "
        f"to each of them in turn. The {BARE} runs the model of this zip and nothing else, in "
        "one thread: it is the floor.",
        tables.warm,
    ),
    (
        "A warm activation by stage",
        "Medians in ms, as the action's own clock has them, where it tells them.",
        tables.warm_stages,
    ),
    (
        "A cold start",
        "From the init request to the first answer: medians in ms, by stage. It is emulated "
        "(bench/cold.py says how): what the platform's proxy takes is priced as it was measured on "
        "the real one, and what comes before the runtime is not in it. Read the ratios.",
        tables.cold,
    ),
    (
        "Memory",
        "Of the action's process in MB (10^6 bytes): resident and private after the warm "
        "activations, and the peak.",
        costs.memory,
    ),
    (
        "One inference",
        "The model alone, one thread, in ms, in turns; types are those of activations and weights, "
        "signed or unsigned bytes. Where kernels are named, they were chosen by the build; "
        "elsewhere by the CPU, as in what is deployed.",
        tables.inference,
    ),
    (
        "More processes",
        "Warm activations per second, of so many processes at a time; in brackets, how many times "
        "those of one.",
        scaling.processes,
    ),
    (
        "Less CPU",
        "A warm activation and init under a CPU quota (cgroups), in ms: what an action with little "
        "memory gets where CPU grows with it.",
        scaling.quota,
    ),
    ("Larger pictures", "One JPEG in several sizes; medians in ms.", scaling.megapixels),
    ("What it costs", costs.TERMS, costs.costs),
)


BUSY = 1.5
"""So many times its median may the bare interpreter take in 10 % of the rounds."""


def results(runs: Sequence[Run]) -> str:
    """The whole page.

    Args:
        runs: one per class of CPU.
    """
    measured = [run.machine.cpu for run in runs]
    missing = [each for each in CLASSES if each not in measured]
    lines = ["# Results of `python -m bench`"]
    lines.append(
        text.paragraph(
            "This file is written by the command, from what is stored in `bench/results/`: do not "
            "edit it. There is a chapter per class of CPU, since kernels are chosen by the CPU's "
            "instruction sets; figures of two chapters are not to be compared. "
            "[`docs/internals.md`](../docs/internals.md) says how to measure."
        )
    )
    chapters = [f"- [{_heading(run)}](#{_anchor(_heading(run))})" for run in runs]
    if missing:
        names = ", ".join(f"{each.name} ({each.examples})" for each in missing)
        chapters.append(text.item(f"No run is stored for: {names}"))
    lines.append("\n".join(chapters))
    for run in runs:
        lines += _chapter(run)
    lines += ["## How to read it", MEANING]
    return "\n\n".join(lines) + "\n"


def _chapter(run: Run) -> list[str]:
    """All of one run."""
    shown = charted(run)
    lines = [f"## {_heading(run)}", text.paragraph(f"{where(run)}. {state(run)}")]
    if problems := left_out(run):
        lines.append(problems)
    for title, introduction, write in PARTS:
        lines.append(f"### {title}")
        lines += filter(None, [text.paragraph(introduction)])
        lines.append(write(shown) or text.MISSING)
    minutes = f" It took {run.minutes:.0f} minutes." if run.minutes else ""
    lines += ["### How it was measured", f"```sh needs=minutes\n{run.command}\n```"]
    lines += filter(None, [minutes.strip()])
    return lines


def _heading(run: Run) -> str:
    return f"{run.machine.cpu.name}: {run.machine.processor}, {run.date}"


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def where(run: Run) -> str:
    """Machine, date, versions, and what was sent."""
    machine = run.machine
    instructions = ", ".join(machine.instructions) or "no AVX2"
    text_ = (
        f"Measured on {machine.processor} ({instructions}), {machine.cores} cores, "
        f"{machine.memory / 1e9:.0f} GB, {machine.system}, on {run.date}, Python {machine.python}"
    )
    text_ += f", Node.js {run.node}" if run.node else ""
    text_ += f", model {run.model}" if run.model else ""
    sent = run.sent
    many = f"s (median {sent.bytes / 1000:.0f} kB)" if sent.count > 1 else ""
    return f"{text_}, with {sent.count} picture{many}"


def state(run: Run) -> str:
    """What the reader must know of the run as a whole."""
    parts = []
    if run.interrupted:
        parts.append("**The run was interrupted: what is missing or short is so for that reason.**")
    if run.rounds.quick:
        parts.append("**A quick run, of few rounds: expect some scatter.**")
    if busy(run):
        parts.append(
            "**The machine was busy with something else: times are too long, and ratios scatter.**"
        )
    return " ".join(parts)


def busy(run: Run) -> bool:
    """Whether something else took the CPU: the bare interpreter takes the same time each time."""
    bare = run.warm.get(BARE)
    if not bare or not bare.ms:
        return False
    return text.percentile(bare.ms, 90) > BUSY * statistics.median(bare.ms)


def left_out(run: Run) -> str:
    """The peers that did not answer as they should, and what was ended early; nothing if all is."""
    problems = [
        f"Left out: {text.names([name])}: {peer.problem.rstrip('.')}."
        for name, peer in run.peers.items()
        if peer.problem
    ]
    problems += [
        f"Ended early: {what}: {problem.rstrip('.')}." for what, problem in run.problems.items()
    ]
    return "\n".join(text.item(" ".join(each.split())) for each in problems)


MEANING = """\
- Peers run in turns, so that what else the machine does hits all alike. Read times as ratios:
  another machine has others.
- Percentiles interpolate linearly between the two nearest values.
- The bare interpreter runs the model of this zip, without decoding, scaling or JSON.
- top-1 is the share of the labelled pictures whose first class is the labelled one.
- The zip is what is sent to the platform; of a custom image, what the image has more than its base,
  zipped.
- A cold start is emulated with this machine's interpreter. Not in it: scheduling, making the
  container, pulling an image, the network, a disk that is not in the page cache.
- Node.js sizes its heap by the machine's memory: within an action's limit it may take less.
- The peak is the most that was resident at any time; private is what was, without mapped files."""
