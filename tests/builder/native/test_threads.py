"""The worker threads' protocol: every item once, and no caller waits for a worker without a CPU."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from builder.native.steps import BuildFolder
from builder.native.xnnpack import kernel_tests

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> BuildFolder:
    return BuildFolder(tmp_path_factory.mktemp("threads"), 1)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_protocol_has_no_data_race(folder: BuildFolder, workers: str) -> None:
    program = kernel_tests.build_threads(folder)
    done = subprocess.run([program, "20000", workers], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert " 0 of " not in done.stdout  # workers did some of the items


def test_competing_and_stopped_processes_finish(folder: BuildFolder) -> None:
    program = kernel_tests.build_threads(folder, sanitizer="")
    command = [str(program), "25000", "1"]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
    numbers = random.Random(2018)
    deadline = time.monotonic() + 300
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        process = numbers.choice(running)
        process.send_signal(signal.SIGSTOP)
        time.sleep(numbers.random() / 1000)
        process.send_signal(signal.SIGCONT)
    for process in running:
        process.kill()
    assert [process.wait() for process in running] == [0] * 4


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("if (ticket_spin(ticket, DONE)) {", "if (true) {"),  # does not wait
        ("word - ENTERED + DONE", "word"),  # waits for ever
    ],
)
def test_a_broken_protocol_is_noticed(
    folder: BuildFolder, tmp_path: Path, right: str, wrong: str
) -> None:
    broken = tmp_path / "threads"
    shutil.copytree(kernel_tests.THREADS, broken)
    source = (broken / "ticket.h").read_text()
    assert right in source
    (broken / "ticket.h").write_text(source.replace(right, wrong))
    program = kernel_tests.build_threads(folder, broken)
    try:
        done = subprocess.run([program, "3000", "2"], capture_output=True, timeout=20)
    except subprocess.TimeoutExpired:
        return
    assert done.returncode != 0
