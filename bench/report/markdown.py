"""Formats numbers, tables and paragraphs as Markdown.

Percentiles interpolate linearly between the two nearest of the sorted values (the "inclusive"
method of Python's `statistics.quantiles`; NumPy's default).
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable, Sequence

NOT_MEASURED = "Not measured in this run."
EMPTY = "-"


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile, 1 to 99, of at least one value."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def format_number(value: float | None) -> str:
    """Format a number with three digits, or as a whole number; EMPTY without one."""
    if value is None:
        return EMPTY
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def format_mb(size: float | None, decimals: int = 2) -> str:
    """Format bytes as MB (10^6); EMPTY without a size."""
    return EMPTY if size is None else f"{size / 1e6:.{decimals}f}"


def format_ratio(value: float | None, base: float | None) -> str:
    """Format how many times the base a value is; EMPTY without one of them."""
    if value is None or not base:
        return EMPTY
    times = value / base
    return f"{times:.1f}x" if times >= 9.995 else f"{times:.2f}x"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return an aligned table: the first `left` columns to the left, the others to the right.

    Without rows, it is a sentence that says so.
    """
    if not (rows := list(rows)):
        return NOT_MEASURED
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if n < left else "-" * (width - 1) + ":" for n, width in enumerate(widths)]

    def align(line: list[str]) -> str:
        cells = zip(line, widths, strict=True)
        return " | ".join(c.ljust(w) if n < left else c.rjust(w) for n, (c, w) in enumerate(cells))

    return "\n".join(f"| {align(line)} |" for line in (lines[0], rule, *lines[1:]))


def paragraph(text: str, indent: str = "") -> str:
    """Wrap text in lines of up to 100 characters; later lines start with `indent`."""
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def list_item(text: str) -> str:
    """Return a wrapped item of a list."""
    return paragraph(f"- {text}", indent="  ")
