"""Files and folders that appear complete or not at all, and locks between processes.

A file is written in a folder `.NAME.*.part` beside its target, and takes the target's place in one
move. A later writer removes what a killed one left behind. Standard library only.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.base.errors import BuildError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# Errors of an open file that is written to, other than those of reading.
_WRITING = (*_NO_SPACE, errno.EFBIG, errno.EIO, errno.EROFS)
_SHA256_BYTES = 32
# Nothing is written for as long.
_ABANDONED_SECONDS = 24 * 3600

# Is called with a line of progress.
Notify = Callable[[str], None]


def write_error(path: Path, error: OSError, instead: str = "--work DIR") -> BuildError:
    """Return the error for a path that cannot be written; `instead` is the option to move it."""
    where = f"or choose another place with {instead}; no partial file was left"
    hint = f"free some space, {where}" if error.errno in _NO_SPACE else f"make it writable, {where}"
    return BuildError(f"cannot write {path}: {error.strerror or error}", hint)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def describe_path(path: Path) -> str:
    """Return "file", "folder", "broken link" or "device" for a path; empty if nothing is there.

    Links are followed. Pipes and sockets are devices too.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return "broken link" if os.path.islink(path) else ""
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "device"


def file_exists(path: Path) -> bool:
    """Return whether a file is at a path; raise BuildError if something else is."""
    kind = describe_path(path)
    if kind not in ("", "file"):
        raise BuildError(
            f"cannot write {path}: expected a file or nothing there, found a {kind}",
            "choose another path, or move it away",
        )
    return kind == "file"


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its contents, if it exists.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


@contextmanager
def atomic_write(target: Path, instead: str = "--work DIR") -> Iterator[Path]:
    """Yield an empty file that replaces `target` when the block succeeds, and else is removed.

    A link at `target` stays; the file that it leads to is replaced.

    Raises:
        BuildError: it cannot be written, or there is something that is not a file.
    """
    file_exists(target)
    final = Path(os.path.realpath(target)) if target.is_symlink() else target
    with temporary_folder(final, instead) as folder:
        part = folder / final.name
        part.touch()
        yield part
        try:
            part.replace(final)
        except OSError as error:
            raise write_error(target, error, instead) from error


@contextmanager
def temporary_folder(target: Path, instead: str = "--work DIR") -> Iterator[Path]:
    """Yield an empty folder beside `target`, then remove it; raise BuildError on a write error."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        part.mkdir()
    except OSError as error:
        raise write_error(target, error, instead) from error
    try:
        yield part
    except OSError as error:
        if error.errno not in _WRITING:
            raise
        raise write_error(target, error, instead) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove_abandoned(target: Path) -> None:
    """Remove the folders that writers of `target` left when they were killed, after a day."""
    for folder in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        with suppress(FileNotFoundError):  # its writer has just ended
            if folder.is_dir() and folder.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def cached(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the bytes that `make` returned when it was first called for this path.

    The file has their sha256 before them; a damaged file is made again.

    Raises:
        BuildError: the file cannot be written.
    """
    if file_exists(path):
        content = path.read_bytes()
        digest, content = content[:_SHA256_BYTES], content[_SHA256_BYTES:]
        if hashlib.sha256(content).digest() == digest:
            return content
    content = make()
    with atomic_write(path) as part:
        part.write_bytes(hashlib.sha256(content).digest() + content)
    return content


def move_into_place(folder: Path, target: Path) -> None:
    """Move a finished folder to `target`; a file or folder there is replaced.

    Raises:
        OSError: it cannot be moved.
    """
    remove(target)
    folder.rename(target)


def check_owner(folder: Path) -> None:
    """Raise BuildError if other users can change a folder, and so what we run or ship from it."""
    if not folder.exists():
        return
    found = folder.stat()
    writable = stat.S_IWOTH | (stat.S_IWGRP if found.st_gid != os.getegid() else 0)
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & writable:
        raise BuildError(
            f"{folder}: expected a folder that only you can write to, found one of user "
            f"{found.st_uid} with mode {stat.S_IMODE(found.st_mode):o}",
            f"chmod go-w {folder}, or choose another place with --work DIR",
        )


@contextmanager
def lock(target: Path, doing: str, notify: Notify, inherited: bool = False) -> Iterator[None]:
    """Hold the lock for making `target`; wait while another process has it.

    Args:
        target: a file or folder; the lock is `.NAME.lock` beside it, which stays.
        doing: the work, for processes that wait: "fetching numpy".
        notify: is called with a line that says so before waiting.
        inherited: whether processes that are started with `close_fds=False` hold it too. If this
            process is killed, it is released when the last of them has ended.

    Raises:
        BuildError: the folder cannot be written.
    """
    path = target.with_name(f".{target.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another user may have put a link there.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        os.set_inheritable(descriptor, inherited)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify(f"waiting: another process is {doing} ({target.name})")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise write_error(target, error) from error
    try:
        yield
    finally:
        os.close(descriptor)
