"""The pictures of measurements."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

COLOURS = ("#4477aa", "#66ccee", "#ee6677", "#ccbb44", "#228833", "#aa3377")
"""Told apart by colour-blind readers, too (Paul Tol's "bright" scheme)."""


def stacked(
    bars: dict[str, dict[str, float]], ends: dict[str, str], title: str, note: str, stem: Path
) -> list[Path]:
    """Draw one horizontal bar per row, stacked of its parts.

    Args:
        bars: row -> part -> milliseconds; the first row is on top.
        ends: row -> what to write behind its bar.
        title: above the plot.
        note: below the title, smaller.
        stem: path of the files, without what they end in.

    Returns:
        The files: SVG and PNG.
    """
    mpl.use("Agg")
    parts = list(dict.fromkeys(part for values in bars.values() for part in values))
    colours = dict(zip(parts, COLOURS, strict=False))
    figure, axes = pyplot.subplots(figsize=(10, 1.6 + 0.8 * len(bars)), layout="constrained")
    for position, (name, values) in enumerate(bars.items()):
        left = 0.0
        for part, value in values.items():
            axes.barh(position, value, 0.45, left, color=colours[part])
            left += value
        axes.annotate(
            ends[name],
            (left, position),
            (5, 0),
            textcoords="offset points",
            va="center",
            weight="bold",
        )
        # All values below the bar: within it, those of narrow parts would overlap.
        axes.annotate(
            "   ".join(f"{part} {_short(value)}" for part, value in values.items()),
            (0, position + 0.24),
            (3, -2),
            textcoords="offset points",
            va="top",
            size=8,
            color="#444444",
            bbox={"color": "white", "pad": 1},
        )
    widest = max(sum(values.values()) for values in bars.values())
    axes.set_xlim(0, widest * 1.25)  # room for what is behind the longest bar
    axes.set_ylim(len(bars) - 0.4, -0.5)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("milliseconds")
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(title, loc="left", weight="bold", pad=22)
    axes.annotate(
        note, (0, 1), (0, 7), "axes fraction", textcoords="offset points", size=8, color="#444444"
    )
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colours[part]) for part in parts]
    figure.legend(handles, parts, loc="outside lower center", ncols=len(parts), frameon=False)
    files = [stem.with_suffix(suffix) for suffix in (".svg", ".png")]
    stem.parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        figure.savefig(file, dpi=150)
    pyplot.close(figure)
    return files


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
