"""The zips that are compared: ours, and what people would deploy instead."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from builder import build, data, interpreters
from builder.console import Console
from builder.download import Package, from_index
from builder.errors import BuildError
from builder.interpreters import Interpreter
from builder.model import Model
from builder.paths import BUILD, DOWNLOADS

HERE = Path(__file__).parent
FOLDER = BUILD / "bench"
PYTHON = "3.11"
"""The last Python that tflite-runtime has wheels for."""


def interpreter() -> Interpreter:
    """The CPython that runs the peers; raises BuildError if there is none."""
    found = interpreters.find(PYTHON)
    if found is None or not found.runs_zips:
        raise BuildError(
            f"expected Python {PYTHON} on linux-x86_64, found none", "install it, then run again"
        )
    return found


def ours(model: str | None, console: Console, requantize: bool = True) -> Path:
    """Build our zip for `model`, as `build_zip.py` does; with the weights as they are if asked."""
    output = FOLDER / ("ours.zip" if requantize else "ours-uint8.zip")
    wishes = build.Wishes(
        (PYTHON,), output, model=model, keep=False, smoke=False, requantize=requantize
    )
    build.build(wishes, console)
    return output


def pip_zip(model: Model, console: Console) -> Path:
    """A zip of `pip install -t` with tflite-runtime, numpy and Pillow, and the action beside it."""
    output = FOLDER / "pip.zip"
    folder = FOLDER / "pip"
    shutil.rmtree(folder, ignore_errors=True)
    install(wheels(console), folder)
    shutil.copy(HERE / "pip_zip" / "__main__.py", folder)
    shutil.copy(model.path, folder / "model.tflite")
    (folder / "labels.txt").write_text("\n".join(model.settings["labels"]), "utf-8")
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return output


def wheels(console: Console) -> list[Path]:
    """The last tflite-runtime, the numpy 1 that it needs, and Pillow."""
    pins = dict(data.read(HERE / "pins.toml"))
    [pillow] = [each for each in data.pins()["wheels"]["package"] if each["name"] == "pillow"]
    pins["pillow"] = pillow["files"][PYTHON]
    platforms = data.pins()["wheels"]["platforms"]
    packages = [Package(name, **pin) for name, pin in pins.items()]
    return from_index(packages, DOWNLOADS, console, PYTHON, platforms)


def install(files: list[Path], folder: Path) -> None:
    """`pip install -t`, with the code files that pip makes."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--target", str(folder), "--python-version", PYTHON, "--only-binary", ":all:"]
    command += [arg for tag in data.pins()["wheels"]["platforms"] for arg in ("--platform", tag)]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"pip could not install the peers: {done.stderr.strip()[-500:]}")


def machine(found: Interpreter) -> str:
    """The machine and the Python, for the head of a report."""
    processor = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    return f"{platform.machine()}, {processor}, Python {found.full_version}, one thread"
