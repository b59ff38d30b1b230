"""Start the function: open `packed.zip`, import its modules from streams of code, report failure.

OpenWhisk's proxy takes, for each MB that it unzips, 7.3 ms to inflate and 1.9 ms to write.
CPython's zlib inflates a MB in 3 to 5 ms, in a thread where there is a second CPU. So everything
that can wait until Python runs is in `packed.zip`, an ordinary zip that is stored as one file of
the outer one. `builder/artifact/modules.py` describes its folders `lib/X.Y/`.

Python's own `zipimport` opens and inflates each module by itself, which takes 81 ms of CPU time
instead of 68 ms, and it finds no extension modules.
"""

import json
import marshal
import os
import sys
import zlib
from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Callable, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from struct import unpack_from
from types import ModuleType

PACKED_ZIP = "packed.zip"
# Headers of every JSON reply of a web action.
JSON_HEADERS = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


class IncompatibleError(Exception):
    """The zip was built for another Python version or machine; the text says which."""


class PackedZip:
    """The files in a `packed.zip` as `builder/base/archive.py` writes it (APPNOTE.TXT 4.3).

    Attributes:
        members: file name -> (offset of the data, its length, whether it is deflated, size, CRC).
    """

    def __init__(self, folder: str) -> None:
        """Open `packed.zip` in a folder; raise OSError, or ValueError if it is truncated."""
        self._folder = folder
        self._file = os.open(os.path.join(folder, PACKED_ZIP), os.O_RDONLY)
        self._locks: dict[str, LockType] = {}
        self._extracted: set[str] = set()
        self.members: dict[str, tuple[int, int, bool, int, int]] = {}
        total = os.fstat(self._file).st_size
        end = os.pread(self._file, 22, max(0, total - 22)).ljust(22)
        length, start = unpack_from("<2I", end, 12)
        directory = os.pread(self._file, length, start) if end[:4] == b"PK\5\6" else b""
        if len(directory) != length or start + length + 22 != total or not directory:
            raise ValueError(f"{PACKED_ZIP} is truncated: expected a zip's directory at its end")
        at = 0
        while at < length:
            method, crc, stored, size, n, offset = unpack_from("<10xH4x3IH12xI", directory, at)
            name = directory[at + 46 : at + 46 + n].decode()
            self.members[name] = offset + 30 + n, stored, bool(method), size, crc
            at += 46 + n

    def read(self, name: str) -> bytes:
        """Return a file's content; raise FileNotFoundError, or ValueError if it is damaged."""
        if name not in self.members:
            raise FileNotFoundError(f"{name} is not in {PACKED_ZIP}")
        offset, length, deflated, size, _ = self.members[name]
        content = os.pread(self._file, length, offset)
        if deflated:
            try:
                content = zlib.decompress(content, -zlib.MAX_WBITS, size)
            except zlib.error as error:
                raise ValueError(f"{name} in {PACKED_ZIP} is damaged: {error}") from error
        if len(content) != size:
            raise ValueError(f"{name} in {PACKED_ZIP} is damaged: expected {size} bytes")
        return content

    def extract(self, name: str) -> str:
        """Write a file to the folder unless it is there with its CRC, and return its path.

        Libraries are extracted to where they find each other. Anonymous files (`memfd_create`)
        would take as long to write, 0.35 ms per MB, and stay in memory for good. Raises as `read`
        does, or OSError.
        """
        path = os.path.join(self._folder, name)
        with self._locks.setdefault(
            name, allocate_lock()
        ):  # the background thread may be extracting it
            if name not in self._extracted and not self._is_intact(path, name):
                _write_file(path, self.read(name))
            self._extracted.add(name)
        return path

    def _is_intact(self, path: str, name: str) -> bool:
        """Whether the file is there as an earlier process extracted it; a crash may damage it."""
        if name not in self.members or not os.path.exists(path):
            return False
        *_, size, crc = self.members[name]
        if os.path.getsize(path) != size:
            return False
        with open(path, "rb") as file:
            return zlib.crc32(file.read()) == crc


class Importer:
    """Finder and loader (PEP 302, PEP 451) of the modules in a `packed.zip`."""

    def __init__(self, packed: PackedZip, folder: str, own: bool) -> None:
        """Read the index of `folder`, "lib/X.Y/"; raise OSError or ValueError.

        `own` tells whether the function's own modules are imported from here, too.
        """
        self._packed, self._folder = packed, folder
        self._index = json.loads(packed.read(folder + "index.json"))
        run_in_background(packed.extract, self._index["ahead"])
        self._streams: dict[str, bytes] = {}
        self._modules: dict[str, tuple[bool, str, str, int, int]] = self._index["modules"]
        if not own:
            self._modules = {
                name: entry
                for name, entry in self._modules.items()
                if not name.startswith("action.")
            }

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """Return the module's spec, or None if `packed.zip` does not have it."""
        if name in self._modules:
            package, origin, *_ = self._modules[name]
            spec = ModuleSpec(name, self, origin=origin, is_package=package)  # type: ignore[arg-type]
        elif files := self._index["libraries"].get(name):
            paths = [self._packed.extract(self._folder + file) for file in files]
            spec = ModuleSpec(name, ExtensionFileLoader(name, paths[0]), origin=paths[0])
        else:
            return None
        spec.has_location = True  # sets the module's __file__
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Return None: Python then creates an ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        _, origin, stream, offset, length = self._modules[module.__name__]
        if stream not in self._streams:
            self._streams[stream] = self._packed.read(f"{self._folder}{stream}.code")
        content = memoryview(self._streams[stream])[offset : offset + length]
        code = marshal.loads(content) if self._index["magic"] else compile(content, origin, "exec")
        exec(code, module.__dict__)

    def get_source(self, name: str) -> str:
        """Return the source of a module of ours, for tracebacks; raise OSError for any other."""
        return self.get_data(self._modules[name][1]).decode()

    def get_data(self, path: str) -> bytes:
        """Return the content of a file other than a module; raise OSError if it is missing."""
        return self._packed.read(path)


def _write_file(path: str, content: bytes) -> None:
    """Write a file at once, with its folder; raise OSError, and leave no part of it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Another process may extract to this folder at the same time.
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def error_handler(error: Exception) -> Callable[[object], dict[str, object]]:
    """Return a handler that answers each activation with the reason why the start failed.

    An exception on import would show no more than "initialization failed". This needs no other
    module of ours, since they may fail to import. Paths in an error's text are for the log only.
    """
    reason = logged = str(error)
    if not isinstance(error, IncompatibleError):
        import traceback

        traceback.print_exception(error)
        reason = f"the function could not start: {type(error).__name__}; its log says why"
        logged = f"{type(error).__name__}: {error}"

    def answer(params: object) -> dict[str, object]:
        print(f"start failed: {logged}", file=sys.stderr)
        body: dict[str, object] = {"error": reason}
        return (
            {"statusCode": 500, "headers": JSON_HEADERS, "body": body}
            if is_http_request(params)
            else body
        )

    return answer


def is_http_request(params: object) -> bool:
    """Whether the parameters are an HTTP request: OpenWhisk's or DigitalOcean Functions' form."""
    if not isinstance(params, dict):
        return False
    http = params.get("http")
    return "__ow_method" in params or (isinstance(http, dict) and "method" in http)


def run_in_background(work: Callable[[str], object], names: Sequence[str]) -> None:
    """Call `work` with each name in a thread; drop errors, since the caller repeats the call."""

    def run() -> None:
        for name in names:
            try:  # noqa: SIM105 (contextlib takes longer to import than this module)
                work(name)
            except Exception:
                pass

    start_new_thread(run, ())


def install_importer(root: str, own: bool = True) -> PackedZip:
    """Import from `packed.zip` in the folder `root` before anything else; return its files.

    `own` tells whether the function's own modules come from there, too. Raises IncompatibleError
    if the zip is for another Python or kind of machine; OSError or ValueError if it is damaged.
    """
    packed = PackedZip(root)
    running = "{}.{}".format(*sys.version_info)
    folder = f"lib/{running}/"
    if folder + "index.json" not in packed.members:
        built = {name.split("/")[1] for name in packed.members if name.startswith("lib/")}
        versions = sorted(built, key=lambda version: [*map(int, version.split("."))])
        advice = f"--python {running} or create the action with --kind python:{versions[-1]}"
        text = f"built for Python {', '.join(versions)}, this runtime is {running}"
        raise IncompatibleError(f"{text}: rebuild with {advice}")
    machine = f"{sys.platform} {os.uname().machine}" if hasattr(os, "uname") else sys.platform
    if machine != "linux x86_64":
        raise IncompatibleError(f"built for linux x86_64, this machine is {machine}")
    sys.meta_path.insert(0, Importer(packed, folder, own))
    return packed
