"""The tables of how peers scale: with processes, a share of a CPU, the size of the picture."""

from __future__ import annotations

from bench.report import markdown as text
from bench.report.markdown import MISSING, NONE, ratio, table
from bench.results import Run


def processes(run: Run) -> str:
    """Activations per second by number of processes."""
    rates = {
        name: {each.processes: each.per_second for each in points}
        for name, points in run.scaling.processes.items()
        if points
    }
    counts = sorted({count for points in rates.values() for count in points})
    rows = []
    for name, points in rates.items():
        cells = [
            f"{points[count]:.1f} ({ratio(points[count], points.get(1))})"
            if count in points
            else NONE
            for count in counts
        ]
        rows.append([name, *cells])
    return table(["", *map(str, counts)], rows) if rows else ""


def quota(run: Run) -> str:
    """Activations and init by share of a CPU, or why there are none."""
    rows = [
        [name, f"{each.cores:g}", *map(text.ms, (each.median, each.p90, each.mean, each.init))]
        for name, points in run.scaling.quota.items()
        for each in points
    ]
    parts = [table(["", "cores", "median", "p90", "mean", "init"], rows)] if rows else []
    if problem := run.scaling.quota_problem:
        before = "Not all could be measured here: " if rows else f"{MISSING} It could not be done: "
        parts.append(text.paragraph(f"{before}{problem}"))
    return "\n\n".join(parts)


def megapixels(run: Run) -> str:
    """Activations and memory by size of the picture."""
    rows = []
    for name, points in run.scaling.megapixels.items():
        for each in points:
            cells = ["failed", NONE, NONE]
            if each.median is not None and each.peak is not None:
                first = ratio(each.median, points[0].median)
                cells = [text.ms(each.median), first, text.memory_mb(each.peak)]
            rows.append([name, f"{each.megapixels:g}", f"{each.bytes / 1000:.0f}", *cells])
    head = ["", "megapixels", "kB", "median", "to the first", "peak memory, MB"]
    return table(head, rows) if rows else ""
