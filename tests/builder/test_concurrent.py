"""Run builds at the same time, and kill builds: the next build succeeds."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.base.paths import BUILD
from builder.packages import DEFAULT_OPTIONS, compiled, package_tag
from tests.conftest import HERE, clone, have_deflated, seed
from tests.support.models import COLOURS, ColourModel


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for a small model, quick to build with."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "labels.txt").write_text("\n".join(COLOURS))
    path = ColourModel("uint8").write(folder / "colours.tflite")
    return ["--model", str(path), "--labels", str(folder / "labels.txt"), "--python", HERE]


@pytest.fixture
def checkout(make_zip: Callable[..., Path], model: list[str], tmp_path: Path) -> Path:
    """Return a checkout that has all wheels: no test here needs the network."""
    make_zip(HERE, model[1], model[3], provider="wheels")
    root = clone(tmp_path / "checkout")
    shutil.copytree(BUILD / "downloads", root / "build" / "downloads")
    have_deflated(root)
    return root


def start(
    root: Path, output: Path, model: list[str], runtime: str, *more: str
) -> subprocess.Popen[str]:
    """Start a build; its user has the cache in the folder that the checkout is in."""
    folders = {"XDG_CACHE_HOME": str(root.parent / "cache"), "TMPDIR": str(root.parent)}
    options = [*model, "--runtime", runtime, *more, "--output", str(output)]
    return subprocess.Popen(
        [sys.executable, str(root / "build_zip.py"), *options],
        env={**os.environ, **folders},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_two_builds_in_one_checkout(model: list[str], checkout: Path, tmp_path: Path) -> None:
    """They share the tool's environment, the runtime and the output; none exists before."""
    output = tmp_path / "out" / "a.zip"
    builds = [start(checkout, output, model, "wheels") for _ in range(2)]
    log = [process.communicate(timeout=500)[0] for process in builds]
    assert [process.returncode for process in builds] == [0, 0], log
    assert any("waiting: another process is" in each for each in log)
    assert "__main__.py" in names(output)
    assert (checkout / "build" / "local").is_dir()
    assert not list(tmp_path.rglob(".*.part"))


ENGINE = """\
#!/bin/sh
# Stands in for a container engine: slow, and it writes the same result.
for word; do case $word in type=local,dest=*) out=${{word#type=local,dest=}};; esac; done
echo ran >> {ran}
for _ in $(seq 300); do test -e {go} && break; sleep 0.2; done
mkdir -p "$out/{tag}"
cp -r {packages}/. "$out/{tag}/" && exit 0
"""


def test_two_checkouts_with_a_cold_cache(model: list[str], tmp_path: Path) -> None:
    """They share the user's cache: the recipe compiles once."""
    if not compiled.is_cached(HERE, DEFAULT_OPTIONS):
        pytest.skip(f"nothing compiled for Python {HERE}")
    packages = compiled.cache_folder(HERE, DEFAULT_OPTIONS)
    engine, ran, go = (tmp_path / name for name in ("docker", "ran", "go"))
    text = ENGINE.format(ran=ran, go=go, tag=package_tag(HERE), packages=packages)
    engine.write_text(text)
    engine.chmod(0o755)
    seed(tmp_path / "cache" / "classify-zip" / "environments")
    builds = []
    for name in ("one", "two"):
        root, output = clone(tmp_path / name), tmp_path / f"{name}.zip"
        builds.append(start(root, output, model, "container", "--engine", str(engine)))
        while not ran.exists():
            assert builds[0].poll() is None
            time.sleep(0.01)
    assert builds[1].stdout is not None
    text = "waiting: another process is compiling in a container"
    assert any(text in line for line in builds[1].stdout)
    go.touch()
    log = [process.communicate(timeout=500)[0] for process in reversed(builds)]
    assert [process.returncode for process in builds] == [0, 0], log
    assert ran.read_text() == "ran\n"
    assert names(tmp_path / "one.zip") == names(tmp_path / "two.zip")
    assert not list(tmp_path.rglob(".*.part"))


def test_killed_builds_leave_a_usable_checkout(
    model: list[str], checkout: Path, tmp_path: Path, thorough: bool
) -> None:
    """Kill builds at random moments, with all processes that they started."""
    seed(tmp_path / "cache" / "classify-zip" / "environments")
    output = tmp_path / "out" / "a.zip"
    rng = random.Random(7)
    began = time.monotonic()
    start(checkout, output, model, "wheels").communicate(timeout=500)
    whole = time.monotonic() - began
    for _ in range(12 if thorough else 4):
        if rng.random() < 0.5:
            for folder in ("runtimes", "local", "codes", "requantized"):
                shutil.rmtree(checkout / "build" / folder, ignore_errors=True)
        with start(checkout, output, model, "wheels") as killed:
            time.sleep(rng.uniform(0, whole))
            os.killpg(killed.pid, signal.SIGKILL)
        assert "__main__.py" in names(output)
    process = start(checkout, output, model, "wheels")
    log, _ = process.communicate(timeout=500)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert "✓ invoke" in log
