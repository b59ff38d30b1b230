"""Files appear complete or not at all; what only one may make has one maker at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

import pytest

from builder.base import files
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from tests.support.special import KINDS, make_special


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
        for _ in range(250):
            with files.atomic_write(target) as part:
                part.write_bytes(letter * 100_000)

    letters = [bytes([65 + number]) for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, letters))
    assert target.read_bytes() in [letter * 100_000 for letter in letters]
    assert list(tmp_path.iterdir()) == [target]


def test_part_of_a_killed_writer_goes_after_a_day(tmp_path: Path) -> None:
    killed, living, pipe = (tmp_path / f".a[1].zip.{name}.part" for name in ("k", "l", "p"))
    killed.mkdir()
    living.mkdir()
    os.mkfifo(pipe)
    for path in (killed, pipe):
        os.utime(path, (0, 0))
    with pytest.raises(KeyboardInterrupt), files.atomic_write(tmp_path / "a[1].zip"):
        raise KeyboardInterrupt
    assert {*tmp_path.iterdir()} == {living, pipe}


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


def test_inherited_lock_is_waited_for_until_a_killed_owners_child_ends(tmp_path: Path) -> None:
    """A compiler that goes on when its build was killed is waited for as well."""
    script = (
        "import pathlib, subprocess, sys, time\n"
        "from builder.base import files\n"
        "with files.lock(pathlib.Path(sys.argv[1]), 'testing', print, inherited=True):\n"
        "    print(subprocess.Popen(['sleep', '60'], close_fds=False).pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    texts: list[str] = []

    def wait() -> None:
        with files.lock(tmp_path / "it", "testing", texts.append):
            pass

    command = [sys.executable, "-c", script, str(tmp_path / "it")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        child = int(owner.stdout.readline())
        owner.kill()
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(wait)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        os.kill(child, signal.SIGKILL)
        waiting.result(20)
    assert texts == ["waiting: another process is testing (it)"]


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
