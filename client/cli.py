"""The local command line: `python3 -m action PICTURE...`, `--serve` or `evaluate DIR`.

It answers with the packages and the model of the last zip that `build_zip.py` built, through the
same code as on the platform; with `--url` a deployed function answers.
"""

import argparse
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from action.request import DEFAULT_TOP_K, ActionError, Options
from client import answer_formats, batch, last_build
from client.answer_formats import printable
from client.function import add_url_options, open_function, uses_url_options
from client.picture_files import expand_folders
from client.results_file import ResultsFile
from client.tool_packages import add_tool_packages

# Exit statuses of a program that SIGINT or SIGPIPE ends.
STOPPED, NO_READER = 130, 141


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit status.

    0; 1 if a picture failed, 2 if the call was wrong, 3 if it gave up as the function was out of
    reach, 130 at Ctrl-C, 141 if nobody reads the answers any more.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, as in `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    try:
        if arguments[:1] == ["evaluate"]:  # a folder of that name is ./evaluate
            from client import evaluate

            return evaluate.run(arguments[1:])
        parser = _Parser()
        options = _parse_options(parser, arguments)
        return _serve(options) if options.serve else _classify(parser, options)
    except ActionError as error:
        print(printable(str(error)), file=sys.stderr)
        return batch.USAGE
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        _discard_output(1, 2)
        return NO_READER
    except OSError as error:
        _discard_output(1)
        print(printable(f"stopped: {error}"), file=sys.stderr)
        return batch.USAGE


def _discard_output(*streams: int) -> None:
    """Drop buffered output of these streams, so that writing it at exit cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)


def _parse_options(parser: "_Parser", arguments: list[str]) -> argparse.Namespace:
    options = parser.parse_args(arguments)
    if bool(options.picture) == options.serve:
        parser.error("expected either pictures or --serve")
    if options.output and (options.json or options.csv):
        parser.error("--output writes JSON lines: expected it without --json and --csv")
    if options.serve and (options.url is not None or uses_url_options(options)):
        parser.error("--serve runs here: expected it without --url and its options")
    return options


def _serve(options: argparse.Namespace) -> int:
    from client import local_server

    handler = last_build.load_handler()
    add_tool_packages("waitress")
    return local_server.run_server(handler, options.port, options.raw)


def _classify(parser: "_Parser", options: argparse.Namespace) -> int:
    function = open_function(parser, options)
    answer_options = _answer_options(parser, options, function.classes)
    names = expand_folders(options.picture)
    results = ResultsFile(options.output) if options.output else None
    format_answer = _choose_format(options, names)

    def write(answer: dict[str, Any]) -> None:
        print(format_answer(answer), flush=True)

    return batch.classify_all(names, function, answer_options, write, results, options.quiet)


def _choose_format(
    options: argparse.Namespace, names: list[str]
) -> Callable[[dict[str, Any]], str]:
    """Return the function that formats an answer; print the head of a CSV file."""
    as_table = not (options.json or options.csv or options.output) and sys.stdout.isatty()
    if isinstance(sys.stdout, TextIOWrapper):
        # File names may not be Unicode, and a terminal may not have all of its characters.
        sys.stdout.reconfigure(
            encoding=None if as_table else "utf-8",
            errors="replace" if as_table else "surrogateescape",
        )
    if options.csv:
        print(answer_formats.CSV_HEAD, flush=True)
        return answer_formats.csv_lines
    return answer_formats.Table(names).lines if as_table else answer_formats.json_line


def _answer_options(parser: "_Parser", options: argparse.Namespace, classes: int) -> Options:
    top = min(DEFAULT_TOP_K, classes) if options.top is None else options.top
    top_given = options.top is not None
    try:
        return Options(top, options.threshold, options.details, classes, top_given)
    except ActionError as error:
        parser.error(str(error).replace("topK", "--top").replace("threshold", "--threshold"))


class _Parser(argparse.ArgumentParser):
    def __init__(self) -> None:
        super().__init__(
            prog="python3 -m action",
            description="Classify pictures with the function that build_zip.py built. "
            "`python3 -m action evaluate DIR` says how often it is right.",
            epilog="Exit status: 0; 1 if a picture failed, 2 if the call was wrong, 3 if the "
            "function was out of reach.",
        )
        add = self.add_argument
        add("picture", nargs="*", help="files, folders, or - for standard input")
        add("--top", type=int, metavar="N", help="classes to show (default: 3)")
        add("--threshold", type=float, default=0.0, metavar="P", help="least probability, 0 to 1")
        add("--details", action="store_true", help="with model, timings and memory")
        formats = self.add_mutually_exclusive_group()
        formats.add_argument(
            "--json", action="store_true", help="JSON lines on a terminal too, as in a pipe"
        )
        formats.add_argument("--csv", action="store_true", help="a row per class, with a head")
        add(
            "--output",
            type=Path,
            metavar="FILE",
            help="append JSON lines to this file, and skip the pictures that it already has",
        )
        add("--quiet", action="store_true", help="no progress, and no counts at the end")
        add_url_options(self)
        add("--serve", action="store_true", help="run the web action, on this machine only")
        add("--port", type=int, default=8080, metavar="N", help="with --serve; 0 picks a free one")
        add("--raw", action="store_true", help="with --serve: as created with --web raw")

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))
