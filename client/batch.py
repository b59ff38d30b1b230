"""Classify many pictures, one after the other or several at a time, and count the outcomes."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from action.request import ActionError, Options
from action.response import error_answer
from client.answer_formats import printable
from client.errors import UndeliveredError, UnreadableError
from client.function import Function
from client.results_file import ResultsFile

# From this number of pictures on, a terminal shows a progress bar, and the outcomes are counted.
MIN_COUNTED = 5
# After this number of undelivered pictures in a row, the server is considered gone.
MAX_UNDELIVERED = 5

# Exit statuses. USAGE: the call was wrong; UNREACHABLE: given up, the function is out of reach.
OK, SOME_FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3

T = TypeVar("T")
R = TypeVar("R")


class FunctionGoneError(ActionError):
    """Several pictures in a row could not be delivered; the text has the last reason."""


class Outcome(NamedTuple):
    """The outcome for a picture: the function's answer, or an `error`.

    Attributes:
        kind: "answered"; "refused" by the function; "unread" if the file could not be read or
            sent; "undelivered" if the function was not reached.
        answer: the function's answer, or an object with `error`.
        seconds: how long it took, other tries included.
    """

    kind: Literal["answered", "refused", "unread", "undelivered"]
    answer: dict[str, Any]
    seconds: float = 0.0

    @property
    def final(self) -> bool:
        """Whether the function has decided: a later run would get the same."""
        return self.kind in ("answered", "refused")


def classify_file(function: Function, options: Options, name: str) -> Outcome:
    """Classify a file and return the outcome; never raise an Exception."""
    began = time.perf_counter()
    try:
        answer = function.classify(name, options)
        return Outcome("answered", answer, time.perf_counter() - began)
    except UnreadableError as error:
        return Outcome("unread", error_answer(error))
    except UndeliveredError as error:
        return Outcome("undelivered", error_answer(error))
    except Exception as error:
        return Outcome("refused", error_answer(error))


def map_in_order(
    function: Callable[[T], R], items: Sequence[T], jobs: int
) -> Generator[R, None, None]:
    """Yield `function` of each item, in order, from up to `jobs` threads at a time.

    Closing the generator stops each thread after its current item, and does not wait for it.
    """
    from multiprocessing.pool import ThreadPool  # takes 10 ms

    with ThreadPool(jobs) as pool:
        yield from pool.imap(function, items)


def describe_progress(done: int, total: int, seconds: float, limit: int | None) -> str:
    """Return a progress bar, how many are done a minute, and how long the others take.

    `limit` is how many a minute the platform allows, None if that is not known.
    """
    filled = 30 * done // total
    bar = f"[{'#' * filled}{'.' * (30 - filled)}] {done}/{total}"
    if not done or not seconds:
        return bar
    rate = min(60 * done / seconds, limit or float("inf"))
    left = round(60 * (total - done) / rate)
    return f"{bar}  {rate:.0f} a minute, {left // 60}:{left % 60:02} left"


def _replace_line(text: str) -> None:
    print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)


def classify_files(
    function: Function, options: Options, names: Sequence[str], quiet: bool
) -> Generator[Outcome, None, None]:
    """Yield the outcome for each file, in order, and show the progress on a terminal.

    Raises:
        FunctionGoneError: MAX_UNDELIVERED of them in a row were not delivered.
    """
    shown = not quiet and len(names) >= MIN_COUNTED and sys.stderr.isatty()
    began = time.monotonic()
    if function.jobs:
        outcomes = map_in_order(
            lambda name: classify_file(function, options, name), names, function.jobs
        )
    else:
        outcomes = (classify_file(function, options, name) for name in names)
    undelivered = 0
    try:
        for done in range(len(names)):
            if shown:
                seconds = time.monotonic() - began
                _replace_line(describe_progress(done, len(names), seconds, function.limit()))
            outcome = next(outcomes)
            if shown:
                _replace_line("")
            yield outcome
            if outcome.final:
                undelivered = 0
            elif outcome.kind == "undelivered":
                undelivered += 1
            if undelivered == MAX_UNDELIVERED:
                text = f"{undelivered} pictures in a row could not be delivered"
                raise FunctionGoneError(f"{text}: {outcome.answer['error']}")
    finally:
        if shown:
            _replace_line("")
        outcomes.close()


def classify_all(
    names: Sequence[str],
    function: Function,
    options: Options,
    write: Callable[[dict[str, Any]], None],
    results: ResultsFile | None = None,
    quiet: bool = False,
) -> int:
    """Classify files, write the answers as they come, count them, and return the exit status.

    `write` takes each answer, with the picture's name as its `file`. With a file of results, the
    pictures that it has are skipped, it takes the final answers, and other outcomes are printed to
    standard error. `quiet` is for no progress bar and no counts.
    """
    todo = [name for name in names if not results or name not in results.answered]
    counts: Counter[str] = Counter()
    began, gone, summarize = time.monotonic(), "", not quiet
    function.plan(len(todo))
    try:
        outcomes = classify_files(function, options, todo, quiet)
        for name, outcome in zip(todo, outcomes, strict=True):
            answer = {"file": name, **outcome.answer}
            if results is None:
                write(answer)
            elif outcome.final:
                results.write(answer)
            else:
                print(printable(f"{name}: {answer['error']}"), file=sys.stderr)
            counts[outcome.kind] += 1
    except FunctionGoneError as error:
        gone = printable(str(error))
    except BrokenPipeError:
        summarize = False  # nobody reads the output any more
        raise
    finally:
        if summarize and (results or (len(todo) >= MIN_COUNTED and counts)):
            text = _summarize(len(names), len(todo), counts, results)
            print(f"{text}; {time.monotonic() - began:.1f} s", file=sys.stderr)
    if gone:
        again = "the same command, given again, does the rest"
        again = again if results else f"with --output FILE, {again}"
        print(f"stopped: {gone}; {again}", file=sys.stderr)
        return UNREACHABLE
    return OK if counts["answered"] == len(todo) else SOME_FAILED


def _summarize(names: int, todo: int, counts: Counter[str], results: ResultsFile | None) -> str:
    """Return how many of the files had which outcome."""
    failed = counts["refused"] + counts["unread"]
    untried = todo - counts["answered"] - failed - counts["undelivered"]
    text = f"{names} picture{'s' * (names != 1)}: {counts['answered']} answered, {failed} failed"
    if counts["undelivered"]:
        text += f", {counts['undelivered']} not delivered"
    if untried:
        text += f", {untried} not tried"
    if results:
        path, skipped = printable(str(results.path)), names - todo
        text += f"; {skipped} were in {path} already" if skipped else f"; see {path}"
    return text
