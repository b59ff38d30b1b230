"""A progress bar on standard error, while many pictures are classified."""

import sys


class ProgressBar:
    """A progress bar on the last line of a terminal; prints nothing elsewhere."""

    def __init__(self, total: int, enabled: bool) -> None:
        self._total = total
        self._enabled = enabled and total > 0 and sys.stderr.isatty()

    def draw(self, done: int) -> None:
        """Show that `done` of all are done."""
        if self._enabled:
            filled = 30 * done // self._total
            bar = "#" * filled + "." * (30 - filled)
            print(f"\r[{bar}] {done}/{self._total}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed."""
        if self._enabled:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
