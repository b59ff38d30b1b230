"""Measure everything, write it down: the command line behind `python -m bench`."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import cold, cost, interpreters, peers, report, scaling, warm
from bench.cgroup import NoQuota
from bench.peers import FOLDER, Peer, everybody, pip
from builder import agreement, audit, data, model
from builder.build import SAMPLE
from builder.console import Console
from builder.errors import BuildError
from builder.model import Model
from builder.paths import ROOT
from builder.runtime import DEFAULT
from builder.runtime.providers import PROVIDERS

SECTIONS = ("size", "warm", "cold", "inference", "scaling")
WARM, COLD, INFERENCES = 1000, 40, 200
QUICK = {"warm": 50, "cold": 2, "inferences": 30}
PUBLISHED = ROOT / "bench"
PLOTS = ROOT / "docs" / "bench"

OTHER, LITERT = pip.named(pip.TFLITE_RUNTIME), pip.named(pip.AI_EDGE_LITERT)

Progress = Callable[[str], None]


@dataclass
class Run:
    """A run of the measurements.

    Attributes:
        options: of the command line.
        console: shows what is built.
        progress: shows what is going on.
        found: the results so far, as `report` describes them.
        peers: those that answer as they should.
    """

    options: argparse.Namespace
    console: Console
    progress: Progress
    found: dict[str, Any] = field(default_factory=dict)
    peers: list[Peer] = field(default_factory=list)


def run(arguments: Sequence[str]) -> int:
    """Parse the command line, measure or read what was measured, write; returns the exit status."""
    options = _parsed(arguments)
    if options.read:
        _write(_read(options.read), options)
        return 0
    began = time.monotonic()
    console = Console(quiet=True)
    this = Run(options, console, _progress())
    pictures = warm.pictures(options.images, options.labels)
    status = 0
    try:
        measure(this, pictures)
    except KeyboardInterrupt:
        this.found["about"]["interrupted"] = True
        status = 130
    this.progress("")
    this.found["about"]["minutes"] = round((time.monotonic() - began) / 60, 1)
    _write(this.found, options)
    return status


def measure(this: Run, pictures: warm.Pictures) -> None:
    """Fill `this.found`, section by section."""
    options, found, progress = this.options, this.found, this.progress
    found["about"] = _about(options, pictures)
    found["prices"] = cost.given(options)
    progress("the model")
    chosen = model.resolve(options.model, options.class_names, this.console)
    found["about"]["model"] = chosen.settings["name"]
    found["peers"] = {}
    _make(this, chosen)
    [portable] = [peer for peer in this.peers if peer.name == peers.OURS]
    sections = options.only or SECTIONS
    if "size" in sections:
        found["size"] = {peer.name: _size(peer) for peer in this.peers}
    if "warm" in sections:
        with warm.bare(portable, this.console, options.runtime) as bare:
            chosen_ones = [peer for peer in this.peers if peers.OPTIMIZE not in peer.name]
            warm.measure(chosen_ones, bare, pictures, options.warm, found, progress)
    if "cold" in sections:
        started = [peers.hello(precompiled=True), *this.peers]
        numpy = next((peer.unpacked() for peer in this.peers if peer.name == LITERT), None)
        content = SAMPLE.read_bytes()
        cold.measure(
            *(peers.hello(), started, peers.image(), options.cold, content, found, progress, numpy)
        )
    if "inference" in sections:
        networks = _networks(chosen, portable)
        interpreters.measure(_interpreters(this), networks, options.inferences, found, progress)
    if "scaling" in sections:
        _scaling(this)


def _make(this: Run, chosen: Model) -> None:
    """Make the peers and ask each for the sample picture's class.

    One that cannot be made, or answers something else, is reported and not measured; ours has to.
    """
    expected = _expected(chosen)
    label = chosen.settings["labels"][expected]
    for name, make in _makers(this, chosen).items():
        this.progress(f"making {name}")
        about: dict[str, Any] = {"versions": {}, "image": False, "answer": None, "problem": ""}
        this.found["peers"][name] = about
        try:
            peer = make()
            about |= {"versions": peer.versions, "image": peer.image}
            if node := peer.versions.get("node"):
                this.found["about"]["node"] = node
            with peer.launched() as action:
                answer = action.send(peers.line(SAMPLE.read_bytes(), details=True))
            if not answer.get("results"):
                raise BuildError(f"expected {label}, found {json.dumps(answer)[:300]}")
            about["answer"] = answer["results"][0]
            if about["answer"]["classIndex"] != expected:
                raise BuildError(f"expected {label}, found {about['answer']['className']}")
        except BuildError as error:
            if name.startswith(peers.OURS):
                raise
            about["problem"] = str(error)
            continue
        this.peers.append(peer)


def _makers(this: Run, chosen: Model) -> dict[str, Callable[[], Peer]]:
    options = this.options
    return everybody.makers(
        chosen, this.console, options.class_names, options.runtime, variants=not options.quick
    )


def _expected(chosen: Model) -> int:
    """Index of the sample picture's class: by the catalogue, or else by the network itself."""
    if chosen.sample:
        return int(chosen.settings["wordnetIds"].index(chosen.sample))
    return agreement.likeliest(chosen.path, chosen.settings, SAMPLE.read_bytes())


def _size(peer: Peer) -> dict[str, Any]:
    """Of the zip, with the bytes `over` the platform's limit; of ours, of each of its `parts`."""
    found: dict[str, Any] = peers.size(peer.archive)
    found["over"] = 0 if peer.image else max(0, found["zip"] - data.zip_limit())
    if peer.name.startswith(peers.OURS):
        parts = audit.audit(peer.archive).parts
        found["parts"] = {part.name: part.packed for part in parts}
    return found


def _interpreters(this: Run) -> dict[str, Path]:
    """What they are called, with versions, and the folders with their packages."""
    packages = PROVIDERS[this.options.runtime](peers.PYTHON, DEFAULT, this.console)
    known = (pip.TFLITE_RUNTIME, pip.AI_EDGE_LITERT)
    [mine] = [part for part in packages.parts if part.name in known]
    theirs = {
        f"{peer.name} {peer.versions[package]}": peer.unpacked()
        for package in known
        for peer in this.peers
        if peer.name == pip.named(package)
    }
    return {f"{peers.OURS}: {mine.name} {mine.version}": packages.folder, **theirs}


def _networks(chosen: Model, portable: Peer) -> dict[str, Path]:
    """The model as it was, and as our zip ships it where that differs; by their data types."""
    [shipped] = portable.unpacked().glob("model/*.tflite")
    if shipped.read_bytes() == chosen.path.read_bytes():
        return {"as it is": chosen.path}
    return {"int8": shipped, "uint8": chosen.path}


def _scaling(this: Run) -> None:
    """Of what people would deploy: this zip, and the one with tflite-runtime."""
    compared = [peer for peer in this.peers if peer.name in (peers.OURS, OTHER)]
    picture, quick = SAMPLE.read_bytes(), this.options.quick
    seconds, starts = (0.5, 1) if quick else (3.0, 5)
    found: dict[str, Any] = {"processes": {}, "quota": {}, "megapixels": {}}
    this.found["scaling"] = found
    scaling.processes(compared, picture, found["processes"], this.progress, seconds, starts)
    try:
        scaling.quota(compared, picture, found["quota"], this.progress, seconds, starts)
    except NoQuota as error:
        found["quota problem"] = str(error)
    sizes = scaling.SIZES[::2] if quick else scaling.SIZES
    scaling.megapixels(compared, found["megapixels"], this.progress, 5 if quick else 15, sizes)


def _about(options: argparse.Namespace, pictures: warm.Pictures) -> dict[str, Any]:
    sizes = sorted(map(len, pictures.contents.values()))
    return {
        "date": str(datetime.date.today()),
        **peers.machine(),
        "pictures": {
            "count": len(sizes),
            "bytes": sizes[len(sizes) // 2],
            "labelled": bool(pictures.truth),
        },
        "options": {
            "warm": options.warm,
            "cold": options.cold,
            "inferences": options.inferences,
            "quick": options.quick,
        },
        "command": _command(options.arguments),
        "interrupted": False,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the zip and what people would deploy instead, in one run, in turns: "
        "sizes, warm and cold activations, memory, cost, scaling. Writes results.json, RESULTS.md "
        "and plots; Ctrl-C keeps what was measured. `python -m bench guard` is another command.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a minute or two of measuring, where all takes twenty")
    add("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS))
    add("--images", type=Path, metavar="DIR", help="JPEGs to send (default: the sample picture)")
    add("--labels", type=Path, metavar="FILE", help="TSV with a head: file name, class index")
    add("--warm", type=_positive, metavar="N", help=f"warm activations of each ({WARM})")
    add("--cold", type=_positive, metavar="N", help=f"cold starts of each ({COLD})")
    add("--inferences", type=_positive, metavar="N", help=f"inferences of each ({INFERENCES})")
    add("--model", metavar="NAME", help="as build_zip.py takes it")
    add("--class-names", type=Path, metavar="FILE", help="build_zip.py's --labels")
    add("--runtime", default="auto", metavar="WHERE", help="as build_zip.py takes it")
    add("--output", type=Path, metavar="DIR", default=FOLDER / "report", help="where to write to")
    add("--publish", action="store_true", help="write to bench/, docs/bench/ and the README")
    add("--from", dest="read", type=Path, metavar="JSON", help="write anew, from these results")
    cost.add_options(parser)
    return parser


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    options = _parser().parse_args(arguments)
    options.arguments = list(arguments)
    usual = QUICK if options.quick else {"warm": WARM, "cold": COLD, "inferences": INFERENCES}
    for name, count in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, count)
    return options


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {text}")
    return number


def _read(path: Path) -> dict[str, Any]:
    """Results of an earlier run; raises BuildError if the file holds none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found["about"]["date"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(
            f"--from: expected results that `python -m bench` wrote, found {path}: {error!r}"
        ) from error
    return found


def _write(found: dict[str, Any], options: argparse.Namespace) -> None:
    """The results as JSON, Markdown and plots; if they are to be published, in the README, too."""
    from bench import plots  # matplotlib: what this process holds slows the forks that are timed

    folder, drawn = (PUBLISHED, PLOTS) if options.publish else (options.output, options.output)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {folder / "results.json": _json(found), folder / "RESULTS.md": report.results(found)}
    if options.publish:
        readme = ROOT / "README.md"
        texts[readme] = report.placed(readme.read_text("utf-8"), report.section(found))
    for path, text in texts.items():
        path.write_text(text, "utf-8")
    print(report.section(found), *texts, *plots.draw(found, drawn), sep="\n")


def _json(found: dict[str, Any]) -> str:
    """One line per list of numbers: a thousand lines of one number each are no help to a reader."""
    text = json.dumps(found, indent=1, ensure_ascii=False)
    return re.sub(r"\[[-\d.,\s]*\]", lambda numbers: re.sub(r"\s+", " ", numbers[0]), text) + "\n"


def _command(arguments: Sequence[str]) -> str:
    """The command line for a reader: with the names of files and folders left to them."""
    words = ["python", "-m", "bench"]
    paths = {"--images": "DIR", "--labels": "FILE", "--class-names": "FILE", "--output": "DIR"}
    for word in arguments:
        known = "MODEL" if words[-1] == "--model" and word.endswith(".tflite") else word
        words.append(paths.get(words[-1], known))
    return shlex.join(word for word in words if word != "--publish")


def _progress() -> Progress:
    """Shows a line that changes on a terminal, and a line every ten seconds elsewhere."""
    began = last = time.monotonic()
    terminal = sys.stderr.isatty()

    def show(text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if terminal:
            minutes, seconds = divmod(int(now - began), 60)
            said = f"{minutes}:{seconds:02} {text}" if text else ""
            print(f"\r\x1b[K{said}", end="", file=sys.stderr, flush=True)
        elif text and now - last > 10:
            last = now
            print(text, file=sys.stderr, flush=True)

    return show
