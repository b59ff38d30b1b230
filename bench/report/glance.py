"""One picture that shows what a user gains: size, cold, warm, memory; for a README and a talk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

import bench.report.style  # noqa: F401 (sets it)
from bench.peers.peer import HELLO_WORLD, OURS, PRECOMPILED
from bench.report import markdown as text
from bench.report.figures import PIP, at_a_glance, charted, figure
from bench.results import Run
from builder.base.toml import read_toml

ARTICLE = "TensorFlow.js, 2018"
ROWS = {
    OURS: "this zip",
    PRECOMPILED: "this zip,\nprecompiled",
    PIP: "pip's zip\n(tflite-runtime)",
    ARTICLE: "the article,\n2018 (TF.js)",
}


@dataclass(frozen=True)
class Theme:
    """Colours: of bars (told apart by lightness alone, too), text and grid.

    Attributes:
        suffix: of the file's name.
    """

    suffix: str
    ours: str
    pip: str
    article: str
    ink: str
    faint: str
    paper: str


LIGHT = Theme("", "#0072b2", "#e69f00", "#bbbbbb", "#1f2328", "#d8dee4", "#ffffff")
DARK = Theme("-dark", "#56b4e9", "#e69f00", "#6e7681", "#e6edf3", "#30363d", "#0d1117")
"""After Okabe and Ito's palette; papers and inks are GitHub's."""


@dataclass(frozen=True)
class Panel:
    """One figure of all rows.

    Attributes:
        title: what it is.
        axis: the axis' label, with the unit.
        unit: behind a value.
        values: row -> value in that unit; rows without one are left empty.
        line: a value to draw across, and what it is; None for none.
    """

    title: str
    axis: str
    unit: str
    values: dict[str, float]
    line: tuple[float, str] | None = None


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw a run.

    Args:
        run: of which any part may be missing.
        folder: for glance.svg, glance-dark.svg and glance.png.

    Returns:
        The files; none if size, cold, warm or memory of this zip or of pip's was not measured.
    """
    run = charted(run)
    if not at_a_glance(run):
        return []
    panels = _panels(run)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for theme in (LIGHT, DARK):
        plot = _figure(panels, run, theme)
        stem = folder / f"glance{theme.suffix}"
        files.append(stem.with_suffix(".svg"))
        plot.savefig(files[-1], metadata={"Date": None})
        if theme is LIGHT:
            files.append(stem.with_suffix(".png"))
            plot.savefig(files[-1], dpi=160)
        pyplot.close(plot)
    return files


def _panels(run: Run) -> list[Panel]:
    article = read_toml(Path(__file__).parents[1] / "article.toml")

    def values(key: str, scale: float, published: float) -> dict[str, float]:
        measured = {name: figure(run, key, name) for name in ROWS}
        scaled = {name: value / scale for name, value in measured.items() if value}
        return {**scaled, ARTICLE: published}

    hello = figure(run, "cold", HELLO_WORLD)
    return [
        Panel("What is deployed", "MB", "MB", values("size", 1e6, article["size_mb"])),
        Panel(
            "Cold start, emulated",
            "milliseconds",
            "ms",
            values("cold", 1, article["cold_ms"]),
            (hello, HELLO_WORLD) if hello else None,
        ),
        Panel("Warm activation", "milliseconds", "ms", values("warm", 1, article["warm_ms"])),
        Panel("Memory, resident", "MB", "MB", values("memory", 1e6, article["memory_mb"])),
    ]


def _figure(panels: list[Panel], run: Run, theme: Theme) -> Any:
    figure, axes = pyplot.subplots(
        2, 2, figsize=(11, 6.2), layout="constrained", sharey=True, facecolor=theme.paper
    )
    for panel, each in zip(panels, axes.flat, strict=True):
        _panel(each, panel, theme)
    figure.suptitle(
        "MobileNet v1 on OpenWhisk's stock Python runtime"
        if "mobilenet_v1" in run.model
        else f"{run.model} on OpenWhisk's stock Python runtime",
        x=0.01,
        ha="left",
        weight="bold",
        size=15,
        color=theme.ink,
    )
    figure.supxlabel(
        f"Medians of one run, in turns: {run.machine.processor}, {run.machine.cpu.name}, "
        f"Python {'.'.join(run.machine.python.split('.')[:2])}, {run.date}.\n2018: as published, "
        "TensorFlow.js on IBM Cloud Functions, another machine.",
        x=0.01,
        ha="left",
        size=8.5,
        color=theme.ink,
    )
    return figure


def _panel(axes: Any, panel: Panel, theme: Theme) -> None:
    colours = {OURS: theme.ours, PRECOMPILED: theme.ours, PIP: theme.pip, ARTICLE: theme.article}
    ours = panel.values[OURS]
    widest = max(panel.values.values())
    for position, row in enumerate(ROWS):
        if (value := panel.values.get(row)) is None:
            continue
        hatch = "//" if row == ARTICLE else None
        axes.barh(
            position,
            value,
            0.62,
            color=colours[row],
            hatch=hatch,
            edgecolor=theme.paper,
            linewidth=0,
        )
        label = f"{text.ms(value) if panel.unit == 'ms' else _three(value)} {panel.unit}"
        if row not in (OURS, PRECOMPILED):
            label += (
                f"  ({value / ours:.1f}x)" if value / ours < 9.95 else f"  ({value / ours:.0f}x)"
            )
        axes.annotate(
            label,
            (value, position),
            (5, 0),
            textcoords="offset points",
            va="center",
            weight="bold",
            color=theme.ink,
            size=10.5,
            bbox={"color": theme.paper, "pad": 1},
            zorder=4,
        )
    if panel.line:
        value, name = panel.line
        axes.axvline(value, color=theme.ink, linestyle="--", linewidth=1.2, zorder=3)
        axes.annotate(
            name,
            (value, -0.62),
            (4, 0),
            textcoords="offset points",
            size=9,
            color=theme.ink,
            va="top",
        )
    axes.set_xlim(0, widest * 1.32)
    axes.set_ylim(len(ROWS) - 0.5, -0.7)
    axes.set_yticks(range(len(ROWS)), list(ROWS.values()))
    axes.set_title(panel.title, loc="left", weight="bold", size=12, color=theme.ink)
    axes.set_xlabel(panel.axis, color=theme.ink)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, min_n_ticks=3))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_facecolor(theme.paper)
    axes.grid(axis="x", color=theme.faint)
    axes.tick_params(colors=theme.ink, length=0)
    axes.spines["bottom"].set_color(theme.faint)


def _three(value: float) -> str:
    """Three figures, as far as there are so many before the point."""
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{decimals}f}"
