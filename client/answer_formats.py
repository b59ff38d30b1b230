"""Format answers as text: a table for a terminal, JSON lines, CSV; without control characters."""

import csv
import io
import json
import sys
from typing import Any

CSV_HEAD = "file,class,probability,error"
# What spreadsheets take for the start of a formula, some of them full-width signs, too: such text
# gets a quote before it.
_FORMULA_STARTS = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")
# Lower probabilities would be "0.0 %" in the table.
_MIN_SHOWN = 0.0005
# Columns for file names in the table.
_MAX_NAME_WIDTH = 40


def printable(text: str) -> str:
    """Replace characters that would control the terminal, or start a line, by "?" as `ls` does."""
    return "".join(character if character.isprintable() else "?" for character in text)


def json_line(value: Any) -> str:
    """Return JSON in one line; unprintable characters are escaped (RFC 8259, section 7)."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def csv_lines(answer: dict[str, Any]) -> str:
    """Return lines of a CSV file (RFC 4180): one per class, or one with the error or neither."""
    rows = [(each["className"], each["probability"], "") for each in answer.get("results", ())]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for row in rows or [("", "", answer.get("error", ""))]:
        cells = [answer["file"], *row]
        writer.writerow([_csv_text(cell) if isinstance(cell, str) else cell for cell in cells])
    return file.getvalue().removesuffix("\n")


def _csv_text(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, and no terminal for a control."""
    text = f"'{text}" if text.startswith(_FORMULA_STARTS) else text
    return printable(text) if sys.stdout.isatty() else text


class Table:
    """Formats answers as a table of file, probability, class; a file's name stands once."""

    def __init__(self, names: list[str]) -> None:
        self._width = min(max(map(len, names), default=0), _MAX_NAME_WIDTH)

    def lines(self, answer: dict[str, Any]) -> str:
        """Return the lines for one picture."""
        name = printable(answer["file"])
        if len(name) > self._width:
            name = f"...{name[3 - self._width :]}"
        rows = _table_rows(answer)
        cells = [name, *[""] * (len(rows) - 1)]
        pairs = zip(cells, rows, strict=True)
        return "\n".join(f"{cell:{self._width}}  {row}" for cell, row in pairs)


def _table_rows(answer: dict[str, Any]) -> list[str]:
    if "results" not in answer:
        rows = [f"error: {printable(answer['error'])}"]
    else:
        rows = [
            f"{100 * each['probability']:5.1f} %  {printable(each['className'])}"
            for each in answer["results"]
            if each["probability"] >= _MIN_SHOWN and not each.get("background")
        ]
        if not rows:
            rows = [f"no class reaches {'0.1 %' if answer['results'] else 'the threshold'}"]
    if "sent" in answer:
        sent = answer["sent"]
        rows.append(
            f"sent smaller, {sent['width']} x {sent['height']} pixels, "
            f"{sent['bytes'] / 1e6:.1f} of {sent['of'] / 1e6:.1f} MB"
        )
    if "details" in answer:
        rows.append(json_line(answer["details"]))
    return rows
