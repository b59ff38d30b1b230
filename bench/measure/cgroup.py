"""A control group (cgroup) with a CPU quota, as containers have one; for versions 1 and 2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from builder.base.errors import BuildError

# Microseconds in which a quota may be used up: the kernel's default, and that of docker.
PERIOD = 100_000
MOUNT = Path("/sys/fs/cgroup")


class NoQuotaError(BuildError):
    """No control group with a CPU quota can be made here; the text says why."""


@contextmanager
def new_group(cores: float, mount: Path = MOUNT) -> Iterator[Path]:
    """Make a group with the CPU time of so many cores, and remove it at the end.

    Yields the file that takes the ids of the group's processes. They must end before the block.

    Raises:
        NoQuotaError: this machine has no such groups, or lets us make none.
    """
    # Version 1 has a folder for each controller.
    is_version_1 = (mount / "cpu").exists()
    top = mount / "cpu" if is_version_1 else mount
    folder = top / f"classify-bench-{os.getpid()}"
    with ExitStack() as undo:
        try:
            control = top / "cgroup.subtree_control"
            if not is_version_1 and "cpu" not in control.read_text().split():
                control.write_text("+cpu")
                undo.callback(control.write_text, "-cpu")
            folder.mkdir()
            undo.callback(folder.rmdir)
            quota = folder / ("cpu.cfs_quota_us" if is_version_1 else "cpu.max")
            quota.write_text(str(round(cores * PERIOD)))
        except OSError as error:
            raise NoQuotaError(
                f"no writable cgroup with CPU quota: {top}: {error.strerror or error}",
                "run it as root on the machine itself, or in a container with --privileged",
            ) from error
        yield folder / "cgroup.procs"
