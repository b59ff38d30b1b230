"""A warm activation: `python -m bench warm` answers where its time goes, and against what.

Our zip, the same with the weights as they were (uint8), and a zip that `pip install -t` made are
started as the platform starts them; each picture goes to each of them in turn, and beside them the
bare interpreter runs the model, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import json
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter

from bench import peers
from bench.interpreters import Worker
from builder import model, runtime, smoke
from builder.build import SAMPLE
from builder.console import Console
from builder.errors import BuildError

SIZES = {"0.2 MP": (500, 375), "12 MP": (4000, 3000), "48 MP": (8000, 6000)}
PAYLOAD = 700_000
"""About the largest picture, in bytes, that fits OpenWhisk's payload limit as base64."""


@dataclass
class Series:
    """What one peer did.

    Attributes:
        warm: seconds per activation, seen from outside.
        stages: milliseconds per stage, as our details give them.
        right: pictures whose first class was the labelled one.
    """

    warm: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    right: int = 0


def run(arguments: list[str]) -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench warm", description=__doc__)
    parser.add_argument("--model", help="as build_zip.py takes it")
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: the sample picture)")
    parser.add_argument(
        "--labels", type=Path, help="TSV with a head: file name, class index with background as 0"
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that each picture is sent")
    parser.add_argument("--soak", type=int, default=0, help="activations of a memory test at last")
    options = parser.parse_args(arguments)
    console = Console(quiet=True)
    found = peers.interpreter()
    chosen = model.resolve(options.model, None, console)
    zips = {
        "this zip": peers.ours(options.model, console),
        "this zip, uint8": peers.ours(options.model, console, requantize=False),
        "pip zip": peers.pip_zip(chosen, console),
    }
    pictures = _pictures(options.images)
    truth = _truth(options.labels) if options.labels else {}
    print(peers.machine(found))
    with ExitStack() as running:
        actions = {
            name: running.enter_context(smoke.launched(path, found.path))
            for name, path in zips.items()
        }
        bare = running.enter_context(_bare(zips["this zip"], found.path, console))
        series = {name: Series() for name in zips}
        invoke: list[float] = []
        for number in range(options.rounds):
            for name, content in pictures.items():
                for peer, action in actions.items():
                    _once(action, content, series[peer], name, truth if not number else {})
                invoke.append(bare.inference())
    _show(series, invoke, len(pictures), bool(truth))
    if truth:
        right = _top_1(zips["this zip, uint8"], found.path, pictures, truth)
        print(f"top-1, uint8 weights, decoded at full size: {right / len(pictures):.3f}")
    _first(zips["this zip"], found.path, pictures)
    _sizes(zips["this zip"], found.path)
    if options.soak:
        _soak(zips["this zip"], found.path, pictures, options.soak)


def _once(
    action: smoke.Action, content: bytes, series: Series, name: str, truth: dict[str, int]
) -> None:
    # A line as the platform's proxy writes it; making it is the proxy's time.
    line = json.dumps({"value": {"image": base64.b64encode(content).decode(), "details": True}})
    packed = line.encode()
    began = time.perf_counter()
    answer = action.send(packed)
    series.warm.append(time.perf_counter() - began)
    if "results" not in answer:
        raise BuildError(f"{name}: expected results, found {answer}")
    for stage, ms in answer.get("details", {}).get("timings", {}).items():
        series.stages.setdefault(stage, []).append(ms)
    if name in truth:
        series.right += answer["results"][0]["classIndex"] == truth[name]


def _bare(archive: Path, python: str, console: Console) -> Worker:
    """The interpreter of the zip with the zip's model, and nothing else."""
    packages = runtime.provider("auto")(peers.PYTHON, runtime.DEFAULT, console).folder
    folder = Path(tempfile.mkdtemp(prefix="bare-", dir=peers.FOLDER))
    smoke.unpack(archive, folder)
    [network] = folder.glob("model/*.tflite")
    return Worker("bare", python, packages, network, folder)


def _pictures(folder: Path | None) -> dict[str, bytes]:
    if folder is None:
        return {SAMPLE.name: SAMPLE.read_bytes()}
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise BuildError(f"--images: expected a folder with JPEGs, found none in {folder}")
    return {path.name: path.read_bytes() for path in files}


def _truth(labels: Path) -> dict[str, int]:
    with labels.open(encoding="utf-8", newline="") as file:
        return {row[0]: int(row[1]) for row in list(csv.reader(file, delimiter="\t"))[1:]}


def _show(series: dict[str, Series], invoke: list[float], pictures: int, labelled: bool) -> None:
    bare = statistics.median(invoke)
    ours = statistics.median(series["this zip"].warm) * 1000
    count = len(invoke)
    print(f"\nwarm activations, {pictures} pictures, {count} of each in turns, medians in ms")
    print(f"  {'bare interpreter':18}{bare:8.2f}")
    for name, each in series.items():
        total = statistics.median(each.warm) * 1000
        stages = {stage: statistics.median(ms) for stage, ms in each.stages.items()}
        stages.pop("init", None)
        known = ", ".join(f"{stage} {ms:.2f}" for stage, ms in stages.items())
        top_1 = f"   top-1 {each.right / pictures:.3f}" if labelled else ""
        print(
            f"  {name:18}{total:8.2f}   {total / bare:6.2f}x the bare interpreter   "
            f"{total / ours:6.2f}x this zip{top_1}" + (f"   ({known})" if known else "")
        )


def _top_1(archive: Path, python: str, pictures: dict[str, bytes], truth: dict[str, int]) -> int:
    """Right answers for the pictures as BMP: those are never decoded at less than full size."""
    series = Series()
    with smoke.launched(archive, python) as action:
        for name, content in pictures.items():
            plain = io.BytesIO()
            Image.open(io.BytesIO(content)).convert("RGB").save(plain, "BMP")
            _once(action, plain.getvalue(), series, name, truth)
    return series.right


def _first(archive: Path, python: str, pictures: dict[str, bytes], starts: int = 15) -> None:
    ratios = []
    for content in (list(pictures.values()) * starts)[:starts]:
        series = Series()
        with smoke.launched(archive, python) as action:
            for _ in range(12):
                _once(action, content, series, "", {})
        ratios.append(series.warm[0] / statistics.median(series.warm[1:]))
    print(f"\nfirst activation after init: {statistics.median(ratios):.2f}x a warm one")


def _sizes(archive: Path, python: str) -> None:
    print(f"\nJPEGs of up to {PAYLOAD // 1000} KB by size, median of 15 activations")
    base = 0.0
    for name, size in SIZES.items():
        content = _jpeg(size)
        series = Series()
        with smoke.launched(archive, python) as action:
            for _ in range(15):
                _once(action, content, series, name, {})
            peak = _peak_mb(action.pid)
        ms = statistics.median(series.warm) * 1000
        base = base or ms
        print(f"  {name:8}{len(content) // 1000:6} KB{ms:8.2f} ms   {ms / base:5.2f}x   {peak} MB")


def _jpeg(size: tuple[int, int]) -> bytes:
    """The sample picture in this size, with some grain, in as many bytes as may be sent."""
    grain = Image.effect_noise((1000, 1000), 12).convert("RGB")
    with Image.open(SAMPLE) as picture:
        large = picture.convert("RGB").resize(size)
    for left in range(0, size[0], 1000):
        for top in range(0, size[1], 1000):
            box = (left, top, min(left + 1000, size[0]), min(top + 1000, size[1]))
            patch = large.crop(box)
            large.paste(Image.blend(patch, grain.crop((0, 0, *patch.size)), 0.1), box)
    large = large.filter(ImageFilter.GaussianBlur(0.5))
    for quality in (90, 80, 70, 60, 50, 40, 30, 20, 10, 5):
        packed = io.BytesIO()
        large.save(packed, "JPEG", quality=quality)
        if len(packed.getvalue()) <= PAYLOAD:
            break
    return packed.getvalue()


def _soak(archive: Path, python: str, pictures: dict[str, bytes], count: int) -> None:
    """Memory over many activations with pictures in random order."""
    order = random.Random(2018)
    contents = list(pictures.values())
    early = 0.0
    series = Series()
    with smoke.launched(archive, python) as action:
        for number in range(count):
            _once(action, order.choice(contents), series, "", {})
            if number == 499:
                early = _rss_mb(action.pid)
        late = _rss_mb(action.pid)
    print(f"\nmemory: {early:.1f} MB after 500 activations, {late:.1f} MB after {count}")


def _rss_mb(pid: int) -> float:
    return _status(pid, "VmRSS") / 1e6


def _peak_mb(pid: int) -> int:
    return round(_status(pid, "VmHWM") / 1e6)


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    values: dict[str, Any] = dict(line.split(":", 1) for line in text.splitlines())
    return int(values[name].split()[0]) * 1024
