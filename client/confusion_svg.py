"""Draw a confusion matrix as an SVG: a row per class, a column per answered class."""

from collections.abc import Sequence
from html import escape
from itertools import product

from client.answer_formats import printable

# More classes cannot be read.
MAX_CLASSES = 50
# Pixels of a cell's side, and the widest label's.
_CELL, _MAX_LABEL = 22, 180
# Approximate width of a character of 11 pixels.
_CHARACTER = 6.2


def draw_confusion_matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Return the SVG of a matrix.

    The names are those of the columns; the rows are the first of them.
    """
    names = [printable(name) for name in names]  # XML 1.0 has no control characters
    margin = min(_MAX_LABEL, int(max(map(len, names)) * _CHARACTER) + 10)
    width, height = margin + _CELL * len(names) + 10, margin + _CELL * len(counts) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11">',
        "<title>Confusion matrix: rows are the pictures' classes, columns the answers</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, name in enumerate(names):
        label = escape(_cut(name))
        middle = margin + _CELL * number + _CELL / 2 + 4
        if number < len(counts):
            parts.append(_text(margin - 5, middle, label, "end"))
        turned = f' transform="rotate(-90 {middle} {margin - 5})"'
        parts.append(_text(middle, margin - 5, label, "start", turned))
    for row, column in product(range(len(counts)), range(len(names))):
        if counts[row][column]:
            x, y = margin + _CELL * column, margin + _CELL * row
            share = counts[row][column] / sum(counts[row])
            colour = "#1a7f37" if row == column else "#cf222e"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" fill="{colour}" '
                f'fill-opacity="{0.15 + 0.85 * share:.2f}"><title>{escape(names[row])} answered as '
                f"{escape(names[column])}: {counts[row][column]}</title></rect>"
            )
            fill = ' fill="#fff"' if share > 0.5 else ""
            count = str(counts[row][column])
            parts.append(_text(x + _CELL / 2, y + _CELL / 2 + 4, count, "middle", fill))
    side = f'width="{_CELL * len(names)}" height="{_CELL * len(counts)}"'
    parts.append(f'<rect x="{margin}" y="{margin}" {side} fill="none" stroke="#888"/>')
    return "\n".join([*parts, "</svg>\n"])


def _text(x: float, y: float, content: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{content}</text>'


def _cut(name: str) -> str:
    """Return a name that fits the margin."""
    most = int((_MAX_LABEL - 10) / _CHARACTER)
    return name if len(name) <= most else f"{name[: most - 3]}..."
