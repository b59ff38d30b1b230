"""Import of what the zip carries: from a few streams of code in place of a hundred files.

OpenWhisk's unzip takes about 0.6 ms for each file, and Python searches folders for each module. So
`packed.zip` has all modules for a Python version in a few files of `lib/X.Y/`:

index.json       "modules": a module's name -> [is it a package, its source's name in tracebacks,
                 which stream, offset in it, length]; "libraries": an extension module's name -> its
                 file, and what else it loads; "ahead": what to extract in a thread; "magic": of
                 Python's code files, in hexadecimal, or empty if the streams have sources
PART.code        the stream of those modules of a part that each start imports: the code objects,
                 marshalled
PART.later.code  that of its other modules

`zipimport` takes 81 ms of CPU time for what this takes 68 (it opens and inflates each module by
itself), and finds no extension modules.
"""

from __future__ import annotations

import json
import marshal
import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec

from action.packed import Packed

TYPE_CHECKING = False  # the module `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

OWN = "action."
HEADERS = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}
"""Of every JSON that a web action answers with."""


class Unfit(Exception):
    """The zip was built for another Python version or machine; the text says which."""


def failing(error: Exception) -> Callable[[Any], dict[str, Any]]:
    """A function that answers each activation with the reason why none can be.

    Here, where it can be imported even if the archives cannot. Raising in place of it would show
    the user no more than "initialization failed". An error's text may name paths: it is for the
    log.
    """
    reason = logged = str(error)
    if not isinstance(error, Unfit):
        import traceback

        traceback.print_exception(error)
        reason = f"the function could not start: {type(error).__name__}; its log says why"
        logged = f"{type(error).__name__}: {error}"

    def answer(params: Any) -> dict[str, Any]:
        print(f"start failed: {logged}", file=sys.stderr)
        body = {"error": reason}
        if not over_http(params):
            return body
        return {"statusCode": 500, "headers": HEADERS, "body": body}  # web.py may not import

    return answer


def over_http(params: Any) -> bool:
    """Whether a web action was asked, as OpenWhisk says it or as DigitalOcean's Functions do."""
    if not isinstance(params, dict):
        return False
    http = params.get("http")
    return "__ow_method" in params or (isinstance(http, dict) and "method" in http)


def use(root: str, own: bool = True) -> Packed:
    """Import from the packages in `root`, those for the running Python, before any others.

    Args:
        root: folder with `packed.zip`.
        own: whether the function's own modules come from there, too.

    Returns:
        All files in `packed.zip`.

    Raises:
        Unfit: there are none for the running Python, or this is another kind of machine.
        OSError, ValueError: `packed.zip` is not whole.
    """
    packed = Packed(root)
    running = "{}.{}".format(*sys.version_info)
    folder = f"lib/{running}/"
    if folder + "index.json" not in packed.names:
        built = {name.split("/")[1] for name in packed.names if name.startswith("lib/")}
        versions = sorted(built, key=lambda version: [int(part) for part in version.split(".")])
        raise Unfit(
            f"built for Python {', '.join(versions)}, this runtime is {running}: rebuild with "
            f"--python {running} or create the action with --kind python:{versions[-1]}"
        )
    machine = f"{sys.platform} {os.uname().machine}" if hasattr(os, "uname") else sys.platform
    if machine != "linux x86_64":
        raise Unfit(f"built for linux x86_64, this machine is {machine}")
    sys.meta_path.insert(0, Importer(packed, folder, own))
    return packed


class Importer:
    """Finder and loader (PEP 302, PEP 451) of the modules in a `packed.zip`."""

    def __init__(self, packed: Packed, folder: str, own: bool) -> None:
        """Read the index of `folder`, "lib/X.Y/"; raises OSError or ValueError."""
        index: dict[str, Any] = json.loads(packed.read(folder + "index.json"))
        packed.extract_ahead(index["ahead"])
        self._packed = packed
        self._folder = folder
        self._compiled = bool(index["magic"])
        self._libraries: dict[str, list[str]] = index["libraries"]
        self._streams: dict[str, bytes] = {}
        self.modules: dict[str, tuple[bool, str, str, int, int]] = {
            name: where
            for name, where in index["modules"].items()
            if own or not name.startswith(OWN)
        }

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec, or None if it is not one of these."""
        if name in self.modules:
            package, origin, *_ = self.modules[name]
            spec = ModuleSpec(name, self, origin=origin, is_package=package)  # type: ignore[arg-type]
        elif name in self._libraries:
            files = [self._packed.extracted(self._folder + file) for file in self._libraries[name]]
            spec = ModuleSpec(name, ExtensionFileLoader(name, files[0]), origin=files[0])
        else:
            return None
        spec.has_location = True  # sets the module's __file__
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """None: an ordinary module will do."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        _, origin, stream, offset, length = self.modules[module.__name__]
        if stream not in self._streams:
            self._streams[stream] = self._packed.read(f"{self._folder}{stream}.code")
        content = memoryview(self._streams[stream])[offset : offset + length]
        code = marshal.loads(content) if self._compiled else compile(content, origin, "exec")
        exec(code, module.__dict__)

    def get_source(self, name: str) -> str | None:
        """The module's source for tracebacks: of our own, which ship for that, but no others'."""
        try:
            return self.get_data(self.modules[name][1]).decode()
        except OSError:
            return None

    def get_data(self, path: str) -> bytes:
        """The content of a file that ships beside a module; raises OSError if none does."""
        return self._packed.read(path)
