"""Search the pictures that cost most: `python3 -m tools.worst classify.zip --seconds 120`.

The headers of pictures of all formats are varied: half are random, half are near the worst found so
far. For each format, the most CPU time and the most memory of the function's process are printed,
with the picture that took it.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builder.artifact import actionloop
from builder.base.environments import enter_environment
from builder.base.errors import run_main
from builder.base.paths import ROOT

# The tests' environment has Pillow.
ENVIRONMENT = "tests"

Picture = dict[str, Any]
# The values that a search chooses from: of all formats, then of each.
_MEGAPIXELS = (0.5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 14, 18, 23, 28, 34, 41, 56, 80, 99)
_SHAPE: dict[str, tuple[Any, ...]] = {
    "megapixels": _MEGAPIXELS, "aspect": (0.001, 0.03, 0.5, 1, 2, 30, 1000)
}  # fmt: skip
_DEPTHS = ((0, 1), (0, 8), (0, 16), (2, 8), (2, 16), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16))
_CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "JPEG": {
        "mode": ("L", "RGB", "CMYK"),
        "progressive": (False, True),
        "scans": (1, 10, 16, 20, 40),
        "sampling": (0x11, 0x21, 0x22, 0x41, 0x14, 0x44),
    },
    "PNG": {"depth": _DEPTHS, "filter": (0, 1, 2, 3, 4), "interlaced": (0, 1)},
    "GIF": {},
    "BMP": {"bits": (4, 8), "runs": (100, 10_000, 190_000)},
    "WebP": {"mode": ("RGB", "RGBA"), "lossless": (False, True)},
}
# Encoding larger ones takes longer than the search.
_MAX_WEBP = 4000


def make_picture(kind: str, chosen: Picture) -> bytes:
    """Return a picture of a format with the chosen properties, mostly of zeros."""
    # Imported late: the command starts in a plain Python, without Pillow.
    from PIL import Image

    from tests.support import hostile
    from tests.support.pictures import encoded

    area, aspect = chosen["megapixels"] * 1e6, chosen["aspect"]
    width = max(1, min(65500, int((area * aspect) ** 0.5)))
    size = (width, max(1, min(65500, int(area / width))))
    if kind == "JPEG":
        return _make_jpeg(size, chosen)
    if kind == "PNG":
        colours, bits = chosen["depth"]
        return hostile.png(
            size, colours, bits, interlaced=chosen["interlaced"], filtered=chosen["filter"]
        )
    if kind == "GIF":
        return hostile.flat_gif(size)
    if kind == "BMP":
        code = 2 if chosen["bits"] == 4 else 1
        return hostile.bmp(size, code, b"\xff\1" * chosen["runs"], chosen["bits"])
    picture = Image.new(chosen["mode"], (min(size[0], _MAX_WEBP), min(size[1], _MAX_WEBP)), "red")
    return encoded(picture, "WebP", lossless=chosen["lossless"], method=0)


def _make_jpeg(size: tuple[int, int], chosen: Picture) -> bytes:
    """Return a small JPEG with another size, sampling and more scans in its header."""
    from tests.support.pictures import encoded, plain

    small = plain("red").convert(chosen["mode"])
    content = bytearray(encoded(small, "JPEG", progressive=chosen["progressive"]))
    frame = content.index(b"\xff\xc2" if chosen["progressive"] else b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", *size[::-1])
    content[frame + 11] = chosen["sampling"]
    last = content.rindex(b"\xff\xda")
    return bytes(content[:last] + content[last:-2] * chosen["scans"] + b"\xff\xd9")


def measure(running: actionloop.RunningAction, content: bytes) -> tuple[float, float]:
    """Return the CPU seconds and the peak MB of the process for one picture."""
    process = Path(f"/proc/{running.pid}")

    def seconds() -> float:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    (process / "clear_refs").write_text("5")
    before = seconds()
    running.run({"image": base64.b64encode(content).decode()})
    peak = (process / "status").read_text().partition("VmHWM:")[2].split(maxsplit=1)[0]
    return seconds() - before, int(peak) / 1000


def search(
    measure_one: Callable[[bytes], tuple[float, float]], seconds: float, chance: random.Random
) -> dict[tuple[str, str], tuple[float, Picture]]:
    """Return, by format and quantity ("s", "MB"), the most that was found, and by what."""
    worst: dict[tuple[str, str], tuple[float, Picture]] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kind = chance.choice(list(_CHOICES))
        choices = _SHAPE | _CHOICES[kind]
        chosen = {name: chance.choice(values) for name, values in choices.items()}
        if chance.random() < 0.5 and (near := worst.get((kind, chance.choice(("s", "MB"))))):
            name = chance.choice(list(choices))
            chosen = {**near[1], name: chosen[name]}
        found = measure_one(make_picture(kind, chosen))
        for unit, value in zip(("s", "MB"), found, strict=True):
            if value > worst.get((kind, unit), (-1.0, {}))[0]:
                worst[kind, unit] = value, chosen
    return worst


def main(arguments: list[str]) -> int:
    """Search, and print what was found; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.worst", description=__doc__)
    parser.add_argument("zip", type=Path, help="a zip for this Python")
    parser.add_argument("--seconds", type=float, default=60, help="time to spend")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices")
    options = parser.parse_args(arguments)
    requirements = ROOT / "tests" / "requirements.txt"
    enter_environment(ENVIRONMENT, requirements, ["-m", "tools.worst", *arguments])
    with actionloop.start_action(options.zip, sys.executable) as running:
        worst = search(
            lambda content: measure(running, content), options.seconds, random.Random(options.seed)
        )
    for (kind, unit), (value, chosen) in sorted(worst.items()):
        print(f"{kind:5} {value:7.2f} {unit:2} {chosen}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
