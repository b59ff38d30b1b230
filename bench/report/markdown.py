"""How figures, tables and paragraphs are written.

Percentiles interpolate linearly between the two nearest of the sorted values (the "inclusive"
method of Python's `statistics.quantiles`; NumPy's default), and the median is the 50th.
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable, Sequence

MISSING = "Not measured in this run."
NONE = "-"


def percentile(values: Sequence[float], percent: int) -> float:
    """The percentile of at least one value, 1 to 99; the module says by which method."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def ms(value: float) -> str:
    """Milliseconds with three figures, or whole ones."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def mb(size: float) -> str:
    """Bytes as MB (10^6) of a zip."""
    return f"{size / 1e6:.2f}"


def memory_mb(size: float) -> str:
    """Bytes as MB (10^6) of memory."""
    return f"{size / 1e6:.0f}"


def ratio(value: float, base: float | None) -> str:
    """How many times `base`; NONE without one."""
    if not base:
        return NONE
    times = value / base
    return f"{times:.1f}x" if times >= 9.995 else f"{times:.2f}x"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Markdown with aligned columns: the first `left` of them to the left, the others right."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if n < left else "-" * (width - 1) + ":" for n, width in enumerate(widths)]

    def padded(line: list[str]) -> str:
        cells = zip(line, widths, strict=True)
        return " | ".join(c.ljust(w) if n < left else c.rjust(w) for n, (c, w) in enumerate(cells))

    return "\n".join(f"| {padded(line)} |" for line in (lines[0], rule, *lines[1:]))


def paragraph(text: str) -> str:
    """In lines of up to 100 characters."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def item(text: str) -> str:
    """One of a list, likewise."""
    return textwrap.fill(
        f"- {text}", 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def names(each: Sequence[str]) -> str:
    """Peers in a sentence; some have a comma in their name."""
    return " and ".join(f"*{name}*" for name in each)
