"""Fuzz the function: `python -m tools.fuzz --seconds 120`, or `--runs 300000`.

Inputs are pictures, for the decoder, or JSON objects of parameters, for all of the function with a
tiny model. It takes the compiled packages where they were compiled before, else ready-made ones.
An exception that a client could not mend, 2 s of work, or 128 MB on top of what the process starts
with end it with exit status 1; the input is then kept in `build/fuzz`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from action.bootstrap import PackedZip
from builder.base.environments import ensure_environment
from builder.base.errors import BuildError
from builder.base.paths import BUILD, ROOT
from builder.base.variables import neutral_variables

SECONDS = 2.0
MEGABYTES = 128
LARGEST = 8192
"""Of an input, in bytes: corpus and most formats' heads are much smaller."""
KINDS = ("JPEG", "progressive", "PNG", "P", "WebP", "lossless", "GIF", "BMP")
WORDS = (
    *(b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"iCCP", b"zTXt"),
    *(b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"RIFF", b"\xff\xc0", b"\xff\xc2"),
    *(b"\xff\xda", b"\xff\xd9", b"\xff\xdd", b"\xff\xe1", b"Exif\0\0", b"II*\0", b"MM\0*"),
    *(b"!\xf9\x04", b"!\xfe", b"!\xff\x0bNETSCAPE2.0", b"\x28\0\0\0", b"\xff\xff\xff\xff"),
    *(b'"image"', b'"images"', b'"topK"', b'"threshold"', b'"details"', b"data:image/png;base64,"),
)


def main() -> int:
    """Prepare the environment, the model and the corpus, then fuzz; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=0, help="time to spend")
    parser.add_argument("--runs", type=int, default=-1, help="inputs to try")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (by chance)")
    parser.add_argument("--input", type=Path, help="try this input only, of an earlier run")
    parser.add_argument("--prepared", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepared:
        _fuzz(options)
    if not options.seconds and options.runs < 0 and not options.input:
        parser.error("expected --seconds or --runs, found neither")
    arguments = [arg for arg in sys.argv[1:] if arg]
    try:
        if importlib.util.find_spec("atheris"):
            return _prepare(arguments)
        python = ensure_environment("fuzz", ROOT / "tools" / "fuzz.txt")
    except BuildError as error:
        print(f"error: {error}\n  {error.hint}", file=sys.stderr)
        return 1
    command = [str(python), "-m", "tools.fuzz", *arguments]
    return subprocess.call(command, cwd=ROOT, env=neutral_variables())


def _prepare(arguments: list[str]) -> int:
    """Make the model and the corpus, then fuzz in a process that has the zip's packages."""
    from builder import build
    from builder.base.console import Console
    from builder.model import resolve
    from builder.packages import DEFAULT_OPTIONS, compiled
    from builder.packages.providers import PROVIDERS
    from tests.support.models import COLOURS, ColourModel

    console = Console(quiet=True)
    version = build.default_python()
    provider = "local" if compiled.is_cached(version, DEFAULT_OPTIONS) else "wheels"
    packages = PROVIDERS[provider](version, DEFAULT_OPTIONS, console).folder
    print(f"packages: {provider}, Python {version}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch)
        (folder / "model").mkdir()
        labels = folder / "labels.txt"
        labels.write_text("\n".join(COLOURS))
        path = ColourModel("uint8", size=32).write(folder / "model" / "colours.tflite")
        found = resolve.resolve_model(str(path), resolve.ModelOptions(labels), console)
        if found.path != path:
            shutil.copy(found.path, folder / "model")
        (folder / "model" / "model.json").write_bytes(found.settings.to_json())
        _write_corpus(folder / "corpus")
        words = "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in WORDS)
        (folder / "words").write_text(words)
        command = [sys.executable, "-m", "tools.fuzz", *arguments, "--prepared", scratch]
        return min(1, abs(subprocess.call(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(packages)}
        )))  # fmt: skip


class _Folder(PackedZip):
    """The files of a zip in a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes:
        return Path(self._folder, name).read_bytes()

    def extract(self, name: str) -> str:
        return os.path.join(self._folder, name)


def _write_corpus(folder: Path) -> None:
    from tests.conftest import base64_of
    from tests.support import hostile

    folder.mkdir()
    pictures = {kind: hostile.small(kind) for kind in KINDS}
    pictures |= {f"{kind}, frames": hostile.frames(kind, 4) for kind in ("GIF", "PNG", "WebP")}
    pictures |= {name: content for name, content in hostile.bombs() if len(content) <= LARGEST}
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
    image = base64_of(pictures["GIF"])
    for number, params in enumerate((
        {"image": image, "topK": 2, "threshold": 0.1, "details": True},
        {"images": [image, f"data:image/gif;base64,{image}", "*", 7]},
        {"image": image.replace("/", "_").replace("+", "-"), "__ow_path": "", "other": None},
        {"image": image.replace("+", " ")},
    )):  # fmt: skip
        (folder / f"params {number}").write_text(json.dumps(params))


def _fuzz(options: argparse.Namespace) -> None:
    """Hand over to libFuzzer, which ends the process."""
    import atheris

    with atheris.instrument_imports(include=["action", "PIL"]):
        from action import activation, picture
        from action.request import ImageError
    from PIL import PngImagePlugin

    from tests.support import hostile

    # As if whoever sends it had got the checksums right, and nobody looks at the log.
    stream = PngImagePlugin.ChunkStream
    stream.crc = stream.crc_skip  # type: ignore[method-assign]
    answer = activation.Handler(_Folder(options.prepared))
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
    sound = answer({"image": _sound(options.prepared)})
    assert "results" in sound

    def one(data: bytes) -> None:
        began = time.process_time()
        if data[:1] == b"{":
            _check_answer(answer, data)
        else:
            try:
                found = picture.decode(data, 32, 32, 3, 0.875)
            except ImageError as error:
                assert len(str(error)) < 300, error
                assert hostile.ERRORS.fullmatch(str(error)), error
            else:
                assert found.pixels.shape == (32, 32, 3)
        seconds = time.process_time() - began
        if seconds > SECONDS:
            raise TimeoutError(f"expected an answer in {SECONDS} s, took {seconds:.1f} s")
        taken = _peak() - least
        if taken > MEGABYTES:
            raise MemoryError(f"expected at most {MEGABYTES} MB, took {taken:.0f} MB")

    kept = BUILD / "fuzz"
    kept.mkdir(parents=True, exist_ok=True)
    Path("/proc/self/clear_refs").write_text("5")  # instrumenting took more than fuzzing may
    least = _peak()
    flags = {
        "max_total_time": options.seconds, "runs": options.runs, "seed": options.seed,
        "max_len": LARGEST, "timeout": 20, "rss_limit_mb": 2048,
        "dict": options.prepared / "words", "artifact_prefix": f"{kept}/", "print_final_stats": 1,
    }  # fmt: skip
    inputs = options.input or options.prepared / "corpus"
    if options.input:
        del flags["runs"]
    atheris.Setup([sys.argv[0], *(f"-{k}={v}" for k, v in flags.items()), str(inputs)], one)
    atheris.Fuzz()


def _peak() -> float:
    """The most memory that the process had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) / 1000


def _sound(folder: Path) -> str:
    params: dict[str, Any] = json.loads((folder / "corpus" / "params 0").read_text())
    return str(params["image"])


def _check_answer(answer: Any, data: bytes) -> None:
    """Answer parameters as the platform hands them over, if they are JSON at all."""
    try:
        params = json.loads(data)
    except (ValueError, RecursionError):
        return
    found = answer(params)
    text = json.dumps(found)
    assert "internal error" not in text, text[:1000]
    assert json.loads(text) == found


if __name__ == "__main__":
    sys.exit(main())
