"""The function to call: that of the last build, on this machine, or a deployed one."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from action.activation import Handler
from action.request import MAX_IMAGE_BYTES, Options, Request
from client import last_build
from client.picture_files import read_picture
from client.tool_packages import add_tool_packages

DEFAULT_JOBS = 4
# Bytes of a file that is shrunk before it is sent.
MAX_PHOTO_BYTES = 256 * 1024 * 1024


class Function(NamedTuple):
    """A function that classifies pictures.

    Attributes:
        classes: how many its model has.
        classify: returns the answer for a picture's file; raises ActionError.
        jobs: how many threads may call it at a time; 0 if only this one may.
        plan: may be told for how many pictures it will be called: then it may pause before each.
        limit: returns how many pictures a minute the platform allows, None if that is not known.
    """

    classes: int
    classify: Callable[[str, Options], dict[str, Any]]
    jobs: int
    plan: Callable[[int], None] = lambda _: None
    limit: Callable[[], int | None] = lambda: None


def add_url_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `open_function` reads."""
    add = parser.add_argument
    add("--url", help="call the web action at this address instead of the last build")
    jobs = f"with --url: requests at a time (default: {DEFAULT_JOBS})"
    add("--jobs", type=int, metavar="N", help=jobs)
    secret = "with --url: the --web-secure secret; in CLASSIFY_SECRET it is hidden from ps"
    add("--secret", help=secret)
    add("--ca", type=Path, metavar="FILE", help="with --url: certificates to trust, as PEM")
    add("--insecure", action="store_true", help="with --url: accept any certificate")


def uses_url_options(options: argparse.Namespace) -> bool:
    """Return whether there are options that need `--url`."""
    return bool(options.jobs or options.secret or options.ca or options.insecure)


def open_function(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Function:
    """Return the function that the options name.

    Raises:
        ActionError: nothing is built for this Python, or the address is wrong or out of reach.
        SystemExit: the options are wrong.
    """
    if options.url is not None:
        return _open_deployed(parser, options)
    if uses_url_options(options):
        parser.error("--jobs, --secret, --ca and --insecure go with --url")
    return _wrap_handler(last_build.load_handler())


def _wrap_handler(handler: Handler) -> Function:
    """Return the function that a handler in this process runs."""

    def classify(name: str, answer_options: Options) -> dict[str, Any]:
        data = read_picture(name, MAX_IMAGE_BYTES)
        handler.start_clock()
        return handler.answer(Request([data], False, answer_options))

    return Function(len(handler.classifier.labels), classify, 0)


def _open_deployed(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Function:
    add_tool_packages("urllib3")
    from client.http_client import MAX_JOBS, WebActionClient, print_note

    jobs = DEFAULT_JOBS if options.jobs is None else options.jobs
    if not 1 <= jobs <= MAX_JOBS:
        parser.error(f"--jobs: expected a whole number from 1 to {MAX_JOBS}, found {jobs}")
    secret = os.environ.get("CLASSIFY_SECRET", "") if options.secret is None else options.secret
    announce = (lambda _: None) if options.quiet else print_note
    client = WebActionClient(options.url, secret, options.ca, options.insecure, announce)
    # A wrong address is reported here once, instead of for each picture.
    client.fetch_description()

    def classify(name: str, answer_options: Options) -> dict[str, Any]:
        return client.classify(read_picture(name, MAX_PHOTO_BYTES), answer_options)

    def plan(pictures: int) -> None:
        client.plan(pictures, jobs)

    return Function(client.classes, classify, jobs, plan, lambda: client.throttle.allowed)
