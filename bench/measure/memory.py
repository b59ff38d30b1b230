"""The memory of a process, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

from bench.results import Memory


def read_memory(pid: int) -> Memory:
    """Return a process's memory and its peak so far; raises OSError or KeyError if it has ended."""
    now = _read_kilobytes(f"/proc/{pid}/smaps_rollup")
    peak = _read_kilobytes(f"/proc/{pid}/status")["VmHWM"]
    return Memory(resident=now["Rss"], private=now["Anonymous"], peak=peak)


def _read_kilobytes(path: str) -> dict[str, int]:
    """Return the kernel's `Name:  123 kB` lines, in bytes."""
    fields = (line.split() for line in Path(path).read_text().splitlines())
    return {each[0][:-1]: int(each[1]) * 1024 for each in fields if each[2:] == ["kB"]}
