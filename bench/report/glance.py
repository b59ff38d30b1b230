"""The plot of a run at a glance: size, cold start, warm activation, memory; light and dark SVG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

from bench.peers.hello import HELLO_WORLD
from bench.peers.ours import OURS, PRECOMPILED
from bench.report.cost import ARTICLE
from bench.report.figures import PIP, find_figure, has_glance, select_peers
from bench.report.markdown import format_number
from bench.results import Run

TFJS_2018 = "TensorFlow.js, 2018"
# The bars from top to bottom, and their labels.
BARS = {
    OURS: "this zip",
    PRECOMPILED: "this zip,\nprecompiled",
    PIP: "pip's zip\n(tflite-runtime)",
    TFJS_2018: "the article,\n2018 (TF.js)",
}


@dataclass(frozen=True)
class Theme:
    """The colours of a plot; bars differ in lightness, too. `suffix` ends the file's name."""

    suffix: str
    ours: str
    pip: str
    article: str
    ink: str
    grid: str
    paper: str


# Bars after Okabe and Ito's palette; papers and inks are GitHub's.
THEMES = (
    Theme("", "#0072b2", "#e69f00", "#bbbbbb", "#1f2328", "#d8dee4", "#ffffff"),
    Theme("-dark", "#56b4e9", "#e69f00", "#6e7681", "#e6edf3", "#30363d", "#0d1117"),
)

mpl.rcParams.update(
    {
        "backend": "agg",
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "bench",  # otherwise the ids differ from run to run
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.axisbelow": True,
    }
)


@dataclass(frozen=True)
class Panel:
    """One of the plot's four bar charts; bars without a value stay empty."""

    title: str
    unit: str
    values: dict[str, float]
    hello_world: float | None = None


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw a run as glance.svg and glance-dark.svg.

    Returns:
        The files; none if a figure of our zip or of pip's is missing.
    """
    run = select_peers(run)
    if not has_glance(run):
        return []
    panels = (
        Panel("What is deployed", "MB", _values(run, "size", 1e6, "size_mb")),
        Panel(
            "Cold start, emulated",
            "ms",
            _values(run, "cold", 1, "cold_ms"),
            find_figure(run, "cold", HELLO_WORLD),
        ),
        Panel("Warm activation", "ms", _values(run, "warm", 1, "warm_ms")),
        Panel("Memory, resident", "MB", _values(run, "memory", 1e6, "memory_mb")),
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for theme in THEMES:
        plot = _draw_figure(panels, run, theme)
        files.append(folder / f"glance{theme.suffix}.svg")
        plot.savefig(files[-1], metadata={"Date": None})
        pyplot.close(plot)
    return files


def _values(run: Run, suite: str, scale: float, published: str) -> dict[str, float]:
    measured = {name: find_figure(run, suite, name) for name in BARS}
    values = {name: value / scale for name, value in measured.items() if value}
    return {**values, TFJS_2018: ARTICLE[published]}


def _draw_figure(panels: tuple[Panel, ...], run: Run, theme: Theme) -> Any:
    figure, axes = pyplot.subplots(
        2, 2, figsize=(11, 6.2), layout="constrained", sharey=True, facecolor=theme.paper
    )
    for panel, each in zip(panels, axes.flat, strict=True):
        _draw_panel(each, panel, theme)
    model = "MobileNet v1" if "mobilenet_v1" in run.model else run.model
    figure.suptitle(
        f"{model} on OpenWhisk's stock Python runtime",
        x=0.01,
        ha="left",
        weight="bold",
        size=15,
        color=theme.ink,
    )
    figure.supxlabel(
        f"Medians of one run, in turns: {run.machine.processor}, {run.machine.cpu_class.name}, "
        f"Python {'.'.join(run.machine.python.split('.')[:2])}, {run.date}.\n2018: as published, "
        "TensorFlow.js on IBM Cloud Functions, another machine.",
        x=0.01,
        ha="left",
        size=8.5,
        color=theme.ink,
    )
    return figure


def _draw_panel(axes: Any, panel: Panel, theme: Theme) -> None:
    colours = {OURS: theme.ours, PRECOMPILED: theme.ours, PIP: theme.pip, TFJS_2018: theme.article}
    for position, name in enumerate(BARS):
        if name in panel.values:
            hatch = "//" if name == TFJS_2018 else None
            colour = {"color": colours[name], "edgecolor": theme.paper}
            axes.barh(position, panel.values[name], 0.62, linewidth=0, hatch=hatch, **colour)
            label, paper = _bar_label(panel, name), {"color": theme.paper, "pad": 1}
            font = {"weight": "bold", "size": 10.5, "va": "center", "bbox": paper, "zorder": 4}
            _write(axes, label, panel.values[name], position, theme, **font)
    if panel.hello_world:
        axes.axvline(panel.hello_world, color=theme.ink, linestyle="--", linewidth=1.2, zorder=3)
        _write(axes, HELLO_WORLD, panel.hello_world, -0.62, theme, size=9, va="top")
    axes.set_xlim(0, max(panel.values.values()) * 1.32)
    axes.set_ylim(len(BARS) - 0.5, -0.7)
    axes.set_yticks(range(len(BARS)), list(BARS.values()))
    axes.set_title(panel.title, loc="left", weight="bold", size=12, color=theme.ink)
    unit = {"ms": "milliseconds", "MB": "MB"}[panel.unit]
    axes.set_xlabel(unit, color=theme.ink)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, min_n_ticks=3))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_facecolor(theme.paper)
    axes.grid(axis="x", color=theme.grid)
    axes.tick_params(colors=theme.ink, length=0)
    axes.spines["bottom"].set_color(theme.grid)


def _write(axes: Any, text: str, x: float, y: float, theme: Theme, **style: Any) -> None:
    """Write text to the right of a point."""
    axes.annotate(text, (x, y), (5, 0), textcoords="offset points", color=theme.ink, **style)


def _bar_label(panel: Panel, name: str) -> str:
    """Return a bar's value, and for other peers its ratio to ours."""
    value, ours = panel.values[name], panel.values[OURS]
    label = f"{format_number(value)} {panel.unit}"
    if name in (OURS, PRECOMPILED):
        return label
    times = value / ours
    return f"{label}  ({times:.1f}x)" if times < 9.95 else f"{label}  ({times:.0f}x)"
