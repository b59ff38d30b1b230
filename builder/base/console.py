"""What the user sees while the builder works: steps with seconds, progress, tables."""

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shlex import quote, split
from textwrap import shorten, wrap
from typing import Protocol

from rich.console import Console as RichConsole
from rich.control import Control
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text


class Advance(Protocol):
    """Reports progress: bytes done so far, and the total where it is known."""

    def __call__(self, done: int, total: int | None) -> None:
        """Report `done` of `total` bytes."""


class Console:
    """The build's log on stderr; stdout is left to results. Colours only on a terminal."""

    def __init__(self, quiet: bool = False) -> None:
        """With `quiet`, only warnings are shown."""
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        width = None if sys.stderr.isatty() else 1 << 16  # in a file nothing is broken
        self._rich = RichConsole(stderr=True, quiet=quiet, highlight=False, width=width)
        self._always = RichConsole(stderr=True, highlight=False, width=width)

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Time one step. What is appended to the yielded list is shown behind its title."""
        details: list[str] = []
        began = time.perf_counter()
        try:
            yield details
        except BaseException:
            self._line(Text(f"✗ {title}", style="bold red"))
            raise
        took = time.perf_counter() - began
        self.seconds[title] = round(took, 3)
        line = Text.assemble(("✓ ", "bold green"), (title, "bold"), f"  {took:.1f} s")
        self._line(line)
        for detail in details:
            self._line(Text(f"    {detail}"))

    def note(self, text: str) -> None:
        """Something the user should know, kept for the report."""
        self.notes.append(text)
        self._line(Text(f"  · {text}"))

    def warn(self, text: str) -> None:
        """Something the user must not miss: shown with --quiet too, and kept for the report."""
        self.notes.append(text)
        self._line(Text(f"! {text}", style="bold yellow"), self._always)

    def status(self, text: str) -> None:
        """What a long step is doing now: one line that changes on a terminal, lines elsewhere."""
        if not self._rich.is_terminal:
            if text:
                self._line(Text(f"    {text}"))
            return
        erase = Control((ControlType.ERASE_IN_LINE, 2), ControlType.CARRIAGE_RETURN)
        self._rich.control(erase)
        # One line, or it could not be taken back.
        shown = shorten(text, max(8, self._rich.width - 6), placeholder=" ...") if text else ""
        self._rich.print(Text(f"    {shown}" if shown else ""), end="")

    @contextmanager
    def progress(self, label: str) -> Iterator[Advance]:
        """A bar for one transfer: drawn on a terminal, a line per quarter elsewhere."""
        if not self._rich.is_terminal:
            yield self._quarters(label)
            return
        # A bar beside the label where both have room; of a long label its beginning, by words.
        room = self._rich.width - 60
        label = label if len(label) <= room else re.split(r"[-_. ]", label)[0]
        columns: list[ProgressColumn] = [BarColumn(20), DownloadColumn()]
        if len(label) <= room:
            columns = [
                TextColumn("    {task.description}"),
                *columns,
                TransferSpeedColumn(),
                TimeRemainingColumn(),
            ]
        with Progress(*columns, console=self._rich, transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first column is text, the others are numbers.

        The first column is as narrow as the terminal wants it. If that is narrower than a word,
        there are lines in the place of the table.
        """
        table = Table(title=title, title_justify="left")
        for position, column in enumerate(columns):
            table.add_column(column, justify="right" if position else "left", no_wrap=position > 0)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        words = [word for first, *_ in [columns, *rows] for word in first.split()]
        numbers = zip(*(others for _, *others in [columns, *rows]), strict=True)
        narrowest = max(map(len, words)) + sum(max(map(len, cells)) for cells in numbers)
        if self._rich.is_terminal and self._rich.width < narrowest + 3 * len(columns) + 1:
            self.text(title)
            for first, *others in rows:
                self.text(first)
                pairs = zip(columns[1:], others, strict=True)
                self.text("    " + ", ".join(f"{cell} {column}" for column, cell in pairs))
            return
        self._rich.print(table, crop=False)

    def text(self, text: str = "") -> None:
        """A plain line of the report."""
        self._line(Text(text))

    def command(self, text: str) -> None:
        """A line to be typed into a shell; a long one goes on behind a backslash."""
        words = [quote(word) for word in split(text)]
        lines = [f"    {words[0]}"]
        for word in words[1:]:
            if self._rich.is_terminal and len(lines[-1]) + len(word) + 3 > self._rich.width:
                lines[-1] += " \\"
                lines.append(f"        {word}")
            else:
                lines[-1] += f" {word}"
        for line in lines:
            self._rich.print(Text(line), soft_wrap=True)

    def _line(self, text: Text, console: RichConsole | None = None) -> None:
        """A line: on a terminal broken between words, with its indentation; elsewhere as it is."""
        rich = console or self._rich
        if not rich.is_terminal or len(text) <= rich.width:
            rich.print(text, soft_wrap=True)
            return
        for line in text.plain.splitlines():
            indent = " " * (len(line) - len(line.lstrip()))
            hanging = f"{indent}  " if len(indent) + 20 < rich.width else indent
            for each in wrap(
                line.strip(),
                rich.width,
                initial_indent=indent,
                subsequent_indent=hanging,
                break_long_words=False,
                break_on_hyphens=False,
            ) or [""]:
                rich.print(Text(each, style=text.style), soft_wrap=True)

    def _quarters(self, label: str) -> Advance:
        shown = 0

        def advance(done: int, total: int | None) -> None:
            nonlocal shown
            if total and done * 4 // total > shown:
                shown = done * 4 // total
                size = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
                self._line(Text(f"    {label}: {size} ({done * 100 // total} %)"))

        return advance


def megabytes(size: int) -> str:
    """Bytes as MB (10^6), two decimals."""
    return f"{size / 1e6:.2f} MB"
