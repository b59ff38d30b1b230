"""Run builds at the same time, and kill builds: the next build succeeds."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builder.base.paths import BUILD, ROOT
from tests.conftest import HERE, have_deflated, seed
from tests.support.models import COLOURS, ColourModel

KILLS, KILLS_AT_LEAST = 12, 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for a small model, quick to build with."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "labels.txt").write_text("\n".join(COLOURS))
    path = ColourModel("uint8").write(folder / "colours.tflite")
    return ["--model", str(path), "--labels", str(folder / "labels.txt"), "--python", HERE]


@pytest.fixture(scope="module")
def downloads(make_zip: Callable[..., Path], model: list[str]) -> Path:
    """Return the folder of downloads, with all wheels in it: no test here needs the network."""
    make_zip(HERE, model[1], model[3], provider="wheels")
    return BUILD / "downloads"


def checkout(folder: Path) -> Path:
    """Copy what a build needs of a checkout."""
    ignored = shutil.ignore_patterns("__pycache__", "*.tflite")
    for name in ("action", "builder", "client", "model"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("build_zip.py", "LICENSE", "Dockerfile.builder"):
        shutil.copy(ROOT / name, folder)
    return folder


def command(options: list[str], output: Path, root: Path = ROOT) -> list[str]:
    return [sys.executable, str(root / "build_zip.py"), *options, "--output", str(output)]


def start(options: list[str], output: Path, root: Path, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(options, output, root),
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "TMPDIR": str(cache.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield half-written files and locks, except those inside environments."""
    for path in folder.rglob(".*"):
        if path.suffix in (".part", ".lock") and "site-packages" not in path.parts:
            yield path


def test_two_builds_in_one_checkout(model: list[str], downloads: Path, tmp_path: Path) -> None:
    """They share the tool's environment, the runtime and the output; none exists before."""
    root = checkout(tmp_path / "checkout")
    shutil.copytree(downloads, root / "build" / "downloads")
    have_deflated(root)
    output = tmp_path / "out" / "a.zip"
    options = [*model, "--runtime", "wheels"]
    builds = [start(options, output, root, tmp_path / "cache") for _ in range(2)]
    log = [process.communicate(timeout=500)[0] for process in builds]
    assert [process.returncode for process in builds] == [0, 0], log
    assert any("waiting: process" in each for each in log)
    assert "__main__.py" in names(output)
    assert (root / "build" / "local").is_dir()
    assert not list(leftovers(tmp_path))


ENGINE = """\
#!/bin/sh
# Stands in for a container engine: slow, and it writes the same result.
for word; do case $word in type=local,dest=*) out=${{word#type=local,dest=}};; esac; done
echo ran >> {ran}
for _ in $(seq 300); do test -e {go} && break; sleep 0.2; done
mkdir -p "$out/{tag}"
cp -r {runtime}/. "$out/{tag}/" && exit 0
"""


def follow(build: subprocess.Popen[str], waits: list[str], go: Path) -> None:
    """Read a build's log; once it waits for the other build, let that one continue."""
    assert build.stdout is not None
    for line in build.stdout:
        if "waiting: process" in line:
            waits.append(line)
            go.touch()


def test_two_checkouts_with_a_cold_cache(model: list[str], downloads: Path, tmp_path: Path) -> None:
    """They share the user's cache: the recipe compiles once."""
    from builder.base.paths import COMPILED
    from builder.packages import package_tag

    made = list(COMPILED.glob(f"classifier-*/{package_tag(HERE)}/recipe.json"))
    if not made:
        pytest.skip(f"nothing compiled for Python {HERE}")
    engine = tmp_path / "docker"
    runtime = max(made, key=lambda path: path.stat().st_mtime).parent
    text = ENGINE.format(
        ran=tmp_path / "ran", go=tmp_path / "go", tag=package_tag(HERE), runtime=runtime
    )
    engine.write_text(text)
    engine.chmod(0o755)
    builds = []
    seed(tmp_path / "cache" / "classify-zip" / "environments")
    for name in ("one", "two"):
        root = checkout(tmp_path / name)
        options = [*model, "--runtime", "container", "--engine", str(engine)]
        builds.append(start(options, tmp_path / f"{name}.zip", root, tmp_path / "cache"))
    waits: list[str] = []
    lines = [
        threading.Thread(target=follow, args=[each, waits, tmp_path / "go"]) for each in builds
    ]
    for thread in lines:
        thread.start()
    for thread in lines:
        thread.join(500)
    assert [process.wait() for process in builds] == [0, 0], waits
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert [line for line in waits if "is compiling in a container" in line]
    assert names(tmp_path / "one.zip") == names(tmp_path / "two.zip")
    assert not list(leftovers(tmp_path))


def test_killed_builds_leave_a_usable_checkout(
    model: list[str], downloads: Path, tmp_path: Path, thorough: bool
) -> None:
    """Kill builds at random moments, with all processes that they started.

    Most of them, or all if they are few, start with the tool's environment: making it takes most
    of a build's time.
    """
    root = checkout(tmp_path / "checkout")
    if not thorough:
        seed(tmp_path / "cache" / "classify-zip" / "environments")
    shutil.copytree(downloads, root / "build" / "downloads")
    have_deflated(root)
    output = tmp_path / "out" / "a.zip"
    options = [*model, "--runtime", "wheels"]
    rng = random.Random(7)
    whole = 12.0
    kills, seeded = (KILLS, KILLS // 4) if thorough else (KILLS_AT_LEAST, 0)
    for number in range(kills):
        if number == seeded:
            process = start(options, output, root, tmp_path / "cache")
            log, _ = process.communicate(timeout=500)
            assert process.returncode == 0, log
            for folder in ("runtimes", "local", "codes", "requantized"):
                shutil.rmtree(root / "build" / folder, ignore_errors=True)
            if thorough:  # compressing everything takes longer than the rest
                shutil.rmtree(root / "build" / "deflated")
            output.unlink()
            process = start(options, output, root, tmp_path / "cache")
            began = time.monotonic()
            process.communicate(timeout=500)
            whole = time.monotonic() - began
        if rng.random() < 0.5:
            for folder in ("runtimes", "local", "codes", "requantized"):
                shutil.rmtree(root / "build" / folder, ignore_errors=True)
        process = start(options, output, root, tmp_path / "cache")
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, whole))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        if output.exists():
            assert "__main__.py" in names(output)
    process = start(options, output, root, tmp_path / "cache")
    log, _ = process.communicate(timeout=500)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert "✓ invoke" in log
    assert "__main__.py" in names(output)
    assert not list(leftovers(output.parent))
