"""The local command line: `python -m action PICTURE...` or `--serve`.

It answers with the packages and the model of the last zip that `build_zip.py` made, through the
same code as on the platform; with `--url` a function that is deployed answers.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from action import packed
from action.activation import Handler, start
from action.packages import Unfit, use
from action.request import DEFAULT_TOP_K, ActionError, Options, Request, parse_options
from action.response import Timings, failure

WORK = os.environ.get("CLASSIFY_WORK") or Path(__file__).resolve().parent.parent
"""As `build_zip.py --work` has it."""
BUILT = Path(WORK) / "build" / "local"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
MANY = 5
"""From so many pictures on, a terminal shows a progress bar."""
JOBS, MOST_JOBS = 4, 64

OK, SOME_FAILED, USAGE, STOPPED = 0, 1, 2, 130


def run(arguments: list[str]) -> int:
    """Run the command line; returns 0, 1 if a picture failed, 2 if the call was wrong."""
    try:
        return _run(_parser(), arguments)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED


def _run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    options = parser.parse_args(arguments)
    if bool(options.picture) == options.serve:
        parser.error("expected either pictures or --serve")
    if options.url is None and (options.jobs or options.secret):
        parser.error("--jobs and --secret go with --url")
    if options.url is not None:
        if options.serve:
            parser.error("expected either --serve or --url")
        return _remote(parser, options)
    handler = _start()
    if isinstance(handler, str):
        print(handler, file=sys.stderr)
        return USAGE
    if options.serve:
        return _serve(handler, options.port, options.raw)
    chosen = _chosen(parser, options, len(handler.pipeline.classifier.labels))
    names = _expand(options.picture)

    def ask(data: bytes) -> dict[str, Any]:
        return handler.pipeline.answer(Request([data], False, chosen), Timings())

    return _print(names, (_classify(name, ask) for name in names), options.json)


def _remote(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Classify by the function that is deployed at `--url`."""
    from client import remote

    jobs = JOBS if options.jobs is None else options.jobs
    if not 1 <= jobs <= MOST_JOBS:
        parser.error(f"--jobs: expected a whole number from 1 to {MOST_JOBS}, found {jobs}")
    secret = os.environ.get("CLASSIFY_SECRET", "") if options.secret is None else options.secret
    try:
        endpoint = remote.Endpoint(options.url, secret)
        # Asked first, so that a wrong address is said once, not for each picture.
        classes = endpoint.classes()
    except ActionError as error:
        print(_printable(str(error)), file=sys.stderr)
        return USAGE
    chosen = _chosen(parser, options, classes)
    names = _expand(options.picture)

    def classify(name: str) -> dict[str, Any]:
        return _classify(name, lambda data: endpoint.classify(data, chosen))

    return _print(names, remote.in_order(classify, names, jobs), options.json)


def _chosen(parser: argparse.ArgumentParser, options: argparse.Namespace, classes: int) -> Options:
    top = min(DEFAULT_TOP_K, classes) if options.top is None else options.top
    try:
        return parse_options(top, options.threshold, options.details, classes)
    except ActionError as error:
        parser.error(str(error).replace("topK", "--top").replace("threshold", "--threshold"))


def _print(names: list[str], answers: Iterator[dict[str, Any]], as_json: bool) -> int:
    """Print the answers as they come; returns the exit status."""
    as_json = as_json or not sys.stdout.isatty()
    width = min(max(map(len, names), default=0), 40)
    bar = _Bar(len(names))
    failed = 0
    try:
        for done, name in enumerate(names):
            bar.draw(done)
            answer = {"file": name, **next(answers)}
            failed += "error" in answer
            bar.clear()
            text = json.dumps(answer, ensure_ascii=False) if as_json else _rows(answer, width)
            print(text, flush=True)
    except KeyboardInterrupt:
        bar.clear()
        raise
    return SOME_FAILED if failed else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m action",
        description="Classify pictures with the function that build_zip.py built.",
    )
    add = parser.add_argument
    add("picture", nargs="*", help="files, folders, or - for standard input")
    add("--top", type=int, metavar="N", help="classes to show (default: 3)")
    add("--threshold", type=float, default=0.0, metavar="P", help="least probability, 0 to 1")
    add("--details", action="store_true", help="with model, timings and memory")
    add("--json", action="store_true", help="JSON lines on a terminal too, as in a pipe")
    add("--url", help="ask the web action at this address, not the last build")
    add("--jobs", type=int, metavar="N", help=f"of --url: requests at a time (default: {JOBS})")
    add("--secret", help="of --url: that of --web-secure; better in CLASSIFY_SECRET, unseen by ps")
    add("--serve", action="store_true", help="be the web action, on this machine only")
    add("--port", type=int, default=8080, metavar="N", help="of --serve; 0 takes a free one")
    add("--raw", action="store_true", help="--serve as created with --web raw, not --web true")
    return parser


def _start() -> Handler | str:
    """The handler of the last build for this Python, or why there is none."""
    running = "{}.{}".format(*sys.version_info)
    folders = [path.parent.name for path in BUILT.glob(f"*/{packed.NAME}")]
    built = [name for name in folders if name.replace(".", "").isdigit()]
    if not built:
        return "nothing is built yet: run  python build_zip.py"
    if running not in built:
        version = max(built, key=lambda version: [*map(int, version.split("."))])
        return (
            f"the last build is for Python {version}, this is {running}: run  "
            f"python{version} -m action  or  python build_zip.py --python {running}"
        )
    # The interpreter's own chatter ("INFO: ...") is for logs, not for a terminal.
    with silenced():
        try:
            return start(use(str(BUILT / running), own=False).read)
        except Unfit as error:
            return str(error)
        except Exception as error:
            return f"the function could not start: {type(error).__name__}: {error}"


def _serve(handler: Handler, port: int, raw: bool) -> int:
    """Answer HTTP requests until Ctrl-C."""
    from client import serve

    try:
        server = serve.server(handler, port, raw)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        print(f"cannot listen on port {port}: {reason}; choose another --port", file=sys.stderr)
        return USAGE
    print(f"http://{serve.HOST}:{server.server_port}/  (Ctrl-C stops it)", flush=True)
    assert isinstance(sys.stdout, TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
    return OK


class silenced:
    """Standard error goes nowhere within the block, native code's too."""

    def __enter__(self) -> None:
        sys.stderr.flush()
        self._saved = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        sys.stderr.flush()
        os.dup2(self._saved, 2)
        os.close(self._saved)


def _expand(wanted: list[str]) -> list[str]:
    """Files to classify: of a folder, all pictures below it; what is not there stays as it is."""
    names: list[str] = []
    for name in wanted:
        inside = sorted(str(p) for p in Path(name).rglob("*") if p.suffix.lower() in PICTURES)
        names += inside or [name]
    return names


class _Bar:
    """A progress bar on the last line of a terminal; nothing elsewhere, or for a few pictures."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = total >= MANY and sys.stderr.isatty()

    def draw(self, done: int) -> None:
        if self._shown:
            filled = 30 * done // self._total
            bar = "#" * filled + "." * (30 - filled)
            print(f"\r[{bar}] {done}/{self._total}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _classify(name: str, ask: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
    try:
        if name == "-":
            # Not by sys.stdin: at Ctrl-C a thread would still hold it while Python ends.
            with open(0, "rb", closefd=False) as stdin:
                data = stdin.read()
        else:
            data = Path(name).read_bytes()
    except IsADirectoryError:
        return {"error": f"no pictures in this folder ({', '.join(PICTURES)})"}
    except OSError as error:
        return {"error": f"cannot be read: {error.strerror or error}"}
    try:
        return ask(data)
    except Exception as error:
        return failure(error)


def _printable(text: str) -> str:
    """What another machine sent, without what would control the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _rows(answer: dict[str, Any], width: int) -> str:
    """Lines of the table: file, probability, class; the file stands in the first line only."""
    rows = (
        [
            f"{100 * each['probability']:6.2f} %  {_printable(each['className'])}"
            for each in answer["results"]
        ]
        if "results" in answer
        else [f"error: {_printable(answer['error'])}"]
    )
    rows = rows or ["no class reaches the threshold"]
    if "details" in answer:
        rows.append(json.dumps(answer["details"], ensure_ascii=False))
    name = answer["file"]
    name = name if len(name) <= width else "..." + name[3 - width :]
    return "\n".join(f"{'' if number else name:{width}}  {row}" for number, row in enumerate(rows))
