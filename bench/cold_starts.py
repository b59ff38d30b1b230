"""`python3 -m bench cold ZIP...`: emulated cold starts of any zips, as ratios to hello world's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.cli import new_run, parse_options, positive, progress_line
from bench.measure.activation import load_pictures
from bench.measure.cold import measure_cold
from bench.peers.hello import build_hello_world
from bench.peers.peer import Peer, find_python
from bench.report import tables
from builder.artifact.smoke import SAMPLE
from builder.base.errors import BuildError


def run(arguments: Sequence[str]) -> int:
    """Measure cold starts and print their table; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m bench cold",
        description="Emulate cold starts of zips and of hello world, in turns "
        "(bench/measure/cold.py explains the stages).",
    )
    parser.add_argument("zips", nargs="+", type=Path, metavar="ZIP", help="for Python 3.11")
    parser.add_argument("--rounds", type=positive, default=20, help="of each zip (20)")
    options = parser.parse_args(arguments)
    peers = [build_hello_world(precompiled=True)]
    for archive in options.zips:
        if not archive.is_file():
            raise BuildError(f"expected a zip, found no file {archive}", "build it first")
        peers.append(Peer(str(archive), archive, find_python().path))
    measured = new_run(parse_options([]), load_pictures(None, None))
    picture, progress = SAMPLE.read_bytes(), progress_line()
    try:
        measure_cold(build_hello_world(), peers, picture, options.rounds, measured, progress)
    except KeyboardInterrupt:
        measured.interrupted = True
    progress("")
    machine = measured.machine
    print(f"{machine.processor}, {machine.cpu_class.name}; medians, ms; emulated")
    print(tables.cold_table(measured))
    for what, problem in measured.problems.items():
        print(f"ended early: {what}: {problem}")
    return 130 if measured.interrupted else int(bool(measured.problems))
