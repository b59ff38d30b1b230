"""A control group (cgroup) with a CPU quota, as containers have one; for versions 1 and 2."""

from __future__ import annotations

import os
import shlex
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from builder.base.errors import BuildError

# Microseconds in which a quota may be used up, as docker and Kubernetes set it.
PERIOD = 100_000
MOUNT = Path("/sys/fs/cgroup")


class NoQuotaError(BuildError):
    """No control group with a CPU quota can be made here; the text says why."""


@dataclass(frozen=True)
class Group:
    """A control group in a folder of the kernel's; `scratch` is a folder for scripts."""

    folder: Path
    scratch: Path

    def set_quota(self, cores: float) -> None:
        """Limit the group to the CPU time of so many cores; raises OSError."""
        quota = round(cores * PERIOD)
        if (self.folder / "cpu.cfs_quota_us").exists():  # version 1
            (self.folder / "cpu.cfs_period_us").write_text(str(PERIOD))
            (self.folder / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (self.folder / "cpu.max").write_text(f"{quota} {PERIOD}")

    def wrap_executable(self, path: str) -> str:
        """Return a script that joins the group, then becomes the executable.

        It keeps the process's id. The shell's own start, a millisecond, is not under the quota.
        """
        script = self.scratch / f"{Path(path).name}-in-group"
        procs = shlex.quote(str(self.folder / "cgroup.procs"))
        script.write_text(f'#!/bin/sh\necho $$ > {procs} || exit\nexec {shlex.quote(path)} "$@"\n')
        script.chmod(0o755)
        return str(script)

    def remove(self) -> None:
        """Kill the processes that are left in the group, and remove it."""
        for _ in range(50):  # it is busy until its last process has ended
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                for pid in (self.folder / "cgroup.procs").read_text().split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                time.sleep(0.1)
            else:
                return
        raise BuildError(f"{self.folder} could not be removed: a process is left in it")


def parent_groups(membership: str, mount: Path = MOUNT) -> list[Path]:
    """Return the folders in which a group with a CPU quota may be made: our own group, the top.

    `membership` is the text of /proc/self/cgroup.
    """
    folders = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):  # version 1
            folders += [mount / "cpu" / path.lstrip("/"), mount / "cpu"]
        elif not controllers and (mount / "cgroup.controllers").exists():  # version 2
            folders += [mount / path.lstrip("/"), mount]
    return folders


@contextmanager
def new_group(cores: float, parents: Sequence[Path] | None = None) -> Iterator[Group]:
    """Make a group with a quota; at the end kill the processes left in it and remove it.

    Without `parents`, it is made in this process's own group, else at the top.

    Raises:
        NoQuotaError: this machine has no such groups, or lets us make none.
    """
    if parents is None:
        parents = parent_groups(Path("/proc/self/cgroup").read_text())
    reasons = [] if parents else ["no group is mounted"]
    for parent in parents:
        with ExitStack() as undo:
            scratch = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="group-")))
            group = Group(parent / f"classify-bench-{os.getpid()}", scratch)
            try:
                control = parent / "cgroup.subtree_control"  # version 2 only
                if control.exists() and "cpu" not in control.read_text().split():
                    control.write_text("+cpu")
                    undo.callback(control.write_text, "-cpu")
                undo.callback(group.remove)
                group.folder.mkdir()
                group.set_quota(cores)
            except OSError as error:
                reasons.append(f"{parent}: {error.strerror or error}")
                continue
            yield group
            return
    raise NoQuotaError(
        "no writable cgroup with CPU quota: " + "; ".join(reasons),
        "run it as root on the machine itself, or in a container with --privileged",
    )
