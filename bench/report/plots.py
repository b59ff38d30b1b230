"""The pictures of measurements. The same figures give the same bytes, under the same matplotlib."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

from bench import results
from bench.report import markdown as text
from bench.report.figures import charted, deployable, without_variants
from bench.report.style import COLOURS, GREY
from builder.artifact import platform


def draw(run: results.Run, folder: Path) -> list[Path]:
    """Draw what was measured, without variants and the peers that answered wrongly.

    Args:
        run: of which any part may be missing.
        folder: for warm.svg, cold.svg and size.svg.

    Returns:
        The files; those of a part that was not measured are not made.
    """
    run = without_variants(charted(run))
    note = f"{run.machine.processor}, {run.machine.cpu.name}, {run.date}"
    files = []
    if warm := {name: each.ms for name, each in run.warm.items() if each.ms}:
        files.append(distributions(warm, "Warm activations", note, folder / "warm.svg"))
    if cold := run.cold:
        files.append(
            stacked(
                {name: each.stages for name, each in cold.items()},
                {
                    name: f"{text.ms(each.total)} ms"
                    + (", image not counted" if name in run.peers and run.peers[name].image else "")
                    for name, each in cold.items()
                },
                "Cold start by stage, medians, emulated",
                note,
                folder / "cold.svg",
            )
        )
    if run.size:
        marks = {name: deployable(run, name) for name in run.size}
        files.append(sizes(run.size, marks, "Size of what is deployed", note, folder / "size.svg"))
    return files


def distributions(series: dict[str, list[float]], title: str, note: str, file: Path) -> Path:
    """Draw one violin per row on a logarithmic axis, with the median and the 10 % to 90 %.

    Args:
        series: row -> milliseconds, at least one; the first row is on top.
        title: above the plot.
        note: below the title, smaller.
        file: the SVG to write.

    Returns:
        The file.
    """
    figure, axes = _rows(len(series), 0.55)
    for position, times in enumerate(series.values()):
        logs = [math.log10(ms) for ms in times]
        if len({*logs}) > 1:  # the density of a single value is not defined
            [body] = axes.violinplot(
                [logs],
                [position],
                orientation="horizontal",
                widths=0.75,
                points=40,
                showextrema=False,
            )["bodies"]
            body.set(facecolor=COLOURS[1], edgecolor="none", alpha=1)
        middle = statistics.median(logs)
        ends = [text.percentile(logs, percent) for percent in (10, 90)]
        axes.plot(ends, [position] * 2, color=COLOURS[0], linewidth=2, solid_capstyle="butt")
        axes.plot(middle, position, "o", color="white", markeredgecolor=COLOURS[0], markersize=5)
        _behind(axes, f"{text.ms(10**middle)} ms", max(logs), position)
    values = [math.log10(ms) for times in series.values() for ms in times]
    low, high = min(values), max(values)
    steps = [
        digit * 10**power
        for power in range(math.floor(low), math.ceil(high) + 1)
        for digit in (1, 2, 5)
    ]
    shown = [step for step in steps if low - 0.2 <= math.log10(step) <= high + 0.2]
    axes.set_xticks([math.log10(step) for step in shown], [f"{step:,g}" for step in shown])
    axes.set_xlim(low - 0.1, high + 0.25 * (high - low + 0.5))
    axes.set_xlabel("milliseconds, logarithmic; circle: median, line: 10 % to 90 %")
    return _finished(figure, axes, list(series), title, note, file)


def stacked(
    bars: dict[str, dict[str, float]], ends: dict[str, str], title: str, note: str, file: Path
) -> Path:
    """Draw one horizontal bar per row, stacked of its parts.

    Args:
        bars: row -> part -> milliseconds; the first row is on top.
        ends: row -> what to write behind its bar.
        title: above the plot.
        note: below the title, smaller.
        file: the SVG to write.

    Returns:
        The file.
    """
    parts = list(dict.fromkeys(part for values in bars.values() for part in values))
    colours = dict(zip(parts, COLOURS, strict=False))
    figure, axes = _rows(len(bars), 0.8)
    for position, (name, values) in enumerate(bars.items()):
        left = 0.0
        for part, value in values.items():
            axes.barh(position, value, 0.45, left, color=colours[part])
            left += value
        _behind(axes, ends[name], left, position)
        # All values below the bar: within it, those of narrow parts would overlap.
        axes.annotate(
            "   ".join(f"{part} {text.ms(value)}" for part, value in values.items()),
            (0, position + 0.24),
            (3, -2),
            textcoords="offset points",
            va="top",
            size=8,
            color=GREY,
            bbox={"color": "white", "pad": 1},
        )
    widest = max(sum(values.values()) for values in bars.values())
    axes.set_xlim(0, widest * 1.25)  # room for what is behind the longest bar
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("milliseconds")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colours[part]) for part in parts]
    figure.legend(handles, parts, loc="outside lower center", ncols=len(parts), frameon=False)
    return _finished(figure, axes, list(bars), title, note, file)


def sizes(
    rows: dict[str, results.Size], marks: dict[str, str], title: str, note: str, file: Path
) -> Path:
    """Draw two bars per row, packed and unpacked, and the platform's limit.

    Args:
        rows: row -> size; the first row is on top.
        marks: row -> what to write behind its upper bar.
        title: above the plot.
        note: below the title, smaller.
        file: the SVG to write.

    Returns:
        The file.
    """
    figure, axes = _rows(len(rows), 0.7)
    kinds = {COLOURS[0]: "as a zip", COLOURS[1]: "unpacked"}
    for position, (name, size) in enumerate(rows.items()):
        mark = f", {marks[name]}" if marks[name] else ""
        bars = ((size.zip, -0.19, mark), (size.unpacked, 0.19, ""))
        for colour, (value, offset, behind) in zip(kinds, bars, strict=True):
            axes.barh(position + offset, value / 1e6, 0.36, color=colour)
            label = f"{value / 1e6:.1f} MB{behind}"
            _behind(axes, label, value / 1e6, position + offset, size=9)
    limit = platform.zip_limit()
    axes.axvline(limit / 1e6, color=COLOURS[2], linestyle="--", zorder=2)
    widest = max(limit, *(max(each.zip, each.unpacked) for each in rows.values()))
    axes.set_xlim(0, 1.2 * widest / 1e6)
    axes.set_xlabel("MB")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in kinds]
    handles.append(mpl.lines.Line2D([], [], color=COLOURS[2], linestyle="--"))
    names = [*kinds.values(), f"OpenWhisk's limit for zips, {limit / 2**20:.0f} MiB"]
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    return _finished(figure, axes, list(rows), title, note, file)


def _rows(count: int, height: float) -> tuple[Any, Any]:
    """A figure for so many rows of a height in inches."""
    figure, axes = pyplot.subplots(figsize=(10, 1.6 + height * count), layout="constrained")
    return figure, axes


def _behind(axes: Any, label: str, x: float, y: float, size: float = 10) -> None:
    axes.annotate(
        label,
        (x, y),
        (5, 0),
        textcoords="offset points",
        va="center",
        weight="bold",
        size=size,
        bbox={"color": "white", "pad": 0.5},
    )


def _finished(figure: Any, axes: Any, rows: list[str], title: str, note: str, file: Path) -> Path:
    """Name the rows and the plot, write the file."""
    axes.set_ylim(len(rows) - 0.4, -0.5)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title, loc="left", weight="bold", pad=22)
    axes.annotate(
        note, (0, 1), (0, 7), "axes fraction", textcoords="offset points", size=8, color=GREY
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    return file
