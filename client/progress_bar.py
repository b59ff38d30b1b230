"""A progress bar on standard error, while many pictures are classified."""

import sys
import time
from collections.abc import Callable


class ProgressBar:
    """A progress bar on the last line of a terminal; prints nothing elsewhere."""

    def __init__(self, total: int, enabled: bool, limit: Callable[[], int | None]) -> None:
        """Begin to measure; `limit` returns the platform's limit per minute, None if not known."""
        self._total = total
        self._enabled = enabled and total > 0 and sys.stderr.isatty()
        self._limit = limit
        self._began = time.monotonic()

    def draw(self, done: int) -> None:
        """Show that `done` of all are done, how many a minute, and how long the others take."""
        if self._enabled:
            filled = 30 * done // self._total
            bar = "#" * filled + "." * (30 - filled)
            line = f"[{bar}] {done}/{self._total}{self._forecast(done)}"
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)

    def _forecast(self, done: int) -> str:
        minutes = (time.monotonic() - self._began) / 60
        if not done or not minutes:
            return ""
        rate = min(done / minutes, self._limit() or float("inf"))
        seconds = round(60 * (self._total - done) / rate)
        return f"  {rate:.0f} a minute, {seconds // 60}:{seconds % 60:02} left"

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed."""
        if self._enabled:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
