"""The README's section: four lines and one plot."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers.peer import HELLO_WORLD, OURS, PRECOMPILED
from bench.report import markdown as text
from bench.report.figures import PIP, at_a_glance, charted, figure
from bench.report.results_page import left_out, state
from bench.results import Run
from builder.base.errors import BuildError

START, END = "<!-- bench: written by python -m bench -->", "<!-- /bench -->"
"""What the section is put between."""
ALT = (
    "Size, cold start, warm activation and memory of this zip, of the zip that pip makes, and as "
    "the article of 2018 gives them"
)


def section(runs: Sequence[Run]) -> str:
    """The section.

    What depends on the CPU is given for each class, each from its own run; the plot, and what does
    not depend on it, is of the first.

    Args:
        runs: at least one, one per class of CPU.
    """
    shown = [charted(run) for run in runs]
    lines = filter(None, [_size(shown[0]), _cold(shown[0]), _warm(shown), _memory(shown[0])])
    machines = "; ".join(
        f"{run.machine.cpu.name}: {run.machine.processor}, {run.date}" for run in runs
    )
    notes = " ".join(filter(None, [state(runs[0]), " ".join(left_out(runs[0]).split())]))
    parts = [
        "## How fast, how small",
        text.paragraph(
            "Against the zip that pip makes of tflite-runtime, in one run, in turns; medians "
            f"({machines})."
        ),
        "\n".join(text.item(line) for line in lines) or text.MISSING,
        notes,
        _plot(runs[0]) if at_a_glance(shown[0]) else "",
        text.paragraph(
            "All tables, with other interpreters, TensorFlow.js, scaling and costs, are in "
            "[`bench/RESULTS.md`](bench/RESULTS.md); [`docs/internals.md`](docs/internals.md) says "
            "how they were measured, and how to measure on your own machine."
        ),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _plot(run: Run) -> str:
    folder = f"docs/bench/{run.machine.cpu.slug}"
    return (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" '
        f'srcset="{folder}/glance-dark.svg">\n  <img alt="{ALT}" src="{folder}/glance.svg">\n'
        "</picture>"
    )


def placed(readme: str, section: str) -> str:
    """The README with a section between START and END; raises BuildError if they are not there."""
    head, start, rest = readme.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise BuildError(
            f"README.md: expected the lines {START} and {END}, in this order, found no such pair",
            "put them where the section belongs",
        )
    return f"{head}{START}\n{section}{END}{tail}"


def _pair(run: Run, key: str) -> tuple[float, float] | None:
    """Ours and the pip zip's figure, if both were measured."""
    ours, theirs = figure(run, key, OURS), figure(run, key, PIP)
    return (ours, theirs) if ours and theirs else None


def _size(run: Run) -> str:
    if not (pair := _pair(run, "size")):
        return ""
    files = (run.size[OURS].files, run.size[PIP].files)
    return (
        f"**{text.ratio(pair[1], pair[0])} smaller**: {text.mb(pair[0])} MB in {files[0]:,} files "
        f"(pip's: {text.mb(pair[1])} MB in {files[1]:,})."
    )


def _cold(run: Run) -> str:
    pair, hello = _pair(run, "cold"), figure(run, "cold", HELLO_WORLD)
    if not (pair and hello):
        return ""
    line = f"**{text.ratio(pair[1], pair[0])} faster cold**: {text.ratio(pair[0], hello)} a cold "
    line += f"start of {HELLO_WORLD}"
    if precompiled := figure(run, "cold", PRECOMPILED):
        line += f", precompiled {text.ratio(precompiled, hello)}"
    return f"{line} (pip's: {text.ratio(pair[1], hello)}); emulated."


def _warm(runs: Sequence[Run]) -> str:
    by_class = {run.machine.cpu.name: pair for run in runs if (pair := _pair(run, "warm"))}
    if not by_class:
        return ""
    each = [
        f"**{text.ratio(theirs, ours)} faster warm** on a CPU with {name}: {text.ms(ours)} ms "
        f"(pip's: {text.ms(theirs)} ms)"
        for name, (ours, theirs) in by_class.items()
    ]
    return "; ".join(each) + "."


def _memory(run: Run) -> str:
    if not (pair := _pair(run, "memory")):
        return ""
    return (
        f"**{text.ratio(*pair)} the memory**: {text.memory_mb(pair[0])} MB "
        f"(pip's: {text.memory_mb(pair[1])} MB)."
    )
