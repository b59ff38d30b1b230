"""Measure everything, write it down: the command line behind `python -m bench`."""

from __future__ import annotations

import argparse
import datetime
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import machine, results, stored
from bench.measure import warm
from bench.measure.networks import COMPILED
from bench.peers import peer as peers
from bench.peers.peer import FOLDER
from bench.report import cost
from bench.suites import SECTIONS, Bench, Progress, measure
from builder.base.console import Console
from builder.base.paths import ROOT

WARM, COLD, INFERENCES = 1000, 40, 200
QUICK = {"warm": 50, "cold": 2, "inferences": 30}
PUBLISHED = ROOT / "bench"
PLOTS = ROOT / "docs" / "bench"


def run(arguments: Sequence[str]) -> int:
    """Parse the command line, measure or read what was measured, write; returns the exit status."""
    options = _parsed(arguments)
    if options.read:
        runs = [stored.read(path) for path in options.read]
        prices = cost.given(options)
        if any(value is not None for value in prices.values()):
            for run in runs:
                run.prices = prices
        _write(runs, options)
        return 0
    progress = progress_line()
    pictures = warm.pictures(options.images, options.labels)
    bench = Bench(options, Console(quiet=True), progress, _begun(options, pictures))
    began = time.monotonic()
    status = 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was measured is kept then, too
    try:
        measure(bench, pictures)
    except KeyboardInterrupt:
        bench.run.interrupted = True
        status = 130
    progress("")
    bench.run.minutes = round((time.monotonic() - began) / 60, 1)
    _write([bench.run], options)
    for what, problem in bench.run.problems.items():
        print(f"ended early: {what}: {problem}", file=sys.stderr)
    return status or int(bool(bench.run.problems))


def _begun(options: argparse.Namespace, pictures: warm.Pictures) -> results.Run:
    """Results with nothing measured yet."""
    sizes = sorted(map(len, pictures.contents.values()))
    return results.Run(
        machine=machine.here(peers.interpreter().full_version),
        date=str(datetime.date.today()),
        model="",
        command=_command(options.arguments),
        sent=results.Sent(len(sizes), sizes[len(sizes) // 2], bool(pictures.truth)),
        rounds=results.Rounds(options.warm, options.cold, options.inferences, options.quick),
        prices=cost.given(options),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the zip and what people would deploy instead, in one run, in turns: "
        "sizes, warm and cold activations, memory, cost, scaling, interpreters. Writes the results "
        "as JSON, RESULTS.md and plots; Ctrl-C keeps what was measured.",
        epilog="Other commands: `python -m bench interpreters` compares these alone, `python -m "
        "bench cold ZIP...` cold starts of zips; `python -m bench guard` holds ratios to limits.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a minute or two of measuring, where all takes twenty")
    add("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS))
    add("--peers", nargs="+", metavar="NAME", help=f"these, and {peers.OURS} (default: all)")
    add("--images", type=Path, metavar="DIR", help="JPEGs to send (default: the sample picture)")
    add("--labels", type=Path, metavar="FILE", help="TSV with a head: file name, class index")
    add("--warm", type=positive, metavar="N", help=f"warm activations of each ({WARM})")
    add("--cold", type=positive, metavar="N", help=f"cold starts of each ({COLD})")
    add("--inferences", type=positive, metavar="N", help=f"inferences of each ({INFERENCES})")
    add("--model", metavar="NAME", help="as build_zip.py takes it")
    add("--class-names", type=Path, metavar="FILE", help="build_zip.py's --labels")
    add("--runtime", default="auto", metavar="WHERE", help="as build_zip.py takes it")
    add("--variants", type=Path, metavar="DIR", default=COMPILED, help="see docs/internals.md")
    add("--output", type=Path, metavar="DIR", default=FOLDER / "report", help="where to write to")
    add(
        "--publish",
        action="store_true",
        help="store the results for this class of CPU in bench/results/, and write bench/, "
        "docs/bench/ and the README's section anew from all that are stored there",
    )
    add(
        "--from",
        dest="read",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="measure nothing: write the report of these results",
    )
    cost.add_options(parser)
    return parser


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    for option in ("only", "peers"):
        if options.publish and getattr(options, option):
            parser.error(f"--publish: expected a whole run, found --{option}")
    options.arguments = list(arguments)
    usual = QUICK if options.quick else {"warm": WARM, "cold": COLD, "inferences": INFERENCES}
    for name, count in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, count)
    return options


def positive(text: str) -> int:
    """A number of rounds, from the command line."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {text}")
    return number


def _write(runs: list[results.Run], options: argparse.Namespace) -> None:
    """The results as JSON, Markdown and plots; if they are to be published, in the README, too."""
    # Not before: what matplotlib takes in this process slows the forks that are timed.
    from bench.report import glance, plots, readme, tables
    from bench.report import results_page as page

    publish = options.publish and not any(run.interrupted or run.problems for run in runs)
    if options.publish and not publish:
        print(f"not published, since it ended early: see {options.output}", file=sys.stderr)
    folder, drawn = (PUBLISHED, PLOTS) if publish else (options.output, options.output)
    files: dict[Path, str] = {}
    for run in runs:
        files[stored.path(run, folder / "results")] = stored.text(run)
    if publish:
        measured = {run.machine.cpu.slug: run for run in [*stored.runs(), *runs]}
        runs = [measured[each.slug] for each in machine.CLASSES if each.slug in measured]
        path = ROOT / "README.md"
        files[path] = readme.placed(path.read_text("utf-8"), readme.section(runs))
    files[folder / "RESULTS.md"] = page.results(runs)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    pictures = [
        picture
        for run in runs
        for draw in (glance.draw, plots.draw)
        for picture in draw(run, drawn / run.machine.cpu.slug)
    ]
    only_inference = options.only == ["inference"]
    shown = map(tables.inference, runs) if only_inference else [readme.section(runs)]
    print(*shown, *files, *pictures, sep="\n")


def _command(arguments: Sequence[str]) -> str:
    """The command line for a reader: with the names of files and folders left to them."""
    words = ["python", "-m", "bench"]
    paths = {"--images": "DIR", "--labels": "FILE", "--class-names": "FILE"}
    paths |= {"--output": "DIR", "--variants": "DIR"}
    for word in arguments:
        known = "MODEL" if words[-1] == "--model" and word.endswith(".tflite") else word
        words.append(paths.get(words[-1], known))
    return shlex.join(word for word in words if word != "--publish")


def progress_line() -> Progress:
    """Shows a line that changes on a terminal, and a line every ten seconds elsewhere."""
    began = last = time.monotonic()
    terminal = sys.stderr.isatty()

    def show(text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if terminal:
            minutes, seconds = divmod(int(now - began), 60)
            shown = f"{minutes}:{seconds:02} {text}" if text else ""
            print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)
        elif text and now - last > 10:
            last = now
            print(text, file=sys.stderr, flush=True)

    return show
