"""Control groups with a CPU quota, in real processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.measure import cgroup
from bench.peers.peer import Peer

# Takes 20 ms of CPU time.
BUSY = """\
import time
def main(params):
    began = time.process_time()
    while time.process_time() - began < 0.02:
        pass
    return {}
"""


@pytest.fixture
def can_set_quota() -> None:
    """Skip where no group can be made."""
    try:
        with cgroup.new_group(1):
            pass
    except cgroup.NoQuotaError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("can_set_quota")
def test_quota_limits_cpu_time(make_peer: Callable[[str, str], Peer]) -> None:
    busy = make_peer("busy", BUSY)
    with cgroup.new_group(0.2) as group:
        limited = replace(busy, executable=group.wrap_executable(busy.executable))
        with limited.launched() as action:
            began = time.monotonic()
            for _ in range(10):
                action.run({})
    # 200 ms at 0.2 of a CPU, less a period's quota.
    assert time.monotonic() - began > 0.7


@pytest.mark.usefixtures("can_set_quota")
def test_group_is_removed_with_its_processes(make_peer: Callable[[str, str], Peer]) -> None:
    source = "import os, time\nif not os.fork():\n    os.close(3)\n    time.sleep(60)\n"
    forks = make_peer("forks", source + "def main(params): return {}\n")
    with pytest.raises(KeyboardInterrupt), cgroup.new_group(1) as group:
        executable = group.wrap_executable(forks.executable)
        with replace(forks, executable=executable).launched() as action:
            assert action.run({}) == {}
        [left] = (group.folder / "cgroup.procs").read_text().split()
        raise KeyboardInterrupt
    assert not group.folder.exists()
    status = Path(f"/proc/{left}/status")  # a zombie until its parent asks for it
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_parent_groups_of_version_1_and_2(tmp_path: Path) -> None:
    both = "2:cpu,cpuacct:/a\n1:memory:/x\n0::/b\n"
    assert cgroup.parent_groups(both, tmp_path) == [tmp_path / "cpu/a", tmp_path / "cpu"]
    (tmp_path / "cgroup.controllers").touch()
    assert cgroup.parent_groups("0::/b\n", tmp_path) == [tmp_path / "b", tmp_path]


def test_reason_without_writable_group(tmp_path: Path) -> None:
    with (
        pytest.raises(cgroup.NoQuotaError, match="no writable cgroup with CPU quota: .*No such"),
        cgroup.new_group(1, [tmp_path / "none"]),
    ):
        pass
