"""Files appear complete or not at all; what only one may make has one maker at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.base import files
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from tests.support.special import KINDS, make_special

PRELUDE = """
import sys, time
from pathlib import Path
from builder.base import files
target = Path(sys.argv[1])
"""
WRITES = """
with files.atomic_write(target) as part:
    print("ready", flush=True)
    time.sleep(60)
"""


@contextmanager
def process(script: str, target: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a script that prints "ready" once it has begun."""
    command = [sys.executable, "-c", PRELUDE + script, str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        yield started


@pytest.mark.parametrize("kind", KINDS)
def test_only_files_are_replaced(tmp_path: Path, kind: str) -> None:
    path = make_special(tmp_path, kind)
    before = os.lstat(path)
    there = sorted(tmp_path.iterdir())
    with pytest.raises(BuildError, match=f"cannot write {path}: expected a file or nothing there"):
        with files.atomic_write(path) as part:
            part.write_bytes(b"new")
    assert os.lstat(path).st_ino == before.st_ino
    assert sorted(tmp_path.iterdir()) == there


def test_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("deep/file")
    with files.atomic_write(link) as part:
        part.write_bytes(b"new")
    assert os.readlink(link) == "deep/file"
    assert (tmp_path / "deep" / "file").read_bytes() == b"new"


def test_folder_replaces_another_and_modes_follow_the_umask(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    before = os.umask(0o027)
    try:
        with files.atomic_write(file) as part:
            part.write_bytes(b"")
        with files.temporary_folder(folder) as made:
            (made / "new").touch()
            files.move_into_place(made, folder)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (file, folder)] == [0o640, 0o750]
    assert sorted(tmp_path.rglob("*")) == [file, folder, folder / "new"]


def test_concurrent_writers_leave_one_complete_file(tmp_path: Path) -> None:
    target = tmp_path / "file"

    def write(letter: bytes) -> None:
        for _ in range(30):
            with files.atomic_write(target) as part:
                part.write_bytes(letter * 100_000)

    letters = [bytes([65 + number]) for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, letters))
    assert target.read_bytes() in [letter * 100_000 for letter in letters]
    assert list(tmp_path.iterdir()) == [target]


def test_no_temp_file_after_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes just after the folder was made."""

    def interrupt(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(fcntl, "flock", interrupt)
    with pytest.raises(KeyboardInterrupt), files.atomic_write(tmp_path / "a"):
        pytest.fail("it began")
    assert list(tmp_path.iterdir()) == []


def test_file_is_written_where_folders_have_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EBADF, "as on NFS")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with files.atomic_write(tmp_path / "a") as part:
        part.write_bytes(b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_part_of_a_killed_writer_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    target = tmp_path / "a[1].zip"
    with process(WRITES, target) as dead, process(WRITES, target) as living:
        assert len(list(tmp_path.iterdir())) == 2
        dead.kill()
        dead.wait()
        with files.atomic_write(target) as part:
            part.write_bytes(b"new")
        left = [path for path in tmp_path.iterdir() if path != target]
        assert len(left) == 1
        living.kill()
        living.wait()
    with files.atomic_write(target):
        pass
    assert list(tmp_path.iterdir()) == [target]


def test_named_pipe_beside_a_target_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".x.zip.a.part")
    with files.atomic_write(tmp_path / "x.zip"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".x.zip.a.part", "x.zip"}


def test_lock_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / ".target.lock").symlink_to("victim")
    with (
        pytest.raises(BuildError, match="cannot write"),
        files.lock(tmp_path / "target", "x", print),
    ):
        pass
    assert (tmp_path / "victim").read_text() == "kept"


def test_only_one_holds_the_lock(tmp_path: Path) -> None:
    inside, most, entered = 0, 0, 0

    def work(_: int) -> None:
        nonlocal inside, most, entered
        for _ in range(50):
            with files.lock(tmp_path / "it", "counting", lambda text: None):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0002)
                entered += 1
                inside -= 1

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert (most, entered) == (1, 200)
    assert not list(tmp_path.iterdir())


def test_inherited_lock_is_waited_for_until_a_killed_owners_child_ends(tmp_path: Path) -> None:
    """A compiler that goes on when its build was killed is waited for as well."""
    target = tmp_path / "it"
    script = (
        "import subprocess\n"
        "with files.lock(target, 'testing', print, inherited=True):\n"
        "    child = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
        "    Path(sys.argv[1] + '.pid').write_text(str(child.pid))\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )

    texts: list[str] = []

    def wait() -> None:
        with files.lock(target, "waiting", texts.append):
            pass

    with process(script, target) as owner, ThreadPoolExecutor() as threads:
        child = int(target.with_name("it.pid").read_text())
        owner.kill()
        owner.wait()
        waiting = threads.submit(wait)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        os.kill(child, signal.SIGKILL)
        waiting.result(20)
    assert texts == [f"waiting: process {owner.pid} is testing (it)"]


@pytest.mark.parametrize(
    ("number", "hint"),
    [(28, "free some space"), (122, "free some space"), (30, "make it"), (13, "make it")],
)
def test_hint_fits_the_write_error(number: int, hint: str) -> None:
    error = files.write_error(Path("/a/b"), OSError(number, os.strerror(number)))
    assert str(error) == f"cannot write /a/b: {os.strerror(number)}"
    assert error.hint.startswith(hint)
    assert "--work DIR" in error.hint


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a"
    for writing in (
        files.atomic_write(path),
        files.temporary_folder(path),
        files.lock(path, "testing", print),
    ):
        with pytest.raises(BuildError, match=f"cannot write {path}: "), writing:
            pass


@pytest.mark.parametrize("damage", [b"", b"short", bytes(40), None])
def test_damaged_cache_file_is_made_again(tmp_path: Path, damage: bytes | None) -> None:
    path, made = tmp_path / "kept" / "it", []

    def make() -> bytes:
        made.append(1)
        return b"content"

    assert [files.cached(path, make), files.cached(path, make)] == [b"content"] * 2
    assert len(made) == 1
    path.write_bytes(path.read_bytes()[:-1] + b"T" if damage is None else damage)
    assert [files.cached(path, make), files.cached(path, make)] == [b"content"] * 2
    assert len(made) == 2
