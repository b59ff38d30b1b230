"""The compiler, the linker and the build tools: flags and commands that all packages share."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from builder.base import environments
from builder.native.hashing import digest
from builder.native.steps import RECIPE, BuildFolder

REQUIREMENTS = RECIPE / "requirements.txt"

# Compiler flags of every static library; C needs no tables for exceptions.
FLAGS = "-fPIC -fvisibility=hidden -ffunction-sections -fdata-sections"
C_FLAGS = f"{FLAGS} -fno-asynchronous-unwind-tables -fno-unwind-tables"
# Linker flags of every extension module.
LINK = (
    "-Wl,--gc-sections,--as-needed,--build-id=none,--hash-style=gnu,-O1"
    ",-z,relro,-z,now,-z,noexecstack,-z,pack-relative-relocs -s"
)
# For C that reads what strangers send: a checked stack, and bounds where the compiler knows them.
HARDENED = "-fstack-protector-strong -D_FORTIFY_SOURCE=3"
_EXPORTS = RECIPE / "exports.map"
_SOURCES = RECIPE / "sources.cmake"


def change_sources(project: str, target: str, leave_out: str, together: str) -> dict[str, str]:
    """Return CMake's options that compile less of a target: see sources.cmake."""
    return {
        f"CMAKE_PROJECT_{project}_INCLUDE": str(_SOURCES),
        "CHANGED_TARGET": target,
        "LEAVE_OUT": leave_out,
        "TOGETHER": together,
    }


class Toolchain:
    """Runs the build tools of requirements.txt in a build folder.

    Attributes:
        folder: the build folder.
        flags: compiler flags that keep this machine's paths out of what is compiled.
    """

    def __init__(self, folder: BuildFolder) -> None:
        self.folder = folder
        self.flags = f"-ffile-prefix-map={folder.path}=. -ffile-prefix-map={RECIPE}=."

    @cached_property
    def python(self) -> Path:
        """The Python executable of the build tools' environment, created if needed."""
        return environments.ensure_environment("tools", REQUIREMENTS, folder=self.folder.path)

    @cached_property
    def compiler(self) -> str:
        """The compiler's name and version: another one gives other bytes."""
        return self.run(["c++", "--version"], "tools").partition("\n")[0]

    def inputs(self, folder: str) -> list[str]:
        """Return the inputs of a compiled step of a folder of the recipe, besides its sources.

        They are the folder's files, the tools and their flags, not the Python that these run on.
        """
        files = (RECIPE / folder, REQUIREMENTS, Path(__file__), _SOURCES, _EXPORTS)
        return [digest(*files), self.compiler]

    @property
    def module_options(self) -> dict[str, str]:
        """CMake's options for an extension module; it exports only its PyInit function."""
        exports = f" -Wl,--version-script={_EXPORTS},--no-undefined-version"
        return {
            "CMAKE_C_FLAGS": self.flags,
            "CMAKE_CXX_FLAGS": self.flags,
            "CMAKE_C_FLAGS_RELEASE": "-O2",
            "CMAKE_CXX_FLAGS_RELEASE": "",
            "CMAKE_MODULE_LINKER_FLAGS": LINK + exports,
        }

    def run(
        self,
        command: list[str],
        name: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command as `BuildFolder.run` does, with the build tools first on its PATH."""
        return self.folder.run(command, name, cwd, {**self._environment(), **(env or {})})

    def cmake(
        self, source: Path, folder: Path, name: str, options: Mapping[str, str], *targets: str
    ) -> None:
        """Configure a CMake project in `folder` and build targets, by default all."""
        defines = [f"-D{key}={value}" for key, value in sorted(options.items())]
        generator = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]
        self.run(["cmake", "-S", str(source), "-B", str(folder), *generator, *defines], name)
        self.ninja(folder, name, *targets)

    def ninja(self, folder: Path, name: str, *targets: str) -> None:
        """Build targets (all by default) in a folder that CMake or Meson has configured."""
        self.run(["ninja", "-C", str(folder), "-j", str(self.folder.jobs), *targets], name)

    def _environment(self) -> dict[str, str]:
        """Return the environment of every command, the same on every machine."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CMAKE_")}
        for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CC", "CXX"):
            kept.pop(name, None)
        path = f"{self.python.parent}{os.pathsep}{kept.get('PATH', '/usr/bin:/bin')}"
        # The date of TFLite 2.14.1's release; any fixed one will do.
        return {**kept, "PATH": path, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1699920000"}
