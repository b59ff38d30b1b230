"""The command line of `python3 -m bench`: runs the suites, writes the reports."""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import results
from bench.machine import CPU_CLASSES, describe_machine
from bench.peers.ours import OURS
from bench.peers.peer import ZIPS, find_python
from bench.pictures import load_pictures
from bench.results import Run
from bench.session import Session
from bench.suites import SUITES, run_suites
from builder.base.console import Console
from builder.base.paths import ROOT

ROUNDS = {"warm": 1000, "cold": 40}
QUICK_ROUNDS = {"warm": 50, "cold": 2}


def run(arguments: Sequence[str]) -> int:
    """Measure, or read stored results, and write the reports; return the exit status."""
    options = parse_options(arguments)
    if options.stored:
        write_reports([results.read_run(path) for path in options.stored], options)
        return 0
    pictures = load_pictures(options.images, options.labels)
    sizes = sorted(map(len, pictures.contents.values()))
    run = Run(
        machine=describe_machine(find_python().full_version),
        date=str(datetime.date.today()),
        pictures=len(sizes),
        picture_bytes=sizes[len(sizes) // 2],
        command=shareable_command(arguments),
    )
    rounds = {name: getattr(options, name) for name in ROUNDS}
    began = time.monotonic()
    session = Session(run, pictures, rounds, Console().status)
    run_suites(session, options.only or SUITES, options.peers or (), options.model)
    session.show_progress("")
    run.minutes = round((time.monotonic() - began) / 60, 1)
    write_reports([run], options)
    for what, problem in run.problems.items():
        print(f"ended early: {what}: {problem}", file=sys.stderr)
    return int(bool(run.problems))


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; print a message and exit with 2 if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python3 -m bench",
        description="Measure the zip and what people would deploy instead, in one run, in turns. "
        "Writes the results as JSON, RESULTS.md and a plot.",
        epilog="Other commands: `python3 -m bench guard` compares sizes and ratios with their "
        "limits; `python3 -m bench threads` compares one thread with two.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="few rounds: two minutes instead of twenty")
    add("--only", nargs="+", choices=SUITES, metavar="SUITE", help=", ".join(SUITES))
    add("--peers", nargs="+", metavar="NAME", help=f"these peers and {OURS} (default: all)")
    add("--images", type=Path, metavar="DIR", help="JPEGs to send (default: the sample picture)")
    add("--labels", type=Path, metavar="FILE", help="TSV with a head: file name, class index")
    for name, count in ROUNDS.items():
        add(f"--{name}", type=positive, metavar="N", help=f"rounds of each peer ({count})")
    add("--model", metavar="NAME", help="the model, as build_zip.py takes it")
    add("--output", type=Path, metavar="DIR", default=ZIPS / "report", help="folder for reports")
    add(
        "--publish",
        action="store_true",
        help="store the results for this CPU class in bench/results/; rewrite bench/RESULTS.md, "
        "docs/bench/ and the README's section from all stored results",
    )
    add(
        "--from",
        dest="stored",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="measure nothing: write the reports of these results",
    )
    options = parser.parse_args(arguments)
    for name in ("only", "peers", "quick"):
        if options.publish and getattr(options, name):
            parser.error(f"--publish: expected a whole run, found --{name}")
    for name, count in (QUICK_ROUNDS if options.quick else ROUNDS).items():
        if getattr(options, name) is None:
            setattr(options, name, count)
    return options


def positive(text: str) -> int:
    """Parse a number of rounds."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {text}")
    return number


def write_reports(runs: list[Run], options: argparse.Namespace) -> None:
    """Write results, RESULTS.md and plots; with --publish into the checkout, README included."""
    # Imported late: matplotlib's memory would slow the forks that are timed.
    from bench.report import glance, readme, results_page

    publish = options.publish and not any(run.problems for run in runs)
    if options.publish and not publish:
        print(f"not published, since it ended early: see {options.output}", file=sys.stderr)
    folder, plots = options.output, options.output
    if publish:
        folder, plots = ROOT / "bench", ROOT / "docs" / "bench"
    files = {results.run_path(run, folder / "results"): results.format_run(run) for run in runs}
    if publish:
        measured = {run.machine.cpu_class: run for run in [*results.read_runs(), *runs]}
        runs = [measured[each] for each in CPU_CLASSES if each in measured]
        path = ROOT / "README.md"
        files[path] = readme.replace_section(path.read_text("utf-8"), readme.format_section(runs))
    files[folder / "RESULTS.md"] = results_page.format_page(runs)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    plotted = [
        path for run in runs for path in glance.draw(run, plots / run.machine.cpu_class.slug)
    ]
    print(readme.format_section(runs), *files, *plotted, sep="\n")


def shareable_command(arguments: Sequence[str]) -> str:
    """Return the command line with placeholders for the user's files and folders."""
    words = ["python3", "-m", "bench"]
    paths = {"--images": "DIR", "--labels": "FILE", "--output": "DIR"}
    for word in arguments:
        is_model = words[-1] == "--model" and word.endswith(".tflite")
        words.append(paths.get(words[-1], "MODEL" if is_model else word))
    return shlex.join(word for word in words if word != "--publish")
