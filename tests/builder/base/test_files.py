"""What is written appears whole or not at all; what only one may make has one maker at a time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from builder.base import files
from builder.base.errors import BuildError
from builder.base.paths import ROOT


def special(folder: Path, kind: str) -> Path:
    """Something that is no file, at `folder / "it"`."""
    path = folder / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "link to nothing":
        path.symlink_to(folder / "nothing")
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "link to a link to a device":
        (folder / "other").symlink_to(os.devnull)
        path.symlink_to(folder / "other")
    elif kind == "device":
        try:
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("making a device takes root")
    else:
        target = folder / "target"
        target.mkdir()
        path.symlink_to({"link to a device": Path(os.devnull)}.get(kind, target))
    return path


KINDS = (
    *("device", "folder", "pipe", "socket", "link to a device", "link to a folder"),
    *("link to a link to a device", "link to nothing", "link to itself"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = special(tmp_path, kind)
    before = os.lstat(path)
    there = sorted(tmp_path.iterdir())
    with pytest.raises(BuildError, match=f"cannot write {path}: expected a file or nothing there"):
        with files.atomic_write(path) as part:
            part.write_bytes(b"new")
    assert os.lstat(path).st_ino == before.st_ino
    assert sorted(tmp_path.iterdir()) == there


def test_what_came_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with (
        pytest.raises(BuildError, match="found a pipe"),
        files.atomic_write(tmp_path / "it") as part,
    ):
        part.write_bytes(b"new")
        os.mkfifo(tmp_path / "it")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("deep/file")
    with files.atomic_write(link) as part:
        part.write_bytes(b"new")
    assert os.readlink(link) == "deep/file"
    assert (tmp_path / "deep" / "file").read_bytes() == b"new"


def test_modes_are_the_usual_ones(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with files.atomic_write(tmp_path / "file") as part:
            part.write_bytes(b"")
        with files.temporary_folder(tmp_path / "folder") as folder:
            files.move_into_place(folder, tmp_path / "folder")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """Each has a file of its own, and one of them is there in the end, whole."""
    target = tmp_path / "file"

    def write(letter: bytes) -> None:
        for _ in range(30):
            with files.atomic_write(target) as part:
                part.write_bytes(letter * 100_000)

    letters = [bytes([65 + number]) for number in range(4)]
    threads = [threading.Thread(target=write, args=[letter]) for letter in letters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in [letter * 100_000 for letter in letters]
    assert list(tmp_path.iterdir()) == [target]


PRELUDE = """
import sys, time
from pathlib import Path
from builder.base import files
target = Path(sys.argv[1])
"""


@contextmanager
def process(script: str, target: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PRELUDE + script, str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        yield started


HOLDS = """
with files.{what}(target{arguments}) as part:
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("what", [files.atomic_write, files.temporary_folder])
def test_nothing_is_left_by_who_is_stopped_while_it_begins(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: Callable[..., AbstractContextManager[Path]],
) -> None:
    """By a signal, just after it made what it is to write to."""

    def stopped(*_: object) -> bool:
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_take", stopped)
    with pytest.raises(KeyboardInterrupt), what(tmp_path / "a"):
        pytest.fail("it began")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["atomic_write", "temporary_folder"])
def test_what_a_killed_writer_left_goes_and_what_a_living_one_has_stays(
    tmp_path: Path, what: str
) -> None:
    target = tmp_path / "a[1].zip"
    holds = HOLDS.format(what=what, arguments="")
    with process(holds, target) as dead, process(holds, target) as living:
        assert len(list(tmp_path.iterdir())) == 2
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        with files.atomic_write(target) as part:
            part.write_bytes(b"new")
        left = [path for path in tmp_path.iterdir() if path != target]
        assert len(left) == 1
        living.send_signal(signal.SIGKILL)
        living.wait()
    with files.atomic_write(target):
        pass
    assert list(tmp_path.iterdir()) == [target]


def test_a_lock_is_waited_for_and_dies_with_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "it"
    said: list[str] = []
    took: list[float] = []

    def wait() -> None:
        with files.lock(target, "waiting in a thread", said.append):
            took.append(time.monotonic())

    holds = HOLDS.format(what="lock", arguments=', "compiling in a test", print')
    with process(holds, target) as owner:
        waiting = threading.Thread(target=wait)
        waiting.start()
        deadline = time.monotonic() + 20
        while not said:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert said == [f"waiting: process {owner.pid} is compiling in a test (it)"]
        assert not took
        owner.send_signal(signal.SIGKILL)
        waiting.join(20)
    assert took
    assert not list(tmp_path.iterdir())


def test_only_one_has_the_lock(tmp_path: Path) -> None:
    """However many want it, come and go: no two are inside at once."""
    target = tmp_path / "it"
    inside, most, entered = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, entered
        for _ in range(50):
            with files.lock(target, "counting", lambda text: None):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0002)
                entered += 1
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, entered) == (1, 200)
    assert not list(tmp_path.iterdir())


def test_a_folder_takes_anothers_place(tmp_path: Path) -> None:
    target = tmp_path / "it"
    for text in ("first", "second"):
        with files.temporary_folder(target) as folder:
            (folder / "file").write_text(text)
            files.move_into_place(folder, target)
        assert (target / "file").read_text() == text
    assert list(tmp_path.iterdir()) == [target]
    target.rename(tmp_path / "other")
    target.symlink_to("other")
    with files.temporary_folder(target) as folder:
        (folder / "file").write_text("third")
        files.move_into_place(folder, target)
    assert not target.is_symlink()
    assert (tmp_path / "other" / "file").read_text() == "second"


@pytest.mark.parametrize(
    ("number", "said"),
    [(28, "free some space"), (122, "free some space"), (30, "make it"), (13, "make it")],
)
def test_what_to_do_depends_on_what_is_wrong(number: int, said: str) -> None:
    error = files.write_error(Path("/a/b"), OSError(number, os.strerror(number)))
    assert str(error) == f"cannot write /a/b: {os.strerror(number)}"
    assert error.hint.startswith(said)
    assert "--work DIR" in error.hint


@pytest.mark.root
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    try:
        for use in (
            files.atomic_write(folder / "a"),
            files.temporary_folder(folder / "a"),
            files.lock(folder / "a", "testing", print),
        ):
            with pytest.raises(BuildError, match="Read-only file system") as caught:
                with use:
                    pass
            assert caught.value.hint.startswith("make it writable, or choose another place with")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_the_end_of_a_programs_output() -> None:
    text = "first\n\nbad\nbad\nworse \nbad\n\n"
    assert files.last_lines(text) == "first\nworse\nbad"
    assert files.last_lines(text, 2) == "worse\nbad"
    assert files.last_lines("") == ""


def test_a_lock_outlives_its_owner_in_what_it_started(tmp_path: Path) -> None:
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
    took = threading.Event()

    def wait() -> None:
        with files.lock(target, "waiting", lambda text: None):
            took.set()

    waiting = threading.Thread(target=wait)
    command = [sys.executable, "-c", PRELUDE + script, str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        child = int(target.with_name("it.pid").read_text())
        owner.kill()
        owner.wait()
        waiting.start()
        assert not took.wait(0.3)
        os.kill(child, signal.SIGKILL)
        waiting.join(20)
    assert took.is_set()


@pytest.mark.parametrize("damage", [b"", b"short", bytes(40), None])
def test_what_is_kept_is_made_once_and_anew_if_damaged(
    tmp_path: Path, damage: bytes | None
) -> None:
    path, made = tmp_path / "kept" / "it", []

    def make() -> bytes:
        made.append(1)
        return b"content"

    assert [files.cached(path, make), files.cached(path, make)] == [b"content"] * 2
    assert len(made) == 1
    path.write_bytes(path.read_bytes()[:-1] + b"T" if damage is None else damage)
    assert [files.cached(path, make), files.cached(path, make)] == [b"content"] * 2
    assert len(made) == 2
