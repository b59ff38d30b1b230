"""The memory that a build says its zip needs, held against a real limit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from builder.artifact import actionloop, audit, memory
from builder.artifact.smoke import SAMPLE
from builder.base.archive import read_zip
from builder.base.errors import SmokeError
from builder.report import commands
from tests.action.test_hostile import large_pictures, memory_limit
from tests.conftest import HERE, base64_of, interpreter

MB = 1_000_000
HOLD = """\
import sys
held = bytearray(int(sys.argv[1]))
for at in range(0, len(held), 4096):
    held[at] = 1
print("held", flush=True)
sys.stdin.read()
"""
"""Stands for the proxy: has so many bytes in memory until its input ends."""


@pytest.mark.parametrize(
    ("zip_bytes", "process_bytes", "wanted"),
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
def test_the_next_step(zip_bytes: float, process_bytes: float, wanted: int) -> None:
    assert memory.choose_limit(int(zip_bytes), process_bytes) == wanted


def test_what_the_manifest_says(zip_path: Path) -> None:
    report = audit.audit_zip(zip_path)
    assert json.loads(read_zip(zip_path).files["manifest.json"])["memory"] == report.manifest.memory
    assert report.manifest.memory in memory.LIMITS
    assert report.manifest.memory << 20 > 4 * report.bytes
    [line, _] = commands(zip_path, report.manifest.pythons, memory=report.manifest.memory)
    assert line.endswith(f"--memory {report.manifest.memory}")


def test_the_estimate_is_near_what_is_measured(zip_path: Path) -> None:
    files = read_zip(zip_path).files
    libraries = [len(content) for name, content in files.items() if ".so" in name]
    model = next(len(content) for name, content in files.items() if name.endswith(".tflite"))
    with actionloop.start_action(zip_path, interpreter()) as running:
        answer = running.run({"image": base64_of(SAMPLE), "details": True})
    measured = answer["details"]["memory"]["rss"] * MB
    assert 1 <= memory.estimate_process(libraries, model, 224 * 224, 1) / measured < 1.5


@cache
def pictures() -> list[tuple[str, bytes]]:
    """The largest; but ready-made wheels take no such WebP."""
    return [(name, content) for name, content in large_pictures() if "WebP" not in name]


def classified(archive: Path, limit: int, tmp_path: Path) -> int:
    """How many large pictures the zip classifies in a container of so many MB, beside the proxy."""
    beside = memory.PROXY_BYTES + memory.PROXY_BYTES_PER_ZIP_BYTE * archive.stat().st_size
    answered = 0
    with memory_limit(limit << 20) as group:
        start = tmp_path / f"python-{limit}"
        start.write_text(
            f'#!/bin/sh\necho $$ > {group}/cgroup.procs\nexec {interpreter(HERE)} "$@"\n'
        )
        start.chmod(0o755)
        command = [str(start), "-I", "-S", "-c", HOLD, str(int(beside))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, **pipes) as proxy:  # type: ignore[call-overload]
            try:
                if proxy.stdout.readline() != b"held\n":
                    return 0
                with actionloop.start_action(archive, str(start)) as running:
                    for name, content in pictures():
                        answer = running.run({"image": base64_of(content)})
                        assert "results" in answer, (name, answer)
                        if proxy.poll() is not None:  # whom the kernel ended: it has the most
                            return answered
                        answered += 1
            except SmokeError:
                assert answered < len(pictures())
            finally:
                proxy.stdin.close()
                proxy.kill()
    return answered


@pytest.mark.limits
@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
@pytest.mark.parametrize("provider", [pytest.param("wheels", marks=pytest.mark.thorough), "local"])
def test_the_least_memory_is_enough_and_less_is_not(
    make_zip: Callable[..., Path], imagenet_model: str, tmp_path: Path, provider: str
) -> None:
    from builder.packages import DEFAULT_OPTIONS, compiled

    if provider == "local" and not compiled.is_cached(HERE, DEFAULT_OPTIONS):
        pytest.skip(f"nothing compiled for Python {HERE}")
    archive = make_zip(HERE, imagenet_model, provider=provider)
    needed = audit.audit_zip(archive).manifest.memory
    assert needed == (256 if provider == "wheels" else 128)
    assert classified(archive, needed, tmp_path) == len(pictures())
    if needed > memory.LIMITS[0]:
        assert classified(archive, needed // 2, tmp_path) == 0
