"""Strip ready-made wheels of libraries that the function never calls, and of debug information.

numpy's wheels load OpenBLAS, 25 MB and buffers; Pillow's load libraries for formats that are not
offered. `prune.toml` drops these libraries, and here the modules that load them are edited to do
without. Calling such a library then ends the process. So `prune.toml` also lists the functions of
the package that may call it, and a build stops where others do. Tests hold the function to the
rest.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from builder.base.errors import BuildError
from builder.base.toml import read_toml
from builder.native import PackageName, imports
from builder.native.numpy.build import REPLACED
from builder.native.steps import RECIPE
from builder.native.versions import rules_for_version
from builder.packages import elf_editor


def slim_modules(package: PackageName, version: str, folder: Path) -> None:
    """Make a package's modules import no more than the compiled ones do.

    Raises:
        BuildError: the recipe's rules do not fit them.
    """
    if package.source == "numpy":
        for path, own in REPLACED.items():
            shutil.copyfile(own, folder / path)
    else:
        shutil.copyfile(RECIPE / "standins.py", folder / "_standins.py")
    rules = rules_for_version(read_toml(RECIPE / package.folder / "imports.toml"), version)
    present = {
        name: rule for name, rule in rules.items() if name == "*" or (folder / name).exists()
    }
    try:
        imports.apply(folder, present)
    except imports.RuleError as error:
        raise BuildError(f"imports.toml, {package.distribution} {version}: {error}") from error


def strip_wheel(
    wheel: zipfile.ZipFile, shipped: Sequence[str], folder: Path, rules: Mapping[str, Any]
) -> None:
    """Edit a wheel's unpacked libraries; raise BuildError if one is not as the rules expect it."""
    libraries = {path.rpartition("/")[2]: path for path in wheel.namelist() if ".so" in path}
    dropped = {name: path for name, path in libraries.items() if path not in shipped}
    for path in sorted({*shipped} & {*libraries.values()}):
        content = (folder / path).read_bytes()
        try:
            needed = {
                name: elf_editor.list_symbols(wheel.read(dropped[name]), exported=True)
                for name in elf_editor.list_needed(content) & dropped.keys()
            }
            content = elf_editor.zero_unloaded(_remove_needed(content, needed, rules))
        except ValueError as error:
            raise BuildError(
                f"{path}: expected the version that prune.toml is written for: {error}",
                "compare the package's sources with its rules in builder/packages/prune.toml",
            ) from error
        (folder / path).write_bytes(content)


def _remove_needed(
    content: bytes, needed: Mapping[str, set[str]], rules: Mapping[str, Any]
) -> bytes:
    """Return a library without others; raise ValueError if an unexpected function calls them.

    `needed` has the names of the others with the symbols that they offer.
    """
    if not needed:
        return content
    symbols = elf_editor.list_symbols(content, exported=False) & set().union(*needed.values())
    replacements = rules["replacements"]
    callers = elf_editor.find_callers(content, symbols - replacements.keys())
    for symbol, names in sorted(callers.items()):
        for name in sorted(names):
            if not any(fnmatchcase(name, pattern) for pattern in rules["callers"]):
                gone = ", ".join(sorted(needed))
                raise ValueError(f"{name} calls {symbol}, but {gone} does not ship")
    return elf_editor.remove_needed(content, needed.keys(), symbols, replacements)
