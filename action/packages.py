"""Import of what the zip carries, from one archive in place of a hundred files.

Each file costs OpenWhisk's unzip about 0.6 ms, and each folder on the path costs an import some
system calls. So `lib/cpXY/modules` has the code of all of a Python version's modules: four bytes
(little endian) with the length of an index; the index, a marshalled dict; the code objects. The
index maps a module's name to (is it a package, its source's name in tracebacks, offset, length), or
for an extension module, which stays a file for the dynamic loader, to its path.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

ARCHIVE = "modules"


class Packages:
    """Finder and loader (PEP 451) of the modules in an archive."""

    def __init__(self, folder: str) -> None:
        """Open the archive in `folder`; raises OSError if there is none."""
        self._folder = folder
        self._file = os.open(os.path.join(folder, ARCHIVE), os.O_RDONLY)
        self._start = 4 + int.from_bytes(os.pread(self._file, 4, 0), "little")
        self._index: dict[str, Any] = marshal.loads(os.pread(self._file, self._start - 4, 4))

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec, or None if the archive does not have it."""
        found = self._index.get(name)
        if found is None:
            return None
        if isinstance(found, str):
            origin = os.path.join(self._folder, found)
            spec = ModuleSpec(name, ExtensionFileLoader(name, origin), origin=origin)
        else:
            package, origin, _, _ = found
            spec = ModuleSpec(name, self, origin=origin, is_package=package)  # type: ignore[arg-type]
        spec.has_location = True  # sets the module's __file__
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """None: an ordinary module will do."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        _, _, offset, length = self._index[module.__name__]
        exec(marshal.loads(os.pread(self._file, length, self._start + offset)), module.__dict__)


def install(folder: str) -> None:
    """From now on, import the modules of the archive in `folder` before any others."""
    sys.meta_path.insert(0, Packages(folder))
