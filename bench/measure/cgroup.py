"""A quota of CPU for a measurement: a control group (cgroup) of our own, as containers have one."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from builder.base.errors import BuildError

PERIOD = 100_000
"""In which a quota may be used up, in microseconds: what docker and Kubernetes set."""

_PROC = Path("/proc/self")
_JOIN = 'echo $$ > "$0"'


class NoQuota(BuildError):
    """No control group with a CPU quota can be made here; the text says why."""


@dataclass(frozen=True)
class Hierarchy:
    """Where groups with a CPU quota are.

    Attributes:
        version: of the interface: 1 or 2.
        folders: this process's own group, then those around it, up to where they are mounted.
    """

    version: int
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Group:
    """A group that holds what is started through its interpreter.

    Attributes:
        version: of the interface.
        folder: the group.
        scratch: folder for scripts.
    """

    version: int
    folder: Path
    scratch: Path

    def limit(self, cores: float) -> None:
        """Let the group use as much CPU as so many cores have; raises OSError if it may not."""
        quota = round(cores * PERIOD)
        if self.version == 2:
            (self.folder / "cpu.max").write_text(f"{quota} {PERIOD}")
        else:
            (self.folder / "cpu.cfs_period_us").write_text(str(PERIOD))
            (self.folder / "cpu.cfs_quota_us").write_text(str(quota))

    def interpreter(self, path: str) -> str:
        """A script in the place of the interpreter `path`, which joins the group before it starts.

        It keeps the process's id. The shell's own start, a millisecond, is not under the quota.
        """
        script = self.scratch / f"{Path(path).name}-in-group"
        procs = shlex.quote(str(self.folder / "cgroup.procs"))
        script.write_text(f'#!/bin/sh\necho $$ > {procs} || exit\nexec {shlex.quote(path)} "$@"\n')
        script.chmod(0o755)
        return str(script)


def hierarchy(mountinfo: str, membership: str) -> Hierarchy | None:
    """Find the groups with a CPU quota, or None, as proc(5) and cgroups(7) describe the files.

    Args:
        mountinfo: the text of /proc/self/mountinfo.
        membership: the text of /proc/self/cgroup.
    """
    own = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    mounts: dict[int, tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        root, point = left.split()[3:5]
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup" and "cpu" in options.split(","):
            mounts.setdefault(1, (root, point))
        elif kind == "cgroup2":
            mounts.setdefault(2, (root, point))
    # A controller is in one of the two: where both are mounted and version 1 has it, version 2
    # has not.
    for version, controller in ((1, "cpu"), (2, "")):
        if version in mounts and controller in own:
            root, point = mounts[version]
            return Hierarchy(version, _upwards(Path(point), root, own[controller]))
    return None


def _upwards(point: Path, root: str, own: str) -> tuple[Path, ...]:
    """The folders from `own`, a group's path, to where the group `root` is mounted."""
    path = PurePosixPath(own)
    inside = path.is_relative_to(root) and ".." not in path.parts  # else in another namespace
    relative = path.relative_to(root) if inside else PurePosixPath()
    return tuple(point / each for each in (relative, *relative.parents))


@contextmanager
def limited(groups: Hierarchy | None = None) -> Iterator[Group]:
    """A new group, which is removed in the end, with all processes that are left in it.

    Args:
        groups: where to make it; by default as this process's own files say.

    Raises:
        NoQuota: this machine has no such groups, or lets us make none.
    """
    if groups is None and (_PROC / "cgroup").exists():
        texts = [(_PROC / name).read_text() for name in ("mountinfo", "cgroup")]
        groups = hierarchy(*texts)
    if groups is None:
        raise NoQuota("no writable cgroup with CPU quota: none is mounted")
    reasons = []
    for parent in groups.folders:
        with ExitStack() as undo:
            scratch = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="group-")))
            group = Group(groups.version, parent / f"classify-bench-{os.getpid()}", scratch)
            try:
                _make(group, undo)
            except OSError as error:
                reasons.append(f"{parent}: {error.strerror or error}")
                continue
            yield group
            return
    raise NoQuota(
        "no writable cgroup with CPU quota: " + "; ".join(reasons),
        "run it as root on the machine itself, or in a container with --privileged",
    )


def _make(group: Group, undo: ExitStack) -> None:
    """Make the group and see that it takes a quota and a process; raises OSError if not."""
    parent = group.folder.parent
    if group.version == 2:
        if "cpu" not in (parent / "cgroup.controllers").read_text().split():
            raise OSError("has no control over CPU")
        control = parent / "cgroup.subtree_control"
        if "cpu" not in control.read_text().split():
            control.write_text("+cpu")
            undo.callback(control.write_text, "-cpu")
    undo.callback(_remove, group.folder)
    group.folder.mkdir()
    group.limit(1)
    command = ["sh", "-c", _JOIN, str(group.folder / "cgroup.procs")]
    joined = subprocess.run(command, capture_output=True, text=True)
    if joined.returncode:
        raise OSError(f"no process can join: {joined.stderr.strip()}")


def _remove(folder: Path) -> None:
    for _ in range(50):  # it is busy until its last process is gone
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            for pid in (folder / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.1)
        else:
            return
    raise BuildError(f"{folder} could not be removed: a process is left in it")
