"""The zip within the zip: what a start reads is inflated by the start itself.

OpenWhisk's proxy takes 7.3 ms for each MB that it inflates and 1.9 ms for each MB that it writes.
CPython's zlib takes 3 to 5 ms for the same MB, in a thread where there is a second CPU; and what
this start does not ask for stays as it is. So all that can wait until Python runs lies in
`packed.zip`: an ordinary zip, stored as one file of the outer one.

Modules are used from memory. Shared libraries and the model become files, which are mapped: in the
folder that they have in the zip, where libraries find each other. Anonymous files (`memfd_create`)
take as long to write, 0.35 ms per MB, but stay in memory for good, where the kernel can let go of
these.
"""

from __future__ import annotations

import os
import zlib
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False  # the module `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

NAME = "packed.zip"


def in_background(work: Callable[[], T]) -> Callable[[], T]:
    """Start work in a thread; what is returned waits for it, and returns or raises as it did."""
    lock = allocate_lock()
    result: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # for the one who waits
            errors.append(error)
        lock.release()

    def wait() -> T:
        lock.acquire()
        lock.release()
        if errors:
            raise errors[0]
        return result[0]

    lock.acquire()
    start_new_thread(run, ())
    return wait


class Packed:
    """Files by name, from a zip as `builder/archive.py` writes it (APPNOTE.TXT 4.3).

    Attributes:
        names: of the files -> (offset of the data, its length, whether it is deflated, size).
    """

    def __init__(self, folder: str) -> None:
        """Open `packed.zip` in a folder; raises OSError, or ValueError if it is not whole."""
        self._folder = folder
        self._file = os.open(os.path.join(folder, NAME), os.O_RDONLY)
        self._ahead: dict[str, Callable[[], str]] = {}
        self.names: dict[str, tuple[int, int, bool, int]] = {}
        total = os.fstat(self._file).st_size
        end = os.pread(self._file, 22, max(0, total - 22))
        length, start = _number(end, 12), _number(end, 16)
        directory = os.pread(self._file, length, start) if end[:4] == b"PK\5\6" else b""
        if len(directory) != length or start + length + 22 != total or not directory:
            raise ValueError(f"{NAME} is not whole: expected a zip's directory at its end")
        at = 0
        while at < length:
            name = directory[at + 46 : at + 46 + _number(directory, at + 28, 2)]
            data = _number(directory, at + 42) + 30 + len(name)
            deflated = bool(_number(directory, at + 10, 2))
            sizes = _number(directory, at + 20), _number(directory, at + 24)
            self.names[name.decode()] = data, sizes[0], deflated, sizes[1]
            at += 46 + len(name)

    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not whole.
        """
        if name not in self.names:
            raise FileNotFoundError(f"{name} is not in {NAME}")
        offset, length, deflated, size = self.names[name]
        content = os.pread(self._file, length, offset)
        if deflated:
            try:
                content = zlib.decompress(content, -zlib.MAX_WBITS, size)
            except zlib.error as error:
                raise ValueError(f"{name} in {NAME} is not whole: {error}") from error
        if len(content) != size:
            raise ValueError(f"{name} in {NAME} is not whole: expected {size} bytes")
        return content

    def extracted(self, name: str) -> str:
        """The path of a file with the content of this one; raises as `read` does, or OSError."""
        waiting = self._ahead.pop(name, None)
        return waiting() if waiting else self._extract(name)

    def extract_ahead(self, names: list[str]) -> None:
        """Extract files in the background, one after the other; `extracted` waits for those."""
        last: Callable[[], str] = str
        for name in names:
            last = self._ahead[name] = self._extract_after(last, name)

    def _extract_after(self, before: Callable[[], str], name: str) -> Callable[[], str]:
        def work() -> str:
            try:  # noqa: SIM105 (contextlib takes longer to import than this module)
                before()
            except Exception:  # who asks for that one hears of it
                pass
            return self._extract(name)

        return in_background(work)

    def _extract(self, name: str) -> str:
        path = os.path.join(self._folder, name)
        size = self.names[name][3] if name in self.names else -1
        if not os.path.exists(path) or os.path.getsize(path) != size:
            content = self.read(name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            part = f"{path}.{os.getpid()}"
            with open(part, "wb") as file:
                file.write(content)
            os.replace(part, path)  # another process of this folder may be at it, too
        return path


def _number(content: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(content[at : at + size], "little")
