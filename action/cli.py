"""The local command line: `python -m action PICTURE...` or `--serve`. It does not ship.

It answers with the packages and the model of the last zip that `build_zip.py` made, through the
same code as on the platform.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from action.handler import Handler, Timings, failure, start
from action.packages import Unfit, use
from action.request import DEFAULT_TOP_K, ActionError, Request, parse_options

BUILT = Path(__file__).resolve().parent.parent / "build" / "local"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
MANY = 5
"""From so many pictures on, a terminal shows a progress bar."""

OK, SOME_FAILED, USAGE = 0, 1, 2


def run(arguments: list[str]) -> int:
    """Run the command line; returns 0, 1 if a picture failed, 2 if the call was wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.picture) == options.serve:
        parser.error("expected either pictures or --serve")
    handler = _start()
    if isinstance(handler, str):
        print(handler, file=sys.stderr)
        return USAGE
    if options.serve:
        return _serve(handler, options.port, options.raw)
    try:
        chosen = parse_options(
            options.top, options.threshold, options.details, len(handler.classifier.labels)
        )
    except ActionError as error:
        parser.error(str(error).replace("topK", "--top").replace("threshold", "--threshold"))
    names = _expand(options.picture)
    as_json = options.json or not sys.stdout.isatty()
    width = min(max(map(len, names), default=0), 40)
    failed = 0
    for name, bar in _with_progress(names):
        answer = {"file": name, **_classify(handler, name, chosen)}
        failed += "error" in answer
        bar.clear()
        text = json.dumps(answer, ensure_ascii=False) if as_json else _rows(answer, width)
        print(text, flush=True)
    return SOME_FAILED if failed else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m action",
        description="Classify pictures with the function that build_zip.py built.",
    )
    add = parser.add_argument
    add("picture", nargs="*", help="files, folders, or - for standard input")
    add("--top", type=int, default=DEFAULT_TOP_K, metavar="N", help="classes to show (default: 3)")
    add("--threshold", type=float, default=0.0, metavar="P", help="least probability, 0 to 1")
    add("--details", action="store_true", help="with model, timings and memory")
    add("--json", action="store_true", help="JSON lines on a terminal too, as in a pipe")
    add("--serve", action="store_true", help="be the web action, on this machine only")
    add("--port", type=int, default=8080, metavar="N", help="of --serve; 0 takes a free one")
    add("--raw", action="store_true", help="--serve as created with --web raw, not --web true")
    return parser


def _start() -> Handler | str:
    """The handler of the last build for this Python, or why there is none."""
    built = sorted(path.name for path in BUILT.glob("cp*/lib/cp*"))
    if not built:
        return "nothing is built yet: run  python build_zip.py"
    tag = "cp{}{}".format(*sys.version_info)
    if tag not in built:
        running = "{}.{}".format(*sys.version_info)
        version = f"{built[-1][2]}.{built[-1][3:]}"
        return (
            f"the last build is for Python {version}, this is {running}: run  "
            f"python{version} -m action  or  python build_zip.py --python {running}"
        )
    # The interpreter's own chatter ("INFO: ...") is for logs, not for a terminal.
    with _silenced():
        try:
            use(str(BUILT / tag), own=False)
            return start(str(BUILT / tag))
        except Unfit as error:
            return str(error)
        except Exception as error:
            return f"the function could not start: {type(error).__name__}: {error}"


def _serve(handler: Handler, port: int, raw: bool) -> int:
    """Answer HTTP requests until Ctrl-C."""
    from action import serve

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


class _silenced:
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


def _with_progress(names: list[str]) -> Iterator[tuple[str, _Bar]]:
    bar = _Bar(len(names))
    for done, name in enumerate(names):
        bar.draw(done)
        yield name, bar


def _classify(handler: Handler, name: str, options: Any) -> dict[str, Any]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except IsADirectoryError:
        return {"error": f"no pictures in this folder ({', '.join(PICTURES)})"}
    except OSError as error:
        return {"error": f"cannot be read: {error.strerror or error}"}
    try:
        return handler.answer(Request([data], False, options), Timings())
    except Exception as error:
        return failure(error)


def _rows(answer: dict[str, Any], width: int) -> str:
    """Lines of the table: file, probability, class; the file stands in the first line only."""
    rows = (
        [f"{100 * each['probability']:6.2f} %  {each['className']}" for each in answer["results"]]
        if "results" in answer
        else [f"error: {answer['error']}"]
    )
    rows = rows or ["no class reaches the threshold"]
    if "details" in answer:
        rows.append(json.dumps(answer["details"], ensure_ascii=False))
    name = answer["file"]
    name = name if len(name) <= width else "..." + name[3 - width :]
    return "\n".join(f"{'' if number else name:{width}}  {row}" for number, row in enumerate(rows))
