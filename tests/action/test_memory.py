"""Memory of a running zip: it stays constant, fits the limit, and matches the build's estimate."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from builder.artifact import actionloop, audit, memory
from builder.artifact.smoke import SAMPLE
from builder.base.archive import read_zip
from builder.base.errors import SmokeError
from builder.packages import DEFAULT_OPTIONS, compiled
from builder.report import commands
from tests.conftest import HERE, IMAGE, base64_of, interpreter
from tests.support import hostile
from tests.support.models import ColourModel
from tests.support.pictures import large_pictures, small_pictures

MB = 1_000_000
COMPILED = compiled.is_cached(HERE, DEFAULT_OPTIONS)
needs_compiled = pytest.mark.skipif(not COMPILED, reason=f"nothing compiled for Python {HERE}")

# Stands for the platform's proxy: holds memory until its input ends.
HOLD = """\
import sys
held = bytearray(int(sys.argv[1]))
for at in range(0, len(held), 4096):
    held[at] = 1
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("zip_bytes", "process_bytes", "limit"),
    [
        (6.4 * MB, 31 * MB, 128),
        (5.0 * MB, 26 * MB, 128),
        (12 * MB, 40 * MB, 256),
        (25 * MB, 59 * MB, 256),
        (36 * 2**20, 70 * MB, 512),
        (36 * 2**20, 400 * MB, 1024),
        (36 * 2**20, 9000 * MB, 2048),
    ],
)
def test_limit_is_the_next_step(zip_bytes: float, process_bytes: float, limit: int) -> None:
    assert memory.choose_limit(int(zip_bytes), process_bytes) == limit


def test_manifest_and_command_name_the_same_limit(zip_path: Path) -> None:
    report = audit.audit_zip(zip_path)
    assert json.loads(read_zip(zip_path).files["manifest.json"])["memory"] == report.manifest.memory
    assert report.manifest.memory in memory.LIMITS
    assert report.manifest.memory << 20 > 4 * report.bytes
    [line] = commands(zip_path, report.manifest.pythons, report.manifest.memory)
    assert line.endswith(f"--memory {report.manifest.memory}")


def test_estimate_is_near_the_measured_memory(zip_path: Path) -> None:
    files = read_zip(zip_path).files
    libraries = [len(content) for name, content in files.items() if ".so" in name]
    model = next(len(content) for name, content in files.items() if name.endswith(".tflite"))
    with actionloop.start_action(zip_path, interpreter()) as running:
        answer = running.run({"image": base64_of(SAMPLE), "details": True})
    measured = answer["details"]["memory"]["rss"] * MB
    assert 1 <= memory.estimate_process(libraries, model, 224 * 224, 1) / measured < 1.5


@pytest.mark.parametrize(("network", "activations"), [("imagenet", 1500), ("colours", 5000)])
def test_memory_does_not_grow_over_activations(
    make_zip: Callable[..., Path],
    colour_labels: Path,
    imagenet_model: str,
    tmp_path: Path,
    network: str,
    activations: int,
    thorough: bool,
) -> None:
    """After the first fifth it grows by at most 1 MB, by the median of samples."""
    model, labels = imagenet_model, ""
    if network == "colours":  # takes no time: the rest of an activation is tried more often
        model = str(ColourModel("uint8").write(tmp_path / "colours.tflite"))
        labels = str(colour_labels)
    broken = [base64_of(SAMPLE.read_bytes()[:9000]), base64_of(b"no picture")]
    pictures = [*map(base64_of, small_pictures()), *broken]
    activations = activations if thorough else activations // 4
    block = activations // 10
    samples: dict[int, list[float]] = {}
    with actionloop.start_action(make_zip(HERE, model, labels), interpreter()) as running:
        statm = Path(f"/proc/{running.pid}/statm")
        for number in range(activations):
            picture = pictures[number % len(pictures)]
            answer = running.run({"image": picture, "details": number % 3 == 0})
            assert ("error" in answer) == (picture in broken)
            if number % 5 == 0:
                rss = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
                samples.setdefault(number // block, []).append(rss / 1e6)
    medians = [statistics.median(each) for each in samples.values()]
    print(f"MB per {block} activations: " + " ".join(f"{median:.2f}" for median in medians))
    assert medians[-1] <= medians[2] + 1


@pytest.mark.parametrize("provider", ["wheels", pytest.param("local", marks=needs_compiled)])
def test_large_pictures_leave_no_memory(
    make_zip: Callable[..., Path], imagenet_model: str, provider: str, thorough: bool
) -> None:
    """Of all formats, in random order: what stays does not depend on the order."""
    pictures = [base64_of(content) for _, content in large_pictures() + hostile.bombs()]
    chooser = random.Random(27)
    archive = make_zip(HERE, imagenet_model, provider=provider)
    with actionloop.start_action(archive, interpreter()) as running:
        status = Path(f"/proc/{running.pid}/status")

        def megabytes(name: str) -> float:
            return int(status.read_text().partition(name)[2].split()[0]) / 1000

        for content in [hostile.png((3400, 3400), 6), *small_pictures(), SAMPLE.read_bytes()]:
            running.run({"image": base64_of(content)})
        first = megabytes("VmRSS:")
        rest = []
        for _ in range(500 if thorough else 100):
            running.run({"image": chooser.choice(pictures)})
            running.run({"image": base64_of(SAMPLE)})
            rest.append(megabytes("VmRSS:"))
        peak = megabytes("VmHWM:")
    print(f"{provider}: {first} MB after one, {max(rest)} later, at most {peak}")
    assert max(rest) < first + 5
    if provider == "local":
        assert peak < 100


@contextmanager
def memory_limit(limit: int) -> Iterator[Path]:
    """Yield a control group with a limit in bytes; skip where none can be made."""
    root = Path("/sys/fs/cgroup")
    second = (root / "cgroup.controllers").exists()
    group = (root if second else root / "memory") / f"classify-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control groups for memory here: {error.strerror}")
    try:
        try:
            name = "memory.max" if second else "memory.limit_in_bytes"
            (group / name).write_text(str(limit))
            with suppress(OSError):  # no swap, as on the platform; not every kernel has this file
                swap = "memory.swap.max" if second else "memory.memsw.limit_in_bytes"
                (group / swap).write_text("0" if second else str(limit))
        except OSError as error:
            pytest.skip(f"no memory limit can be set here: {error.strerror}")
        yield group
    finally:
        for _ in range(50):  # it is busy until its last process is gone
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


@contextmanager
def limited_python(limit: int, folder: Path) -> Iterator[str]:
    """Yield a Python that runs within a memory limit in bytes, from its start."""
    with memory_limit(limit) as group:
        start = folder / f"python-{limit}"
        start.write_text(
            f'#!/bin/sh\necho $$ > {group}/cgroup.procs\nexec {interpreter(HERE)} "$@"\n'
        )
        start.chmod(0o755)
        yield str(start)


def proxy_bytes(archive: Path) -> int:
    """Return the memory of the platform's proxy with a zip."""
    return int(memory.PROXY_BYTES + memory.PROXY_BYTES_PER_ZIP_BYTE * archive.stat().st_size)


@pytest.mark.limits
@needs_compiled
@pytest.mark.parametrize(("kind", "count"), [("portable", 600), ("precompiled", 400)])
def test_1000_pictures_in_128_mb(
    make_zip: Callable[..., Path],
    imagenet_model: str,
    tmp_path: Path,
    kind: str,
    count: int,
    thorough: bool,
) -> None:
    env = IMAGE if kind == "precompiled" else ""
    archive = make_zip(HERE, imagenet_model, provider="local", execution_env=env)
    large = large_pictures()
    assert len(large) >= 8, [name for name, _ in large]
    assert max(len(content) for _, content in large) > 500_000
    rare = [base64_of(content) for _, content in large + hostile.bombs()[:8]]
    small = [*map(base64_of, small_pictures())]
    chooser = random.Random(128)
    count = count if thorough else count // 4
    with (
        limited_python(128 * 2**20 - proxy_bytes(archive), tmp_path) as python,
        actionloop.start_action(archive, python) as running,
    ):
        for name, content in large:
            answer = running.run({"image": base64_of(content)})
            assert "results" in answer, (name, answer)
        failed = 0
        for number in range(count):
            answer = running.run({"image": chooser.choice(small if number % 10 else rare)})
            assert list(answer) in (["results"], ["error"])
            failed += "error" in answer
        assert failed < count * 0.06


def count_classified(
    archive: Path, limit: int, folder: Path, pictures: list[tuple[str, bytes]]
) -> int:
    """Count the pictures that a zip classifies next to the proxy, in a container of `limit` MB."""
    answered = 0
    with limited_python(limit << 20, folder) as python:
        command = [python, "-I", "-S", "-c", HOLD, str(proxy_bytes(archive))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, **pipes) as proxy:  # type: ignore[call-overload]
            try:
                if proxy.stdout.readline() != b"held\n":
                    return 0
                with actionloop.start_action(archive, python) as running:
                    for name, content in pictures:
                        answer = running.run({"image": base64_of(content)})
                        assert "results" in answer, (name, answer)
                        if proxy.poll() is not None:  # killed by the kernel as the largest
                            return answered
                        answered += 1
            except SmokeError:
                assert answered < len(pictures)
            finally:
                proxy.stdin.close()
                proxy.kill()
    return answered


@pytest.mark.limits
@pytest.mark.parametrize(
    "provider",
    [
        pytest.param("wheels", marks=pytest.mark.thorough),
        pytest.param("local", marks=needs_compiled),
    ],
)
def test_limit_is_enough_and_half_of_it_is_not(
    make_zip: Callable[..., Path], imagenet_model: str, tmp_path: Path, provider: str
) -> None:
    # Ready-made wheels do not take such large WebP pictures.
    pictures = [(name, content) for name, content in large_pictures() if "WebP" not in name]
    archive = make_zip(HERE, imagenet_model, provider=provider)
    limit = audit.audit_zip(archive).manifest.memory
    assert limit == (256 if provider == "wheels" else 128)
    assert count_classified(archive, limit, tmp_path, pictures) == len(pictures)
    if limit > memory.LIMITS[0]:
        assert count_classified(archive, limit // 2, tmp_path, pictures) < len(pictures)
