"""Throughput, CPU quotas and sizes of pictures, with functions of a few lines in real processes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.measure import cgroup
from bench.measure import processes as scaling
from bench.peers import peer as peers
from bench.peers.peer import Peer
from bench.results import Scaling
from builder.base.errors import BuildError
from tests.conftest import interpreter
from tests.support.models import ColourModel

BUSY = """\
import time

def main(params):
    began = time.process_time()
    while time.process_time() - began < 0.02:
        pass
    return {}
"""
"""Takes 20 ms of CPU, however long that is."""
PICTURE = b"a picture, as far as these functions care"
GROUP = f"classify-bench-{os.getpid()}"


def silent(_text: str) -> None:
    """No progress."""


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str, str], Peer]:
    """A peer from the source of its action."""

    def peer(name: str, source: str) -> Peer:
        archive = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("__main__.py", source)
        return Peer(name, archive, interpreter())

    return peer


@pytest.fixture
def folder() -> Path:
    """Where a group is made; skips where none can be."""
    try:
        with cgroup.limited() as group:
            return group.folder
    except cgroup.NoQuota as error:
        pytest.skip(str(error))


# Throughput.


def test_throughput_per_number_of_containers(make: Callable[[str, str], Peer]) -> None:
    found = Scaling()
    said: list[str] = []
    both = [make("hello", peers.HELLO), make("busy", BUSY)]
    scaling.processes(both, PICTURE, found, said.append, seconds=0.2, rounds=2, cores=3)
    hello, busy = (found.processes[name] for name in ("hello", "busy"))
    assert [each.processes for each in hello] == [each.processes for each in busy] == [1, 2, 3]
    assert all(each.per_second > 200 for each in hello)
    assert 0 < busy[0].per_second <= 50  # one process, 20 ms of CPU each
    assert all(each.per_second <= 50 * each.processes for each in busy)
    assert len(said) == 2 * 3 * 2


def test_what_was_measured_before_an_interrupt_is_kept(make: Callable[[str, str], Peer]) -> None:
    found = Scaling()
    turns: list[str] = []

    def stop(text: str) -> None:
        turns.append(text)
        if len(turns) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hello = make("hello", peers.HELLO)
        scaling.processes([hello], PICTURE, found, stop, seconds=0.1, rounds=1, cores=2)
    assert [each.processes for each in found.processes["hello"]] == [1]


def test_a_peer_that_fails_is_not_timed(make: Callable[[str, str], Peer]) -> None:
    wrong = make("wrong", 'def main(params): return {"error": "no such picture"}\n')
    with pytest.raises(BuildError, match="wrong: expected an answer, found .*no such picture"):
        scaling.processes([wrong], PICTURE, Scaling(), silent, seconds=0.1, rounds=1, cores=1)


# Quota.


@pytest.mark.usefixtures("folder")
def test_half_the_quota_takes_twice_as_long(make: Callable[[str, str], Peer]) -> None:
    shares = (0.2, 0.4)
    for _ in range(3):  # on a busy machine the larger share may not be to be had
        found = Scaling()
        busy = make("busy", BUSY)
        scaling.quota([busy], PICTURE, found, silent, seconds=1, starts=2, shares=shares)
        small, large = found.quota["busy"]
        assert [small.cores, large.cores] == [0.2, 0.4]
        assert small.init > 0
        assert small.mean > 80  # 20 ms by 0.2, less what the first period lends
        assert small.p90 >= small.median >= 20
        if 1.5 < small.mean / large.mean < 2.7:
            break
    else:
        pytest.fail(f"expected about twice the time, found {found}")


def test_the_start_is_under_the_quota(make: Callable[[str, str], Peer], folder: Path) -> None:
    where = make(
        "where", 'own = open("/proc/self/cgroup").read()\ndef main(_): return {"own": own}'
    )
    with cgroup.limited() as group:
        inside = Peer("where", where.archive, group.interpreter(where.interpreter))
        with inside.launched() as action:
            assert folder.name in action.run({})["own"]
            assert str(action.pid) in (folder / "cgroup.procs").read_text().split()


@pytest.mark.parametrize("end", [None, BuildError("it failed"), KeyboardInterrupt()])
def test_the_group_is_removed(
    make: Callable[[str, str], Peer], folder: Path, end: BaseException | None
) -> None:
    def progress(_text: str) -> None:
        assert folder.is_dir()
        if end:
            raise end

    def measure() -> None:
        hello = make("hello", peers.HELLO)
        scaling.quota([hello], PICTURE, Scaling(), progress, seconds=0.01, starts=1, shares=(1,))

    if end:
        with pytest.raises(type(end)):
            measure()
    else:
        measure()
    assert not folder.exists()


def test_the_group_is_removed_with_what_is_left_in_it(
    make: Callable[[str, str], Peer], folder: Path
) -> None:
    source = (
        "import os, time\nif not os.fork():\n    os.close(3)\n    time.sleep(60)\n"
        "def main(params): return {}\n"
    )
    forks = make("forks", source)
    with cgroup.limited() as group:
        inside = Peer("forks", forks.archive, group.interpreter(forks.interpreter))
        with inside.launched() as action:
            assert action.run({}) == {}
        [left] = (folder / "cgroup.procs").read_text().split()
    assert not folder.exists()
    status = Path(f"/proc/{left}/status")  # gone, or a zombie until its parent asks for it
    assert not status.exists() or "State:\tZ" in status.read_text()


FIRST = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs  rw,mode=755
32 31 0:29 {root} /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
"""
SECOND = "41 31 0:38 / {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
UNIFIED = SECOND.format(point="/sys/fs/cgroup")
HYBRID = SECOND.format(point="/sys/fs/cgroup/unified") + FIRST.format(root="/")


@pytest.mark.parametrize(
    ("mountinfo", "membership", "version", "folders"),
    [
        # Version 1: on top, below it, and in docker, which mounts no more than our own group.
        (FIRST.format(root="/"), "2:cpu,cpuacct:/\n1:memory:/x\n", 1, ["cpu"]),
        (FIRST.format(root="/"), "2:cpu,cpuacct:/a/b\n", 1, ["cpu/a/b", "cpu/a", "cpu"]),
        (FIRST.format(root="/docker/1"), "2:cpu,cpuacct:/docker/1\n", 1, ["cpu"]),
        # Version 2: under systemd; in a namespace of our own; in one that our group is not in.
        (UNIFIED, "0::/user.slice/a.scope\n", 2, ["user.slice/a.scope", "user.slice", ""]),
        (UNIFIED, "0::/\n", 2, [""]),
        (UNIFIED, "0::/../b.scope\n", 2, [""]),
        # Both are mounted, and version 1 has the CPU.
        (HYBRID, "2:cpu,cpuacct:/a\n0::/b\n", 1, ["cpu/a", "cpu"]),
    ],
)
def test_where_groups_are(
    mountinfo: str, membership: str, version: int, folders: list[str]
) -> None:
    found = cgroup.hierarchy(mountinfo, membership)
    assert found == cgroup.Hierarchy(
        version, tuple(Path("/sys/fs/cgroup", each) for each in folders)
    )


def test_where_no_groups_are(tmp_path: Path) -> None:
    memory = FIRST.format(root="/").replace("cpu,cpuacct", "blkio")
    assert cgroup.hierarchy(memory, "1:blkio:/\n") is None
    assert cgroup.hierarchy("", "0::/\n") is None
    # As where cgroup.subtree_control is not ours, or is not there.
    for version in (1, 2):
        with pytest.raises(cgroup.NoQuota, match="no writable cgroup with CPU quota: .*No such"):
            with cgroup.limited(cgroup.Hierarchy(version, (tmp_path / "none",))):
                pass
    assert not list(tmp_path.iterdir())


def test_a_quota_in_version_2_s_words(tmp_path: Path) -> None:
    cgroup.Group(2, tmp_path, tmp_path).limit(0.25)
    assert (tmp_path / "cpu.max").read_text() == "25000 100000"


# Megapixels.


def test_by_size_of_the_picture(
    tmp_path: Path, colour_zip: Callable[..., Path], make: Callable[[str, str], Peer]
) -> None:
    ours = Peer("this zip", colour_zip(ColourModel()), interpreter())
    dies = make("dies", "import os\ndef main(params): os._exit(3)\n")
    found = Scaling()
    sizes = ((500, 375), (2000, 1500))
    scaling.megapixels([ours, dies], found, silent, activations=5, sizes=sizes)
    ours_rows, dead_rows = (found.megapixels[name] for name in ("this zip", "dies"))
    assert [each.megapixels for each in ours_rows] == [0.2, 3.0]
    assert all(each.bytes <= scaling.PAYLOAD for each in ours_rows)
    small, large = ours_rows
    assert small.median is not None and large.median is not None and small.peak is not None
    assert 0 < small.median < large.median < 10_000
    assert 5e6 < small.peak < 1e9
    for each, other in zip(ours_rows, dead_rows, strict=True):
        assert each.problem == ""
        assert (other.megapixels, other.bytes) == (each.megapixels, each.bytes)
        assert other.median is None and other.peak is None
        assert "exit status 3" in other.problem
