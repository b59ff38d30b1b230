"""`python -m bench cold ZIP...`: cold starts of any zips, as ratios to hello world's."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from pathlib import Path

from bench import machine, results
from bench.cli import positive, progress_line
from bench.measure import cold
from bench.peers import peer as peers
from bench.report import tables
from builder.artifact.smoke import SAMPLE
from builder.base.errors import BuildError

ROUNDS = 20


def run(arguments: Sequence[str]) -> int:
    """Parse the command line, measure and print; returns the exit status."""
    options = _parser().parse_args(arguments)
    started = [peers.hello(precompiled=True), *_peers(options.zips)]
    python = peers.interpreter()
    measured = results.Run(
        machine=machine.here(python.full_version),
        date=str(datetime.date.today()),
        model="",
        command="",
        sent=results.Sent(1, SAMPLE.stat().st_size, labelled=False),
        rounds=results.Rounds(warm=0, cold=options.rounds, inferences=0, quick=False),
    )
    progress = progress_line()
    content = SAMPLE.read_bytes()
    status = 0
    try:
        cold.measure(
            peers.hello(), started, peers.image(), options.rounds, content, measured, progress
        )
    except KeyboardInterrupt:
        status = 130
    progress("")
    print(f"{measured.machine.processor}, {measured.machine.cpu.name}; medians, ms; emulated")
    print(tables.cold(measured))
    for what, problem in measured.problems.items():
        print(f"ended early: {what}: {problem}")
    return status or int(bool(measured.problems))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench cold",
        description="Emulate cold starts of zips and of hello world, in turns (bench/cold.py).",
    )
    parser.add_argument("zips", nargs="+", type=Path, metavar="ZIP", help="for Python 3.11")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help=f"of each ({ROUNDS})")
    return parser


def _peers(archives: Sequence[Path]) -> list[peers.Peer]:
    """One per zip, under its name, or its path if two have the same."""
    for archive in archives:
        if not archive.is_file():
            raise BuildError(f"expected a zip, found no file {archive}", "build it before")
    names = [archive.name for archive in archives]
    python = peers.interpreter().path
    return [
        peers.Peer(str(archive) if names.count(archive.name) > 1 else archive.name, archive, python)
        for archive in archives
    ]
