"""Control groups with a CPU quota, in real processes."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import pytest

from bench.measure import cgroup
from builder.artifact.actionloop import start_action
from tests.conftest import HERE, interpreter

# Takes 20 ms of CPU time.
BUSY = """\
import time
def main(params):
    began = time.process_time()
    while time.process_time() - began < 0.02:
        pass
    return {}
"""


def test_quota_limits_cpu_time(tmp_path: Path) -> None:
    busy = tmp_path / "busy.zip"
    with zipfile.ZipFile(busy, "w") as zipped:
        zipped.writestr("__main__.py", BUSY)
    try:
        with cgroup.new_group(0.2) as processes, start_action(busy, interpreter(HERE)) as action:
            processes.write_text(str(action.pid))
            began = time.monotonic()
            for _ in range(10):
                action.run({})
            took = time.monotonic() - began
    except cgroup.NoQuotaError as error:
        pytest.skip(str(error))
    assert took > 0.7  # 200 ms at 0.2 of a CPU, less a period's quota
    assert not processes.parent.exists()


def test_reason_without_writable_group(tmp_path: Path) -> None:
    with (
        pytest.raises(cgroup.NoQuotaError, match="no writable cgroup with CPU quota: .*No such"),
        cgroup.new_group(1, tmp_path / "none"),
    ):
        pass
