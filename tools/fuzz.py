"""Fuzz the function: `python3 -m tools.fuzz --seconds 120`, or `--runs 300000`.

Inputs are pictures for the decoder, or JSON objects of parameters for all of the function with a
tiny model. The compiled packages are used where they were compiled before, else the wheels.
It ends with exit status 1 at an exception that is not an answer to the client, at 2 s of work, or
at 128 MB on top of what the process starts with. The input is then kept in `build/fuzz`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from action.bootstrap import PackedZip
from builder.base.environments import enter_environment
from builder.base.errors import run_main
from builder.base.paths import BUILD, ROOT

ENVIRONMENT = "fuzz"
SECONDS = 2.0
MEGABYTES = 128
# Bytes of an input: the corpus and most formats' headers are much smaller.
LARGEST = 8192


def main(arguments: list[str]) -> int:
    """Prepare the environment, the model and the corpus, then fuzz; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=0, help="time to spend")
    parser.add_argument("--runs", type=int, default=-1, help="inputs to try")
    parser.add_argument("--input", type=Path, help="try this input only, of an earlier run")
    parser.add_argument("--prepared", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.prepared:
        return fuzz(options)
    if not options.seconds and options.runs < 0 and not options.input:
        parser.error("expected --seconds or --runs, found neither")
    requirements = Path(__file__).with_suffix(".txt")
    enter_environment(ENVIRONMENT, requirements, ["-m", "tools.fuzz", *arguments])
    return prepare(arguments)


def prepare(arguments: list[str]) -> int:
    """Make the model and the corpus, then fuzz in a process that has the zip's packages."""
    from builder.base.console import Console
    from builder.model import resolve
    from builder.packages import DEFAULT_OPTIONS, compiled
    from builder.packages.providers import PROVIDERS
    from tests.support.corpus import write_corpus
    from tests.support.models import COLOURS, ColourModel

    console = Console(quiet=True)
    version = "{}.{}".format(*sys.version_info)  # this process imports the packages
    provider = "local" if compiled.is_cached(version, DEFAULT_OPTIONS) else "wheels"
    packages = PROVIDERS[provider](version, DEFAULT_OPTIONS, console).folder
    print(f"packages: {provider}, Python {version}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch)
        labels = folder / "labels.txt"
        labels.write_text("\n".join(COLOURS))
        path = ColourModel("uint8", size=32).write(folder / "colours.tflite")
        model = resolve.resolve_model(str(path), resolve.ModelOptions(labels), console)
        with zipfile.ZipFile(folder / "packed.zip", "w") as packed:
            packed.write(model.path, f"model/{model.path.name}")
            packed.writestr("model/model.json", model.settings.to_json())
        write_corpus(folder / "corpus", LARGEST)
        command = [sys.executable, "-m", "tools.fuzz", *arguments, "--prepared", scratch]
        variables = {**os.environ, "PYTHONPATH": str(packages)}
        return min(1, abs(subprocess.call(command, cwd=ROOT, env=variables)))


def fuzz(options: argparse.Namespace) -> int:
    """Run libFuzzer, which ends the process."""
    import atheris

    with atheris.instrument_imports(include=["action", "PIL"]):
        from action import activation, picture
        from action.request import ImageError
    from PIL import PngImagePlugin

    from tests.support import hostile

    # Checksums are taken as right, so that fuzzing reaches what they guard; no log is read.
    stream = PngImagePlugin.ChunkStream
    stream.crc = stream.crc_skip  # type: ignore[method-assign]
    answer = activation.Handler(PackedZip(str(options.prepared)))
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
    params = json.loads((options.prepared / "corpus" / "params 0").read_text())
    assert "results" in answer({"image": params["image"]})

    def try_input(data: bytes) -> None:
        began = time.process_time()
        if data[:1] == b"{":
            _check_answer(answer, data)
        else:
            try:
                assert picture.decode(data, 32, 32, 3, 0.875).pixels.shape == (32, 32, 3)
            except ImageError as error:
                assert len(str(error)) < 300, error
                assert hostile.ERRORS.fullmatch(str(error)), error
        seconds = time.process_time() - began
        if seconds > SECONDS:
            raise TimeoutError(f"expected an answer in {SECONDS} s, took {seconds:.1f} s")
        taken = peak_memory() - least
        if taken > MEGABYTES:
            raise MemoryError(f"expected at most {MEGABYTES} MB, took {taken:.0f} MB")

    kept = BUILD / "fuzz"
    kept.mkdir(parents=True, exist_ok=True)
    Path("/proc/self/clear_refs").write_text("5")  # instrumenting took more than fuzzing may
    least = peak_memory()
    flags = {
        "max_total_time": options.seconds, "runs": options.runs,
        "max_len": LARGEST, "timeout": 20, "rss_limit_mb": 2048,
        "artifact_prefix": f"{kept}/", "print_final_stats": 1,
    }  # fmt: skip
    inputs = options.input or options.prepared / "corpus"
    if options.input:
        del flags["runs"]
    atheris.Setup([sys.argv[0], *(f"-{k}={v}" for k, v in flags.items()), str(inputs)], try_input)
    atheris.Fuzz()
    return 0


def peak_memory() -> float:
    """Return the most memory that the process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _check_answer(answer: Any, data: bytes) -> None:
    """Pass parameters to the function as the platform does, if they are JSON at all."""
    try:
        params = json.loads(data)
    except (ValueError, RecursionError):
        return
    reply = answer(params)
    text = json.dumps(reply)
    assert "internal error" not in text, text[:1000]
    assert json.loads(text) == reply


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
