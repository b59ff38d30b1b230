"""The README's section with results: one table over all CPU classes, and the plot."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers.hello import HELLO_WORLD
from bench.peers.ours import OURS
from bench.report.markdown import format_mb, format_number, format_ratio, paragraph, table
from bench.report.results_page import list_problems, warn_if_busy
from bench.report.tables import PIP
from bench.results import Run
from builder.base.errors import BuildError

# The section stands between these lines.
START, END = "<!-- bench: written by python3 -m bench -->", "<!-- /bench -->"
ALT = (
    "Size, cold start, warm activation and memory of this zip, of pip's zip and in the article of "
    "2018"
)


def format_section(runs: Sequence[Run]) -> str:
    """Return the section.

    Warm activations depend on the CPU class, so each run gets a column. The other columns and the
    plot are the first run's.
    """
    notes = f"{warn_if_busy(runs[0])} {list_problems(runs[0])}".split()
    parts = [
        "## How fast, how small",
        paragraph(_introduction(runs)),
        _overview_table(runs),
        paragraph(" ".join(notes)),
        _picture(runs[0]),
        paragraph(
            "All tables are in [`bench/RESULTS.md`](bench/RESULTS.md); "
            "[`docs/internals.md`](docs/internals.md) explains how to measure on your own machine."
        ),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def replace_section(readme: str, section: str) -> str:
    """Return the README with a new section between START and END; raises BuildError."""
    head, start, rest = readme.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise BuildError(f"README.md: expected the lines {START} and {END}, in this order")
    return f"{head}{START}\n{section}{END}{tail}"


def _introduction(runs: Sequence[Run]) -> str:
    machines = "; ".join(
        f"{run.machine.cpu_class.name}: {run.machine.processor}, {run.date}" for run in runs
    )
    return (
        f"{_headline(runs[0])}Medians, measured in turns ({machines}). Warm activations are in "
        f"ms; cold starts are emulated, and given as ratios to a {HELLO_WORLD} action. *{PIP}* and "
        "its like are zips that `pip install -t` makes."
    )


def _headline(run: Run) -> str:
    """Return how this zip compares with pip's, in one sentence; empty without results."""
    words = {"size": "smaller", "cold": "faster cold", "warm": "faster warm"}
    ratios = []
    for suite, word in words.items():
        ours, theirs = (run.typical(suite, name) for name in (OURS, PIP))
        if ours and theirs:
            ratios.append(f"{format_ratio(theirs, ours)} {word}")
    text = f"This zip is **{', '.join(ratios)}** than pip's with tflite-runtime"
    return f"{text} (on {run.machine.cpu_class.name}). " if ratios else ""


def _overview_table(runs: Sequence[Run]) -> str:
    first = runs[0]
    hello = first.typical("cold", HELLO_WORLD)
    rows = []
    for name, info in first.peers.items():
        if not info.answer:
            continue
        size, cold, memory = (first.typical(key, name) for key in ("size", "cold", "memory"))
        warm = [format_number(run.typical("warm", name)) for run in runs]
        mark = " (image)" if info.is_image else ""
        if size and first.size[name].over_limit:
            mark = " (too large)"
        cells = [format_mb(size) + mark, format_ratio(cold, hello), *warm, format_mb(memory, 0)]
        rows.append([name, *cells])
    classes = [f"warm, {run.machine.cpu_class.name}" for run in runs]
    return table(["", "zip, MB", "cold", *classes, "memory, MB"], rows)


def _picture(run: Run) -> str:
    folder = f"docs/bench/{run.machine.cpu_class.slug}"
    return (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" '
        f'srcset="{folder}/glance-dark.svg">\n  <img alt="{ALT}" src="{folder}/glance.svg">\n'
        "</picture>"
    )
