"""What the user sees while the builder works: steps with seconds, progress, tables."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console as RichConsole
from rich.control import Control
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
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
        self._rich = RichConsole(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._always = RichConsole(stderr=True, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Time one step. What is appended to the yielded list is shown behind its title."""
        details: list[str] = []
        began = time.perf_counter()
        try:
            yield details
        except BaseException:
            self._rich.print(Text(f"✗ {title}", style="bold red"))
            raise
        took = time.perf_counter() - began
        self.seconds[title] = round(took, 3)
        line = Text.assemble(("✓ ", "bold green"), (title, "bold"), f"  {took:.1f} s")
        self._rich.print(line)
        for detail in details:
            self._rich.print(Text(f"    {detail}"))

    def note(self, text: str) -> None:
        """Something the user should know, kept for the report."""
        self.notes.append(text)
        self._rich.print(Text(f"  · {text}"))

    def warn(self, text: str) -> None:
        """Something the user must not miss: shown with --quiet too, and kept for the report."""
        self.notes.append(text)
        self._always.print(Text(f"! {text}", style="bold yellow"))

    def status(self, text: str) -> None:
        """What a long step is doing now: one line that changes on a terminal, lines elsewhere."""
        if not self._rich.is_terminal:
            if text:
                self._rich.print(Text(f"    {text}"))
            return
        erase = Control((ControlType.ERASE_IN_LINE, 2), ControlType.CARRIAGE_RETURN)
        self._rich.control(erase)
        self._rich.print(Text(f"    {text}"[: self._rich.width - 1] if text else ""), end="")

    @contextmanager
    def progress(self, label: str) -> Iterator[Advance]:
        """A bar for one transfer: drawn on a terminal, a line per quarter elsewhere."""
        if not self._rich.is_terminal:
            yield self._quarters(label)
            return
        columns = (
            TextColumn("    {task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._rich, transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first column is text, the others are numbers."""
        table = Table(title=title, title_justify="left")
        for position, column in enumerate(columns):
            table.add_column(column, justify="right" if position else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._rich.print(table)

    def text(self, text: str = "") -> None:
        """A plain line of the report."""
        self._rich.print(Text(text))

    def _quarters(self, label: str) -> Advance:
        shown = 0

        def advance(done: int, total: int | None) -> None:
            nonlocal shown
            if total and done * 4 // total > shown:
                shown = done * 4 // total
                size = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
                self._rich.print(Text(f"    {label}: {size} ({done * 100 // total} %)"))

        return advance


def megabytes(size: int) -> str:
    """Bytes as MB (10^6), two decimals."""
    return f"{size / 1e6:.2f} MB"
