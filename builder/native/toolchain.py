"""The build tools, the compiler and the linker: what of them all packages share."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from builder.base import environments
from builder.native.recipe import digest
from builder.native.steps import HERE, Builder

REQUIREMENTS = HERE / "requirements.txt"

FLAGS = "-fPIC -fvisibility=hidden -ffunction-sections -fdata-sections"
"""Of every static library."""
C_FLAGS = f"{FLAGS} -fno-asynchronous-unwind-tables -fno-unwind-tables"
"""For C that nothing is ever thrown through."""
LINK = (
    "-Wl,--gc-sections,--as-needed,--build-id=none,--hash-style=gnu,-O1"
    ",-z,relro,-z,now,-z,noexecstack,-z,pack-relative-relocs -s"
)
"""Of every extension module."""
_EXPORTS = HERE / "exports.map"


class Toolchain:
    """Runs the build tools of requirements.txt in a build folder.

    Attributes:
        builder: whose folder it is.
        flags: compiler flags that keep this machine's paths out of what is compiled.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.flags = f"-ffile-prefix-map={builder.folder}=. -ffile-prefix-map={HERE}=."

    @cached_property
    def python(self) -> Path:
        """The interpreter of the tools' environment, which is made if it is not there."""
        return environments.ensure_environment("tools", REQUIREMENTS, folder=self.builder.folder)

    @cached_property
    def compiler(self) -> str:
        """The compiler's own words about its version: another one gives other bytes."""
        return self.run(["c++", "--version"], "tools").partition("\n")[0]

    @cached_property
    def inputs(self) -> list[str]:
        """What every compiled step depends on: which tools, not which Python they run on."""
        return [digest(REQUIREMENTS), digest(Path(__file__)), self.compiler]

    def portable(self, options: Mapping[str, str]) -> str:
        """Options as an input of a step: the same wherever the build folder and the recipe are."""
        text = repr(sorted(options.items()))
        return text.replace(str(self.builder.folder), "BUILD").replace(str(HERE), "RECIPE")

    def run(
        self,
        command: list[str],
        name: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """`Builder.run`, with the tools first on the command's PATH."""
        return self.builder.run(command, name, cwd, {**self._environment(), **(env or {})})

    def cmake(self, source: Path, folder: Path, name: str, options: Mapping[str, str]) -> None:
        """Configure and build a CMake project in `folder`."""
        defines = [f"-D{key}={value}" for key, value in sorted(options.items())]
        generator = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]
        self.run(["cmake", "-S", str(source), "-B", str(folder), *generator, *defines], name)
        self.ninja(folder, name)

    def ninja(self, folder: Path, name: str, *targets: str) -> None:
        """Build targets (all by default) in a folder that CMake or Meson has configured."""
        self.run(["ninja", "-C", str(folder), "-j", str(self.builder.jobs), *targets], name)

    def module_options(self) -> dict[str, str]:
        """CMake's options for an extension module, which exports its PyInit alone."""
        exports = f" -Wl,--version-script={_EXPORTS},--no-undefined-version"
        return {
            "CMAKE_C_FLAGS": self.flags,
            "CMAKE_CXX_FLAGS": self.flags,
            "CMAKE_C_FLAGS_RELEASE": "-O2",
            "CMAKE_CXX_FLAGS_RELEASE": "",
            "CMAKE_MODULE_LINKER_FLAGS": LINK + exports,
        }

    def module_inputs(self) -> list[str]:
        """What an extension module depends on besides its sources."""
        return [*self.inputs, LINK, digest(_EXPORTS)]

    def _environment(self) -> dict[str, str]:
        """A small environment for every command: the same on every machine."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CMAKE_")}
        for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CC", "CXX"):
            kept.pop(name, None)
        path = f"{self.python.parent}{os.pathsep}{kept.get('PATH', '/usr/bin:/bin')}"
        # The date of TFLite 2.14.1's release; any fixed one will do.
        return {**kept, "PATH": path, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1699920000"}
