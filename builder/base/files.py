"""Files and folders that appear whole or not at all, and locks for what one at a time may make.

What is written is first a `.NAME.*.part` beside its target, locked by its writer, and takes the
target's place in one move. Locks and their marks die with the process that holds them, so what a
killed build left behind is known as such, and removed by the next one. Standard library only.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.base.errors import BuildError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WRITING = (*_FULL, errno.EFBIG, errno.EIO, errno.EROFS)
"""What may go wrong with a file that is open for writing."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""How a file system says that it has no locks."""
_DIGEST = 32
"""Bytes of a sha256."""

Notify = Callable[[str], None]


def write_error(path: Path, error: OSError, instead: str = "--work DIR") -> BuildError:
    """The error for a path that could not be written; `instead` is the option that moves it."""
    where = f"or choose another place with {instead}"
    if error.errno in _FULL:
        hint = f"free some space, {where}; nothing half-written was left"
    else:
        hint = f"make it writable, {where}; nothing half-written was left"
    return BuildError(f"cannot write {path}: {error.strerror or error}", hint)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def describe_path(path: Path) -> str:
    """What is at a path: "" if nothing, "file" (or a link to one), else in words what it is."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "link to nothing" if path.is_symlink() else ""
    except OSError as error:  # a loop of links, or a folder that may not be looked into
        return f"path that cannot be looked at ({error.strerror or error})"
    kinds = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "folder",
        stat.S_IFIFO: "pipe",
        stat.S_IFSOCK: "socket",
    }
    kind = kinds.get(stat.S_IFMT(mode), "device")
    return f"link to a {kind}" if path.is_symlink() and kind != "file" else kind


def file_exists(path: Path) -> bool:
    """Whether a file is there that may be read, and may be replaced by a new one.

    Raises:
        BuildError: something else is there: a folder, a device, a link to nothing.
    """
    kind = describe_path(path)
    if kind not in ("", "file"):
        raise BuildError(
            f"cannot write {path}: expected a file or nothing there, found a {kind}",
            "choose another path, or move it away",
        )
    return kind == "file"


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; nothing happens if none is there.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


@contextmanager
def atomic_write(target: Path, instead: str = "--work DIR") -> Iterator[Path]:
    """An empty file to write to; it takes `target`'s place when the block ends well, else it goes.

    A link at `target` stays, and what it leads to is replaced.

    Raises:
        BuildError: it cannot be written, or something is there that is no file.
    """
    file_exists(target)
    final = Path(os.path.realpath(target))
    part = Path(tempfile.mktemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
    descriptor = -1
    try:  # a signal may come between any two steps: all that makes the file is in here
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            _sweep(final)
            descriptor = _created(part)
        except OSError as error:
            raise write_error(target, error, instead) from error
        with _written(target, instead):
            yield part
        file_exists(target)  # it may have been put there meanwhile
        if sys.platform == "win32":  # where what is open cannot be moved
            os.close(descriptor)
            descriptor = -1
        try:
            part.replace(final)
        except OSError as error:
            raise write_error(target, error, instead) from error
    finally:
        with suppress(OSError):
            part.unlink()
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` to work in; it goes when the block ends.

    Raises:
        BuildError: it cannot be written.
    """
    folder = Path(tempfile.mktemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    descriptor = -1
    try:  # as in `replacing`
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target)
            folder.mkdir()
            if sys.platform != "win32":
                descriptor = os.open(folder, os.O_RDONLY)
                _take(descriptor, True, lambda text: None)
        except OSError as error:
            raise write_error(target, error) from error
        with _written(target, "--work DIR"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def cached(path: Path, make: Callable[[], bytes]) -> bytes:
    """What `make` gives, from the file that an earlier call left; made anew if that is not whole.

    The file has the content's sha256 before it.

    Raises:
        BuildError: the file cannot be written, or something is there that is no file.
    """
    if file_exists(path):
        whole = path.read_bytes()
        digest, content = whole[:_DIGEST], whole[_DIGEST:]
        if hashlib.sha256(content).digest() == digest:
            return content
    content = make()
    with atomic_write(path) as part:
        part.write_bytes(hashlib.sha256(content).digest() + content)
    return content


def move_into_place(folder: Path, target: Path) -> None:
    """Move a finished folder to `target`, in the place of what is there.

    Raises:
        OSError: it cannot be moved.
    """
    for _ in range(3):  # what another process puts there meanwhile is replaced as well
        with suppress(OSError):
            folder.rename(target)
            return
        remove(target)
    folder.rename(target)


@contextmanager
def lock(target: Path, doing: str, say: Notify, inherited: bool = False) -> Iterator[None]:
    """Hold the lock for making `target`; waits while another process holds it, and says so.

    Args:
        target: what is made; the lock is `.NAME.lock` beside it, and goes when it is released.
        doing: what is done meanwhile, for those that wait: "fetching numpy".
        say: told about the waiting.
        inherited: whether processes that are started with `close_fds=False` hold it as well: it is
            released when the last of them has ended, should this one be killed.

    Raises:
        BuildError: the folder cannot be written.
    """
    path = target.with_name(f".{target.name}.lock")
    descriptor = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while descriptor < 0:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            if not _take(descriptor, False, say):
                say(f"waiting: {_holder(descriptor)} ({target.name})")
                _take(descriptor, True, say)
            if not _is_at(descriptor, path):  # its last holder removed it
                os.close(descriptor)
                descriptor = -1
        os.truncate(descriptor, 0)
        os.set_inheritable(descriptor, inherited)
        os.write(descriptor, f"process {os.getpid()} is {doing}\n".encode())
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise write_error(target, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


@contextmanager
def _written(target: Path, instead: str) -> Iterator[None]:
    """Say of `target` what goes wrong with what is written for it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITING:
            raise
        raise write_error(target, error, instead) from error


def last_lines(text: str, lines: int = 15) -> str:
    """The last lines of a program's output, whole ones, and each but once."""
    last: list[str] = []
    for line in reversed(text.strip().splitlines()):
        if line.rstrip() and line.rstrip() not in last:
            last.append(line.rstrip())
        if len(last) == lines:
            break
    return "\n".join(reversed(last))


def _created(part: Path) -> int:
    """A descriptor of a new file that only we have, and that holds it."""
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _take(descriptor, True, lambda text: None)
        if _is_at(descriptor, part):
            return descriptor
        os.close(descriptor)  # swept away between the two


def _sweep(target: Path) -> None:
    """Remove what writers of `target` left that are no more."""
    for path in target.parent.glob(f".{_escaped(target.name)}.*.part"):
        with suppress(OSError):
            if sys.platform == "win32":  # where what is open cannot be removed
                path.unlink()
                continue
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)
            finally:
                os.close(descriptor)


def _holder(descriptor: int) -> str:
    """What the process that has the lock wrote into it, which it does a moment after it took it."""
    for _ in range(100 if hasattr(os, "pread") else 0):
        if said := os.pread(descriptor, 200, 0).decode(errors="replace").strip():
            return said
        time.sleep(0.01)
    return "another process is working here"


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _take(descriptor: int, wait: bool, say: Notify) -> bool:
    """Lock an open file; False if another process has it and we shall not wait."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond what is written there
            try:
                while True:
                    try:
                        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                        return True
                    except OSError:
                        if not wait:  # LK_LOCK gives up after ten seconds: ask again
                            return False
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        say("this file system has no locks: do not start two builds at once")
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
