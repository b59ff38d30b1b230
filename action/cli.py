"""The local command line: `python -m action PICTURE...`. It does not ship.

It answers with the packages and the model of the last zip that `build_zip.py` made, through the
same code as on the platform.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from action.handler import Handler, Timings, start
from action.request import DEFAULT_TOP_K, ActionError, check_size, parse_options

BUILT = Path(__file__).resolve().parent.parent / "build" / "current"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
MANY = 5
"""From so many pictures on, a terminal shows a progress bar."""

OK, SOME_FAILED, USAGE = 0, 1, 2


def run(arguments: list[str]) -> int:
    """Run the command line; returns 0, 1 if a picture failed, 2 if the call was wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not (BUILT / "lib").is_dir():
        print("nothing is built yet: run  python build_zip.py", file=sys.stderr)
        return USAGE
    handler = _start()
    if isinstance(handler, str):
        print(handler, file=sys.stderr)
        return USAGE
    try:
        chosen = parse_options(
            options.top, options.threshold, options.details, len(handler.classifier.labels)
        )
    except ActionError as error:
        parser.error(str(error).replace("topK", "--top").replace("threshold", "--threshold"))
    names, missing = _expand(options.picture)
    for name in missing:
        print(f"{name}: no such file or folder, or no pictures in it", file=sys.stderr)
    as_json = options.json or not sys.stdout.isatty()
    failed = len(missing)
    for name in _with_progress(names):
        answer = {"file": name, **_classify(handler, name, chosen)}
        failed += "error" in answer
        print(json.dumps(answer, ensure_ascii=False) if as_json else _readable(answer), flush=True)
    return SOME_FAILED if failed else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m action",
        description="Classify pictures with the function that build_zip.py built.",
    )
    add = parser.add_argument
    add("picture", nargs="+", help="files, folders, or - for standard input")
    add("--top", type=int, default=DEFAULT_TOP_K, metavar="N", help="classes to show (default: 3)")
    add("--threshold", type=float, default=0.0, metavar="P", help="least probability, 0 to 1")
    add("--details", action="store_true", help="with model, timings and memory")
    add("--json", action="store_true", help="JSON lines on a terminal too, as in a pipe")
    return parser


def _start() -> Handler | str:
    """The handler of the last build, or why it does not start here."""
    tag = "cp{}{}".format(*sys.version_info)
    built = sorted(path.name for path in (BUILT / "lib").iterdir())
    if tag not in built:
        version = f"{built[0][2]}.{built[0][3:]}"
        running = "{}.{}".format(*sys.version_info)
        other = shutil.which(f"python{version}") or f"python{version}"
        return (
            f"the last build is for Python {version}, this is {running}: run  "
            f"{os.path.basename(other)} -m action  or  python build_zip.py --python {running}"
        )
    # The interpreter's own chatter ("INFO: ...") is for logs, not for a terminal.
    with _silenced():
        handler = start(str(BUILT))
    return handler if isinstance(handler, Handler) else str(handler({})["error"])


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


def _expand(wanted: list[str]) -> tuple[list[str], list[str]]:
    """Files to classify (of folders: all pictures below), and what cannot be found."""
    names: list[str] = []
    missing: list[str] = []
    for name in wanted:
        path = Path(name)
        if name == "-" or path.is_file():
            names.append(name)
            continue
        found = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in PICTURES)
        names += found
        if not found:
            missing.append(name)
    return names, missing


def _with_progress(names: list[str]) -> Iterator[str]:
    """The names, with a bar on the terminal while there are many of them."""
    show = len(names) >= MANY and sys.stderr.isatty() and not sys.stdout.isatty()
    for done, name in enumerate(names):
        if show:
            filled = 30 * done // len(names)
            bar = "#" * filled + "." * (30 - filled)
            print(f"\r[{bar}] {done}/{len(names)}", end="", file=sys.stderr, flush=True)
        yield name
    if show:
        print(f"\r[{'#' * 30}] {len(names)}/{len(names)}", file=sys.stderr)


def _classify(handler: Handler, name: str, options: Any) -> dict[str, Any]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        return {"error": f"cannot be read: {error.strerror or error}"}
    return handler.answer([lambda: check_size(data)], False, options, Timings())


def _readable(answer: dict[str, Any]) -> str:
    lines = [answer["file"]]
    if "error" in answer:
        return f"{lines[0]}\n    error: {answer['error']}"
    for result in answer["results"]:
        lines.append(f"  {100 * result['probability']:6.1f} %  {result['className']}")
    if not answer["results"]:
        lines.append("    no class reaches the threshold")
    if "details" in answer:
        lines.append("  " + json.dumps(answer["details"], ensure_ascii=False))
    return "\n".join(lines)
