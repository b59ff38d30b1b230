"""The plot of a run at a glance: size, cold start, warm activation, memory; light and dark SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot

from bench.peers.hello import HELLO_WORLD
from bench.peers.ours import OURS, PRECOMPILED
from bench.report.markdown import format_number
from bench.report.tables import ARTICLE, PIP
from bench.results import Run

TFJS_2018 = "TensorFlow.js, 2018"
# The bars from top to bottom, and their labels.
BARS = {
    OURS: "this zip",
    PRECOMPILED: "this zip,\nprecompiled",
    PIP: "pip's zip\n(tflite-runtime)",
    TFJS_2018: "the article,\n2018 (TF.js)",
}


class Theme(NamedTuple):
    """The colours of a plot; bars differ in lightness, too."""

    ours: str
    pip: str
    article: str
    ink: str
    grid: str
    paper: str


# Bars after Okabe and Ito's palette; papers and inks are GitHub's.
THEMES = {
    "glance.svg": Theme("#0072b2", "#e69f00", "#bbbbbb", "#1f2328", "#d8dee4", "#ffffff"),
    "glance-dark.svg": Theme("#56b4e9", "#e69f00", "#6e7681", "#e6edf3", "#30363d", "#0d1117"),
}


class Panel(NamedTuple):
    """One of the plot's four bar charts; `article` is the key in article.toml."""

    title: str
    suite: str
    unit: str
    divisor: float
    article: str


PANELS = (
    Panel("What is deployed", "size", "MB", 1e6, "size_mb"),
    Panel("Cold start, emulated", "cold", "ms", 1, "cold_ms"),
    Panel("Warm activation", "warm", "ms", 1, "warm_ms"),
    Panel("Memory, resident", "memory", "MB", 1e6, "memory_mb"),
)

STYLE = {
    "backend": "agg",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "bench",  # otherwise the ids differ from run to run
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "figure.titlesize": 15,
    "figure.titleweight": "bold",
    "figure.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw what was measured in both themes; return the files. Other bars stay empty."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, theme in THEMES.items():
        inks = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
        lines, papers = ("axes.edgecolor", "grid.color"), ("axes.facecolor", "figure.facecolor")
        colours = dict.fromkeys(inks, theme.ink) | dict.fromkeys(lines, theme.grid)
        with mpl.rc_context(STYLE | colours | dict.fromkeys(papers, theme.paper)):
            plot = _draw_plot(run, theme)
            plot.savefig(folder / name, metadata={"Date": None})
            pyplot.close(plot)
    return [folder / name for name in THEMES]


def _draw_plot(run: Run, theme: Theme) -> Any:
    plot, axes = pyplot.subplots(2, 2, figsize=(11, 6.2), layout="constrained", sharey=True)
    for panel, each in zip(PANELS, axes.flat, strict=True):
        _draw_panel(each, panel, run, theme)
    model = "MobileNet v1" if "mobilenet_v1" in run.model else run.model
    plot.suptitle(f"{model} on OpenWhisk's stock Python runtime", x=0.01, ha="left")
    python = run.machine.python.rpartition(".")[0]
    plot.supxlabel(
        f"Medians of one run, in turns: {run.machine.processor}, {run.machine.cpu_class.name}, "
        f"Python {python}, {run.date}.\n2018: as published, TensorFlow.js on IBM Cloud Functions, "
        "another machine.",
        x=0.01,
        ha="left",
    )
    return plot


def _draw_panel(axes: Any, panel: Panel, run: Run, theme: Theme) -> None:
    measured = {name: run.typical(panel.suite, name) for name in BARS}
    values = {name: value / panel.divisor for name, value in measured.items() if value}
    values[TFJS_2018] = ARTICLE[panel.article]
    colours = {OURS: theme.ours, PRECOMPILED: theme.ours, PIP: theme.pip, TFJS_2018: theme.article}
    background = {"color": theme.paper, "pad": 1}
    for position, name in enumerate(BARS):
        if name in values:
            hatch = "//" if name == TFJS_2018 else None
            colour = {"color": colours[name], "edgecolor": theme.paper}
            axes.barh(position, values[name], 0.62, linewidth=0, hatch=hatch, **colour)
            font = {"weight": "bold", "size": 10.5, "va": "center", "bbox": background, "zorder": 4}
            _write(axes, _bar_label(panel.unit, values, name), values[name], position, **font)
    hello = run.typical("cold", HELLO_WORLD) if panel.suite == "cold" else None
    if hello:
        axes.axvline(hello, color=theme.ink, linestyle="--", linewidth=1.2, zorder=3)
        _write(axes, HELLO_WORLD, hello, -0.62, size=9, va="top")
    axes.set_xlim(0, max(values.values()) * 1.32)
    axes.set_ylim(len(BARS) - 0.5, -0.7)
    axes.set_yticks(range(len(BARS)), list(BARS.values()))
    axes.set_title(panel.title)
    axes.set_xlabel({"ms": "milliseconds", "MB": "MB"}[panel.unit])
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, min_n_ticks=3))
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _write(axes: Any, text: str, x: float, y: float, **style: Any) -> None:
    """Write text to the right of a point."""
    axes.annotate(text, (x, y), (5, 0), textcoords="offset points", **style)


def _bar_label(unit: str, values: dict[str, float], name: str) -> str:
    """Return a bar's value, and for other peers its ratio to ours."""
    label = f"{format_number(values[name])} {unit}"
    if name in (OURS, PRECOMPILED) or OURS not in values:
        return label
    times = values[name] / values[OURS]
    return f"{label}  ({times:.1f}x)" if times < 9.95 else f"{label}  ({times:.0f}x)"
