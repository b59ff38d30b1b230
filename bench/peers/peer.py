"""What is compared: our zip, and what people would deploy instead."""

from __future__ import annotations

import atexit
import base64
import json
import random
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from bench import results
from builder import build
from builder.artifact import actionloop, platform
from builder.base import cpython
from builder.base.archive import read_zip
from builder.base.console import Console
from builder.base.cpython import PythonExecutable
from builder.base.environments import ensure_environment
from builder.base.errors import BuildError
from builder.base.files import atomic_write
from builder.base.paths import BUILD, ENVIRONMENTS
from builder.model.resolve import Model, ModelOptions

HERE = Path(__file__).parent
FOLDER = BUILD / "bench"
PARTS = ENVIRONMENTS / "peers"
"""What peers are made of, by hashes of what it is made of: for all checkouts of this user."""
PYTHON = "3.11"
"""The last Python that tflite-runtime has wheels for."""
KIND = f"python:{PYTHON}"
OURS = "this zip"
PRECOMPILED = f"{OURS}, precompiled"
HELLO_WORLD = "hello world"
"""A cold start's ratios are to it."""
HELLO = 'def main(params): return {"greeting": "Hello"}\n'


T = TypeVar("T")


@dataclass(frozen=True)
class Peer:
    """One of what is compared.

    Attributes:
        name: in tables and plots.
        archive: the zip that is deployed; of a custom image, what the image has more than its base.
            It has a `__main__.py`, or an executable `exec` as precompiled zips do.
        interpreter: path of what runs it: a CPython, or a Node.js for an `exec` in JavaScript.
        versions: of what is in it, by package.
        image: whether it is a custom image, so that a cold start neither sends nor unpacks it.
    """

    name: str
    archive: Path
    interpreter: str
    versions: dict[str, str] = field(default_factory=dict)
    image: bool = False

    @contextmanager
    def launched(self) -> Iterator[actionloop.RunningAction]:
        """Start it, as `actionloop.start_action` does."""
        action = actionloop.RunningAction(self.unpacked(), self.interpreter, {}, isolated=True)
        try:
            yield action
        finally:
            action.close()

    def unpacked(self) -> Path:
        """A folder with its files as the runtime unpacks them: one for all, until we end."""
        return _unpacked(self.archive, self.archive.stat().st_mtime_ns)


@cache
def _unpacked(archive: Path, _written: int) -> Path:
    folder = tempfile.TemporaryDirectory(prefix=f"{archive.stem}-")
    atexit.register(folder.cleanup)
    actionloop.unpack_zip(archive, Path(folder.name) / "bin")
    return Path(folder.name) / "bin"


def network(archive: Path, folder: Path) -> Path:
    """The model of a zip, unpacked into a folder."""
    [name, content] = next(
        each for each in read_zip(archive).files.items() if each[0].endswith(".tflite")
    )
    path = folder / name.rpartition("/")[2]
    path.write_bytes(content)
    return path


def pack(folder: Path, archive: Path) -> None:
    """Make a zip of all that is in a folder."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(folder.rglob("*")):
            zipped.write(path, path.relative_to(folder))


def extend(packed: Path, files: dict[str, bytes], archive: Path) -> None:
    """Make a copy of a zip with more files in it, of which `exec` can be executed."""
    with atomic_write(archive) as part:
        shutil.copyfile(packed, part)
        with zipfile.ZipFile(part, "a") as zipped:
            for name, content in files.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (0o100755 if name == "exec" else 0o100644) << 16
                zipped.writestr(info, content)


def size(archive: Path) -> results.Size:
    """Of a zip."""
    with zipfile.ZipFile(archive) as zipped:
        files = [info for info in zipped.infolist() if not info.is_dir()]
    unpacked = sum(info.file_size for info in files)
    return results.Size(zip=archive.stat().st_size, unpacked=unpacked, files=len(files))


def memory(pid: int) -> results.Memory:
    """Of a process now, and its peak so far."""
    now = _kilobytes(f"/proc/{pid}/smaps_rollup")
    peak = _kilobytes(f"/proc/{pid}/status")["VmHWM"]
    return results.Memory(resident=now["Rss"], private=now["Anonymous"], peak=peak)


def _kilobytes(path: str) -> dict[str, int]:
    """The kernel's `Name:  123 kB` lines as bytes."""
    fields = (line.split() for line in Path(path).read_text().splitlines())
    return {each[0][:-1]: int(each[1]) * 1024 for each in fields if each[2:] == ["kB"]}


def shuffled(peers: Sequence[T], number: int) -> list[T]:
    """The order of a round: another in each, so that nobody always comes after the same."""
    return random.Random(number).sample(peers, len(peers))


def line(picture: bytes, details: bool = False) -> bytes:
    """An activation as the platform's proxy writes it; making it is the proxy's time."""
    params = {"image": base64.b64encode(picture).decode(), **({"details": True} if details else {})}
    return json.dumps({"value": params}).encode()


def interpreter() -> PythonExecutable:
    """The CPython that runs the peers; raises BuildError if there is none."""
    python = cpython.find_python(PYTHON)
    if python is None or not python.runs_zips:
        raise BuildError(
            f"expected Python {PYTHON} on linux-x86_64, found none", "install it, then run again"
        )
    return python


def ours(
    chosen: Model,
    console: Console,
    requantize: bool = True,
    precompiled: bool = False,
    labels: Path | None = None,
    provider: str = "auto",
) -> Peer:
    """Our zip, as `build_zip.py` builds it.

    Args:
        chosen: the model.
        console: shows the build.
        requantize: whether a uint8 model gets int8 weights.
        precompiled: for the stock image of KIND, past its compile step; else portable.
        labels: file with class names, where the model needs one.
        provider: where the native parts come from.
    """
    name = (PRECOMPILED if precompiled else OURS) + ("" if requantize else ", uint8")
    output = FOLDER / f"{re.sub('[^a-z0-9]+', '-', name)}.zip"
    wishes = build.BuildConfig(
        (PYTHON,),
        output,
        model=str(chosen.path),
        model_options=ModelOptions(labels=labels),
        requantize=requantize,
        provider=provider,
        execution_env=platform.execution_env(KIND) if precompiled else "",
        smoke=False,
        keep=False,
    )
    audited = build.build(wishes, console).audit
    versions = {part.name: part.version for part in audited.components if part.version}
    return Peer(name, output, interpreter().path, versions)


def hello(precompiled: bool = False) -> Peer:
    """Hello world; precompiled, with what the runtime's compile step makes of it.

    That step also puts a shell script in front, which compares the image's name: here the launcher
    itself is what starts.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    output = FOLDER / ("hello-precompiled.zip" if precompiled else "hello.zip")
    with atomic_write(output) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        if precompiled:
            archive.writestr("main__.py", HELLO)
            start = zipfile.ZipInfo("exec")
            start.external_attr = 0o100755 << 16
            archive.writestr(start, "#!/usr/local/bin/python\n" + actionloop.LAUNCHER)
            archive.writestr("exec.env", platform.execution_env(KIND))
        else:
            archive.writestr("__main__.py", HELLO)
    name = "hello, precompiled" if precompiled else HELLO_WORLD
    return Peer(name, output, interpreter().path)


def image() -> str:
    """The peers' CPython as the stock image has it: with virtualenv, without what a zip brings."""
    return str(ensure_environment("image", HERE / "image.txt", interpreter().path))
