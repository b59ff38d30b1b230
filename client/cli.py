"""The local command line: `python -m action PICTURE...` or `--serve`.

It answers with the packages and the model of the last zip that `build_zip.py` made, through the
same code as on the platform; with `--url` a function that is deployed answers.
"""

import argparse
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from action.request import DEFAULT_TOP_K, MAX_IMAGE_BYTES, ActionError, Options, Request
from client import answer_formats, batch, last_build, picture_files
from client.results_file import ResultsError, ResultsFile

JOBS, MOST_JOBS = 4, 64
LARGEST_PHOTO = 256 * 1024 * 1024
"""Bytes of a file that is made smaller before it is sent."""

STOPPED, NO_READER = 130, 141
"""Exit statuses: those of a program that SIGINT or SIGPIPE ends."""

Classify = Callable[[str], dict[str, Any]]


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit status.

    0; 1 if a picture failed, 2 if the call was wrong, 3 if it gave up as the function was out of
    reach, 130 at Ctrl-C, 141 if nobody reads the answers any more.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, as in `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    try:
        return _run(_Parser(), arguments)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        _drop(1, 2)
        return NO_READER


def _drop(*streams: int) -> None:
    """What is still to be written there at exit goes nowhere, and so cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)


def _run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    options = parser.parse_args(arguments)
    if bool(options.picture) == options.serve:
        parser.error("expected either pictures or --serve")
    if options.url is None and (options.jobs or options.secret):
        parser.error("--jobs and --secret go with --url")
    if options.output and (options.json or options.csv):
        parser.error("--output writes JSON lines: expected it without --json and --csv")
    if options.resume and not options.output:
        parser.error("--resume goes with --output FILE")
    if options.url is not None:
        if options.serve:
            parser.error("expected either --serve or --url")
        return _by_url(parser, options)
    handler = last_build.handler()
    if isinstance(handler, str):
        print(handler, file=sys.stderr)
        return batch.USAGE
    if options.serve:
        from client import local_server

        return local_server.run_server(handler, options.port, options.raw)
    chosen = _chosen(parser, options, len(handler.classifier.labels))

    def classify(name: str) -> dict[str, Any]:
        data = picture_files.read(name, MAX_IMAGE_BYTES)
        handler.start_clock()
        return handler.answer(Request([data], False, chosen))

    return _classify(options, classify, jobs=0)


def _by_url(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Classify by the function that is deployed at `--url`."""
    from client import http_client

    jobs = JOBS if options.jobs is None else options.jobs
    if not 1 <= jobs <= MOST_JOBS:
        parser.error(f"--jobs: expected a whole number from 1 to {MOST_JOBS}, found {jobs}")
    secret = os.environ.get("CLASSIFY_SECRET", "") if options.secret is None else options.secret
    try:
        endpoint = http_client.Endpoint(options.url, secret)
        # Asked first, so that a wrong address is said once, not for each picture.
        endpoint.introduce()
    except ActionError as error:
        print(answer_formats.printable(str(error)), file=sys.stderr)
        return batch.USAGE
    chosen = _chosen(parser, options, endpoint.classes)
    last_build.use_packages()  # of which a picture that is too large has need

    def classify(name: str) -> dict[str, Any]:
        return endpoint.classify(picture_files.read(name, LARGEST_PHOTO), chosen)

    return _classify(options, classify, jobs)


def _classify(options: argparse.Namespace, classify: Classify, jobs: int) -> int:
    """Classify all pictures, `jobs` at a time, or in this thread where that is 0."""
    names = picture_files.expand(options.picture)

    def start(todo: list[str]) -> batch.Outcomes:
        if jobs:
            return batch.in_order(lambda name: batch.outcome(classify, name), todo, jobs)
        return (batch.outcome(classify, name) for name in todo)

    try:
        file = ResultsFile(options.output, options.resume) if options.output else None
        text = _format(options, names)

        def write(answer: dict[str, Any]) -> None:
            try:
                print(text(answer), flush=True)
            except BrokenPipeError:
                raise
            except OSError as error:
                _drop(1)
                raise ResultsError(f"the answers cannot be written: {error.strerror}") from None

        return batch.Run(write, file, options.quiet).over(names, start)
    except ResultsError as error:
        print(answer_formats.printable(str(error)), file=sys.stderr)
        return batch.USAGE


def _format(options: argparse.Namespace, names: list[str]) -> Callable[[dict[str, Any]], str]:
    """What makes text of an answer; prints a head if there is one."""
    as_table = not (options.json or options.csv or options.output) and sys.stdout.isatty()
    if isinstance(sys.stdout, TextIOWrapper):
        # Names need not be Unicode, and a terminal need not know all of it.
        sys.stdout.reconfigure(
            encoding=None if as_table else "utf-8",
            errors="replace" if as_table else "surrogateescape",
        )
    if options.csv:
        print(answer_formats.CSV_HEAD, flush=True)
        return answer_formats.csv_lines
    return answer_formats.Table(names).lines if as_table else answer_formats.json_line


def _chosen(parser: argparse.ArgumentParser, options: argparse.Namespace, classes: int) -> Options:
    top = min(DEFAULT_TOP_K, classes) if options.top is None else options.top
    try:
        asked = options.top is not None
        return Options(top, options.threshold, options.details, classes, asked)
    except ActionError as error:
        parser.error(str(error).replace("topK", "--top").replace("threshold", "--threshold"))


class _Parser(argparse.ArgumentParser):
    def __init__(self) -> None:
        super().__init__(
            prog="python -m action",
            description="Classify pictures with the function that build_zip.py built.",
            epilog="Exit status: 0; 1 if a picture failed, 2 if the call was wrong, 3 if the "
            "function was out of reach.",
        )
        add = self.add_argument
        add("picture", nargs="*", help="files, folders, or - for standard input")
        add("--top", type=int, metavar="N", help="classes to show (default: 3)")
        add("--threshold", type=float, default=0.0, metavar="P", help="least probability, 0 to 1")
        add("--details", action="store_true", help="with model, timings and memory")
        form = self.add_mutually_exclusive_group()
        form.add_argument(
            "--json", action="store_true", help="JSON lines on a terminal too, as in a pipe"
        )
        form.add_argument("--csv", action="store_true", help="a row per class, with a head")
        add(
            "--output",
            type=Path,
            metavar="FILE",
            help="add JSON lines to this file, and leave out the pictures that it has already",
        )
        add("--resume", action="store_true", help="of --output: the file must be there already")
        add("--quiet", action="store_true", help="no progress, and no counts at the end")
        add("--url", help="ask the web action at this address, not the last build")
        add("--jobs", type=int, metavar="N", help=f"of --url: requests at a time (default: {JOBS})")
        add(
            "--secret",
            help="of --url: that of --web-secure; better in CLASSIFY_SECRET, unseen by ps",
        )
        add("--serve", action="store_true", help="be the web action, on this machine only")
        add("--port", type=int, default=8080, metavar="N", help="of --serve; 0 takes a free one")
        add("--raw", action="store_true", help="--serve as created with --web raw, not --web true")

    def error(self, message: str) -> NoReturn:
        super().error(answer_formats.printable(message))
