"""Answers as text: a table for a terminal, JSON lines, CSV. Nothing in it controls a terminal."""

import csv
import io
import json
import sys
import unicodedata
from typing import Any

LEAST_SHOWN = 0.0005
"""Less is 0.0 % in the table, which says nothing."""
_WIDEST = 40
CSV_HEAD = "file,class,probability,error"


def printable(text: str) -> str:
    """Text in one line and without what would control the terminal, as `ls` shows names."""
    return "".join(character if character.isprintable() else "?" for character in text)


def json_line(value: Any) -> str:
    """JSON in one line; what is not printable is escaped (RFC 8259, section 7)."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def csv_lines(answer: dict[str, Any]) -> str:
    """Lines of a CSV file (RFC 4180): one per class, or one with the error or with neither."""
    rows = [(each["className"], each["probability"], "") for each in answer.get("results", ())]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for row in rows or [("", "", answer.get("error", ""))]:
        shown = (answer["file"], *row)
        writer.writerow(map(_on_a_terminal, shown) if sys.stdout.isatty() else shown)
    return file.getvalue().removesuffix("\n")


def _on_a_terminal(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def columns(text: str) -> int:
    """How many columns of a terminal printable text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


class Table:
    """A table: file, probability, class; the file stands in the first line of its own only."""

    def __init__(self, names: list[str]) -> None:
        self._width = min(max((columns(printable(name)) for name in names), default=0), _WIDEST)

    def lines(self, answer: dict[str, Any]) -> str:
        """The lines for one picture."""
        name = printable(answer["file"])
        if columns(name) > self._width:
            while columns(name) > self._width - 3:
                name = name[1:]
            name = f"...{name}"
        padded = name + " " * (self._width - columns(name))
        rows = _rows(answer)
        return "\n".join(
            f"{' ' * self._width if number else padded}  {row}" for number, row in enumerate(rows)
        )


def _rows(answer: dict[str, Any]) -> list[str]:
    if "results" not in answer:
        rows = [f"error: {printable(answer['error'])}"]
    else:
        rows = [
            f"{100 * each['probability']:5.1f} %  {printable(each['className'])}"
            for each in answer["results"]
            if each["probability"] >= LEAST_SHOWN and not each.get("background")
        ]
        if not rows:
            rows = [f"no class reaches {'0.1 %' if answer['results'] else 'the threshold'}"]
    if "sent" in answer:
        sent = answer["sent"]
        rows.append(
            f"sent as its central square, {sent['width']} x {sent['height']} pixels, "
            f"{sent['bytes'] / 1e6:.1f} of {sent['of'] / 1e6:.1f} MB"
        )
    if "details" in answer:
        rows.append(json_line(answer["details"]))
    return rows


class Bar:
    """A progress bar on the last line of a terminal; nothing elsewhere, or for a few pictures."""

    def __init__(self, total: int, shown: bool) -> None:
        self._total = total
        self._shown = shown and total > 0 and sys.stderr.isatty()

    def draw(self, done: int) -> None:
        """Show that so many are done."""
        if self._shown:
            filled = 30 * done // self._total
            bar = "#" * filled + "." * (30 - filled)
            print(f"\r[{bar}] {done}/{self._total}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for a line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
