"""Classify many pictures, one after the other or several at a time, and count the outcomes."""

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
from client.answer_formats import printable
from client.http_client import UndeliveredError
from client.picture_files import UnreadableError
from client.progress_bar import ProgressBar
from client.results_file import ResultsFile
from client.shrink import CannotShrinkError

# From this number of pictures on, a terminal shows a progress bar, and the outcomes are counted.
MIN_COUNTED = 5
# After this number of undelivered pictures in a row, the server is considered gone.
MAX_UNDELIVERED = 5

# Exit statuses. USAGE: the call was wrong; UNREACHABLE: given up, the function is out of reach.
OK, SOME_FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome:
    """The outcome for a picture: the function's answer, or an `error`.

    Attributes:
        kind: "answered"; "refused" by the function; "unread" if the file could not be read or
            sent; "undelivered" if the function was not reached.
        answer: the function's answer, or an object with `error`.
    """

    kind: Literal["answered", "refused", "unread", "undelivered"]
    answer: dict[str, Any]

    @property
    def final(self) -> bool:
        """Whether the function has decided: a later run would get the same."""
        return self.kind in ("answered", "refused")


Outcomes = Generator[Outcome, None, None]


def classify_file(classify: Callable[[str], dict[str, Any]], name: str) -> Outcome:
    """Call `classify` with a file's name and return the outcome; never raise an Exception."""
    try:
        return Outcome("answered", classify(name))
    except (UnreadableError, CannotShrinkError) as error:
        return Outcome("unread", error_answer(error))
    except UndeliveredError as error:
        return Outcome("undelivered", error_answer(error))
    except Exception as error:
        return Outcome("refused", error_answer(error))


def map_in_order(
    function: Callable[[T], R], items: Sequence[T], jobs: int
) -> Generator[R, None, None]:
    """Yield `function` of each item, in order, from up to `jobs` threads at a time.

    Closing the generator stops each thread after its current item.
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
        # At Ctrl-C an executor would wait for the requests that are under way.
        Thread(target=work, daemon=True).start()
    try:
        for future in futures:
            yield future.result()
    finally:
        closed.set()


def classify_files(
    classify: Callable[[str], dict[str, Any]], names: Sequence[str], jobs: int
) -> Outcomes:
    """Yield the outcomes for files, in order, from `jobs` threads, or this one if `jobs` is 0."""
    if jobs:
        return map_in_order(lambda name: classify_file(classify, name), names, jobs)
    return (classify_file(classify, name) for name in names)


@dataclass
class Batch:
    """Writes the answers for many pictures as they come.

    Attributes:
        write: takes each answer, with the picture's name as its `file`; unused with `results`.
        results: the file for final answers; other outcomes are printed to standard error.
        quiet: whether to print no progress bar and no counts.
        limit: returns how many pictures a minute the platform allows, None if that is not known.
    """

    write: Callable[[dict[str, Any]], None]
    results: ResultsFile | None = None
    quiet: bool = False
    limit: Callable[[], int | None] = lambda: None

    def run(self, names: list[str], start: Callable[[list[str]], Outcomes]) -> int:
        """Classify the pictures and return the exit status.

        Those with answers in the results file are skipped; `start` classifies the others.
        """
        answered_before = self.results.answered if self.results else set()
        todo = [name for name in names if name not in answered_before]
        counts: Counter[str] = Counter()
        began = time.monotonic()
        last_error = ""
        summarize = not self.quiet
        try:
            last_error = self._write_outcomes(todo, start(todo), counts)
        except BrokenPipeError:
            summarize = False  # nobody reads the output any more
            raise
        finally:
            if summarize and (self.results or (len(todo) >= MIN_COUNTED and counts)):
                seconds = time.monotonic() - began
                print(self._summary(len(names), len(todo), counts, seconds), file=sys.stderr)
        if last_error:
            again = "the same command, given again, does the rest"
            if not self.results:
                again = f"with --output FILE, {again}"
            reason = f"{MAX_UNDELIVERED} pictures in a row could not be delivered: {last_error}"
            print(f"stopped: {reason}; {again}", file=sys.stderr)
            return UNREACHABLE
        return OK if counts["answered"] == len(todo) else SOME_FAILED

    def _write_outcomes(self, todo: list[str], outcomes: Outcomes, counts: Counter[str]) -> str:
        """Write and count the outcomes; return the last error if the server is gone, else ""."""
        bar = ProgressBar(len(todo), not self.quiet and len(todo) >= MIN_COUNTED, self.limit)
        undelivered_in_a_row = 0
        try:
            for done, name in enumerate(todo):
                bar.draw(done)
                outcome = next(outcomes)
                bar.clear()
                self._write_outcome({"file": name, **outcome.answer}, outcome.final)
                counts[outcome.kind] += 1
                counts["smaller"] += "sent" in outcome.answer
                if outcome.final:
                    undelivered_in_a_row = 0
                elif outcome.kind == "undelivered":
                    undelivered_in_a_row += 1
                if undelivered_in_a_row == MAX_UNDELIVERED:
                    return printable(outcome.answer["error"])
        finally:
            bar.clear()
            outcomes.close()
        return ""

    def _write_outcome(self, answer: dict[str, Any], final: bool) -> None:
        if self.results is None:
            self.write(answer)
        elif final:
            self.results.write(answer)
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
        if self.results:
            path = printable(str(self.results.path))
            skipped = names - todo
            text += f"; {skipped} were in {path} already" if skipped else f"; see {path}"
        if counts["smaller"]:
            text += f"; {counts['smaller']} sent smaller"
        return f"{text}; {seconds:.1f} s"
