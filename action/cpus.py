"""How many CPUs the function may use: those of its affinity, within the quotas of its cgroups."""

from __future__ import annotations

import os


def count_cpus() -> float:
    """Return how many CPUs this process may use, by its affinity and the quotas of its cgroups."""
    return min(len(os.sched_getaffinity(0)), read_quota())


def read_quota(root: str = "/") -> float:
    """Return how many CPUs the cgroups of this process may use; infinity without a limit.

    In a container, /proc/self/cgroup may have a path of the host. Then the container's own group is
    where the file system is mounted. `root` is the folder of /proc and /sys.
    """
    lowest = float("inf")
    try:
        with open(f"{root}proc/self/cgroup") as file:
            memberships = [line.strip().split(":", 2) for line in file]
    except OSError:
        return lowest
    for _, controllers, path in memberships:
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = f"{root}sys/fs/cgroup" + ("/cpu" if controllers else "")
        for name in ("", *path.strip("/").split("/")):
            group += f"/{name}" if name else ""
            lowest = min(lowest, _read_group_quota(group, version=1 if controllers else 2))
    return lowest


def _read_group_quota(group: str, version: int) -> float:
    """Return the CPUs that a cgroup may use; infinity if it has no limit or is not there."""
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if version == 1 else ("cpu.max",)
    words: list[str] = []
    try:
        for name in names:
            with open(f"{group}/{name}") as file:
                words += file.read().split()
    except OSError:
        return float("inf")
    return float("inf") if words[0] in ("max", "-1") else int(words[0]) / int(words[1])
