"""Print a command's log on standard error: steps with their times, notes, tables."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import TextWrapper

from rich.console import Console as RichConsole
from rich.control import Control
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from builder.base.errors import escape_controls

# Tables are at most as wide as this.
_TABLE_WIDTH = 80


class Console:
    """A log on stderr; stdout is left to results. Colours only on a terminal.

    Attributes:
        seconds: how long each step took, by its title.
        notes: all notes and warnings.
        reminders: what the report repeats at its end.
    """

    def __init__(self, quiet: bool = False, silent: bool = False) -> None:
        """Start the log; with `quiet`, only warnings are shown, with `silent` not even these."""
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self.reminders: list[str] = []
        width = None if sys.stderr.isatty() else 1 << 16  # in a file nothing is broken
        self._rich = RichConsole(stderr=True, quiet=quiet or silent, highlight=False, width=width)
        self._always = RichConsole(stderr=True, quiet=silent, highlight=False, width=width)

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Time one step, and print its title and the lines appended to the yielded list."""
        details: list[str] = []
        began = time.perf_counter()
        if self._rich.is_terminal:
            self.status(title)
        try:
            yield details
        except BaseException:
            self._line(Text(f"✗ {title}", style="bold red"))
            raise
        took = time.perf_counter() - began
        self.seconds[title] = round(took, 3)
        self._line(Text.assemble(("✓ ", "bold green"), (title, "bold"), f"  {took:.1f} s"))
        for detail in details:
            self.text(f"    {detail}")

    def note(self, text: str) -> None:
        """Print something the user should know, and keep it for the report."""
        self.notes.append(text)
        self.text(f"  · {text}")

    def warn(self, text: str, reminder: str = "") -> None:
        """Print a warning, with --quiet too; `reminder` is its short form for the report's end."""
        self.notes.append(text)
        self._line(Text(f"! {text}", style="bold yellow"), self._always)
        if reminder:
            self.reminders.append(reminder)

    def status(self, text: str) -> None:
        """Print what a long step does now: one line that changes on a terminal, lines elsewhere."""
        if not self._rich.is_terminal:
            if text:
                self.text(f"    {text}")
            return
        self._erase_status()
        line = Text(f"    {escape_controls(text)}" if text else "")
        width = self._rich.width - 1
        self._rich.print(line, end="", no_wrap=True, overflow="ellipsis", width=width)

    def _erase_status(self) -> None:
        if self._rich.is_terminal:
            line = (ControlType.ERASE_IN_LINE, 2)
            self._rich.control(Control(line, ControlType.CARRIAGE_RETURN))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; the first column is text, the others are numbers."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for number, title in enumerate(columns):
            table.add_column(title, justify="right" if number else "left", no_wrap=bool(number))
        for cells in rows:
            table.add_row(*(Text(escape_controls(cell)) for cell in cells))
        self._rich.print(table, width=min(self._rich.width, _TABLE_WIDTH))

    def text(self, text: str = "") -> None:
        """Print a plain line."""
        self._line(Text(text))

    def command(self, text: str) -> None:
        """Print a command for the shell, to be copied as it is: it is never broken."""
        self._rich.print(Text(f"  {text}"), soft_wrap=True)

    def _line(self, text: Text, console: RichConsole | None = None) -> None:
        """Print a line, broken between words on a terminal, with its indentation."""
        self._erase_status()
        text.plain = escape_controls(text.plain, kept="\n")
        rich = console or self._rich
        lines = [text]
        if rich.is_terminal and len(text) > rich.width:
            style = text.style
            lines = [Text(each, style) for each in _break_lines(text.plain, rich.width)]
        for line in lines:
            rich.print(line, soft_wrap=True)


def _break_lines(text: str, width: int) -> Iterator[str]:
    """Break lines between words; what follows is indented by two more than its beginning."""
    breaking = TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    for line in text.splitlines():
        breaking.subsequent_indent = " " * (len(line) - len(line.lstrip()) + 2)
        yield from breaking.wrap(line)


def megabytes(size: int) -> str:
    """Return a size in bytes as MB (10^6), with two decimals."""
    return f"{size / 1e6:.2f} MB"
