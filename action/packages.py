"""Import of what the zip carries: from a few archives in place of a hundred files.

OpenWhisk's unzip takes about 0.6 ms for each file, and Python searches folders for each module. So
`lib/cpXY/NAME.modules` has the code of all of a package's modules. In order: the magic number of
Python's code files and the length of the index (4 bytes each, little endian); the index, in JSON;
the code objects, marshalled. The index maps a module's name to [is it a package, its source's name
in tracebacks, offset among the code objects, length]. An extension module stays a file, for the
dynamic loader, and the index has its path.
"""

from __future__ import annotations

import json
import marshal
import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec

TYPE_CHECKING = False  # the module `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

SUFFIX = ".modules"
OWN = "action" + SUFFIX
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


def use(root: str, own: bool = True) -> None:
    """Import from the packages in `root`, those for the running Python, before any others.

    Args:
        root: folder with `lib/cpXY/`.
        own: whether the function's own modules come from there, too.

    Raises:
        Unfit: there are none for the running Python, or this is another kind of machine.
        OSError, ValueError: an archive is not whole.
    """
    tag = "cp{}{}".format(*sys.version_info)
    folder = os.path.join(root, "lib", tag)
    if not os.path.isdir(folder):
        built = sorted(int(name[2:]) for name in os.listdir(os.path.dirname(folder)))
        versions = [f"{str(number)[0]}.{str(number)[1:]}" for number in built]
        running = "{}.{}".format(*sys.version_info)
        raise Unfit(
            f"built for Python {', '.join(versions)}, this runtime is {running}: rebuild with "
            f"--python {running} or create the action with --kind python:{versions[-1]}"
        )
    machine = f"{sys.platform} {os.uname().machine}" if hasattr(os, "uname") else sys.platform
    if machine != "linux x86_64":
        raise Unfit(f"built for linux x86_64, this machine is {machine}")
    archives = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))
    if not archives:  # built without a Python of this version: the modules are there as sources
        sys.path.insert(0, folder)
        return
    sys.meta_path.insert(0, Archives(folder, [name for name in archives if own or name != OWN]))


class Archives:
    """Finder and loader (PEP 451) of the modules in archives."""

    def __init__(self, folder: str, names: list[str]) -> None:
        """Open the archives `names` in `folder`; raises OSError or ValueError."""
        self._folder = folder
        self.index: dict[str, Any] = {}
        for name in names:
            file = os.open(os.path.join(folder, name), os.O_RDONLY)
            length = int.from_bytes(os.pread(file, 4, 4), "little")
            end = start = length + 8
            for module, found in json.loads(os.pread(file, length, 8)).items():
                if isinstance(found, str):
                    self.index[module] = found
                else:
                    self.index[module] = (file, start, *found)
                    end = max(end, start + found[2] + found[3])
            if os.fstat(file).st_size != end:
                raise ValueError(f"{name} is not whole: expected {end} bytes")

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec, or None if no archive has it."""
        found = self.index.get(name)
        if found is None:
            return None
        if isinstance(found, str):
            origin = os.path.join(self._folder, found)
            spec = ModuleSpec(name, ExtensionFileLoader(name, origin), origin=origin)
        else:
            _, _, package, origin, _, _ = found
            spec = ModuleSpec(name, self, origin=origin, is_package=package)  # type: ignore[arg-type]
        spec.has_location = True  # sets the module's __file__
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """None: an ordinary module will do."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        file, start, _, _, offset, length = self.index[module.__name__]
        exec(marshal.loads(os.pread(file, length, start + offset)), module.__dict__)
