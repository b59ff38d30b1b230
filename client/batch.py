"""Many pictures, one after the other or several at a time: in order, counted, or given up."""

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, Literal, TypeVar

from action.response import error_answer
from client.answer_formats import Bar, printable
from client.http_client import UndeliveredError
from client.picture_files import UnreadableError
from client.results_file import ResultsFile
from client.shrink import UnableError

MANY = 5
"""From so many pictures on, they are counted, and a terminal shows a progress bar."""
MOST_UNDELIVERED = 5
"""So many in a row: the server is gone, and the others would not arrive either."""

OK, SOME_FAILED, USAGE, GONE = 0, 1, 2, 3
"""Exit statuses. USAGE: the call was wrong; GONE: given up, the function is out of reach."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome:
    """What became of a picture: the function's answer, or an `error`.

    "refused" is the function's word too, and would be said again; what was "unread" on this
    machine or "undelivered" was not seen by the function.
    """

    kind: Literal["answered", "refused", "unread", "undelivered"]
    answer: dict[str, Any]

    @property
    def final(self) -> bool:
        """Whether asking again would be of no use."""
        return self.kind in ("answered", "refused")


Outcomes = Generator[Outcome, None, None]


def outcome(classify: Callable[[str], dict[str, Any]], name: str) -> Outcome:
    """What becomes of the picture `name`; never raises an Exception."""
    try:
        return Outcome("answered", classify(name))
    except (UnreadableError, UnableError) as error:
        return Outcome("unread", error_answer(error))
    except UndeliveredError as error:
        return Outcome("undelivered", error_answer(error))
    except Exception as error:
        return Outcome("refused", error_answer(error))


def in_order(function: Callable[[T], R], items: Sequence[T], jobs: int) -> Generator[R, None, None]:
    """`function` of each item, in order, from up to `jobs` threads at a time.

    Closing the generator stops each thread after the item that it is at.
    """
    futures: list[Future[R]] = [Future() for _ in items]
    waiting = deque(zip(items, futures, strict=True))
    closed = Event()

    def work() -> None:
        with suppress(IndexError):  # when none is left
            while not closed.is_set():
                item, future = waiting.popleft()
                try:
                    future.set_result(function(item))
                except BaseException as error:
                    future.set_exception(error)

    for _ in range(min(jobs, len(items))):
        # Not an executor, which at Ctrl-C would wait for the requests that are under way.
        Thread(target=work, daemon=True).start()
    try:
        for future in futures:
            yield future.result()
    finally:
        closed.set()


@dataclass
class Run:
    """One run over pictures.

    Attributes:
        write: takes each answer, with the picture's name as its `file`; unless there is a `file`.
        file: takes the answers that are final; the others are told on standard error.
        quiet: no progress, and no counts at the end.
    """

    write: Callable[[dict[str, Any]], None]
    file: ResultsFile | None = None
    quiet: bool = False

    def over(self, names: list[str], start: Callable[[list[str]], Outcomes]) -> int:
        """Write what becomes of the pictures as it comes; returns the exit status.

        Args:
            names: of all pictures; those that the file has answers of are left out.
            start: begins with the others.
        """
        had = self.file.answered if self.file else set()
        todo = [name for name in names if name not in had]
        counts: Counter[str] = Counter()
        began = time.monotonic()
        gone = ""
        told = not self.quiet
        try:
            gone = self._each(todo, start(todo), counts)
        except BrokenPipeError:
            told = False  # to whom?
            raise
        finally:
            if told and (self.file or (len(todo) >= MANY and counts)):
                seconds = time.monotonic() - began
                print(self._summary(len(names), len(todo), counts, seconds), file=sys.stderr)
        if gone:
            text = f"stopped: {MOST_UNDELIVERED} pictures in a row could not be delivered: {gone}"
            more = "" if self.file else "; with --output FILE a later run goes on from here"
            print(text + more, file=sys.stderr)
            return GONE
        return OK if counts["answered"] == len(todo) else SOME_FAILED

    def _each(self, todo: list[str], outcomes: Outcomes, counts: Counter[str]) -> str:
        """Returns the last error if it gave up, else nothing."""
        bar = Bar(len(todo), not self.quiet and len(todo) >= MANY)
        in_a_row = 0
        try:
            for done, name in enumerate(todo):
                bar.draw(done)
                made = next(outcomes)
                bar.clear()
                self._put({"file": name, **made.answer}, made.final)
                counts[made.kind] += 1
                counts["smaller"] += "sent" in made.answer
                if made.final:
                    in_a_row = 0
                elif made.kind == "undelivered":
                    in_a_row += 1
                if in_a_row == MOST_UNDELIVERED:
                    return printable(made.answer["error"])
        finally:
            bar.clear()
            outcomes.close()
        return ""

    def _put(self, answer: dict[str, Any], final: bool) -> None:
        if self.file is None:
            self.write(answer)
        elif final:
            self.file.write(answer)
        else:
            text = f"{printable(answer['file'])}: {printable(answer['error'])}"
            print(text, file=sys.stderr)

    def _summary(self, names: int, todo: int, counts: Counter[str], seconds: float) -> str:
        failed = counts["refused"] + counts["unread"]
        untried = todo - counts["answered"] - failed - counts["undelivered"]
        parts = [f"{counts['answered']} answered", f"{failed} failed"]
        if counts["undelivered"]:
            parts.append(f"{counts['undelivered']} not delivered")
        if untried:
            parts.append(f"{untried} not tried")
        text = f"{names} picture{'s' * (names != 1)}: {', '.join(parts)}"
        if self.file:
            where = printable(str(self.file.path))
            text += (
                f"; {names - todo} were in {where} already" if names > todo else f"; see {where}"
            )
        if counts["smaller"]:
            text += f"; {counts['smaller']} sent smaller"
        return f"{text}; {seconds:.1f} s"
