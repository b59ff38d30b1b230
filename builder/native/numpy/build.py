"""numpy for one Python."""

from pathlib import Path

from builder.native.recipe import digest
from builder.native.sources import Sources
from builder.native.steps import HERE
from builder.native.target import Python
from builder.native.toolchain import LINK, Toolchain

# No exception passes through numpy: its C++ is compiled without them.
FLAGS = "-Os -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables"
OPTIONS = (
    # No BLAS: nothing here multiplies matrices with numpy. No kernels for other processors, and
    # none of the vendored vector mathematics: the function looks numbers up and sorts a few.
    *("-Dblas=none", "-Dlapack=none", "-Dallow-noblas=true", "-Dcpu-dispatch=none"),
    *("-Ddisable-svml=true", "-Ddisable-highway=true", "-Ddisable-intel-sort=true"),
    *("--prefix=/", "-Dpython.purelibdir=/", "-Dpython.platlibdir=/", "-Dpython.bytecompile=-1"),
    *("--buildtype=plain", "-Db_ndebug=true"),
)
FOLDER = HERE / "numpy"
OWN = {"__init__.py": FOLDER / "front.py", "_core/__init__.py": FOLDER / "core.py"}
"""Modules of the package that ours take the place of."""


def build(toolchain: Toolchain, sources: Sources, python: Python) -> tuple[str, Path]:
    """Build it; returns the key of the result, and the package's folder.

    Raises:
        BuildError: a source is not to be had, or does not compile.
    """
    inputs = [sources.unpack("numpy"), *toolchain.module_inputs(), *python.inputs]
    inputs += [digest(Path(__file__))]
    name = f"{python.tag}/numpy"
    source = sources.path("numpy")

    def work(folder: Path) -> None:
        meson = [str(toolchain.python), str(source / "vendored-meson" / "meson" / "meson.py")]
        native = folder / "native.ini"
        native.write_text(f"[binaries]\npython = '{python.path}'\n")
        flags = f"{FLAGS} {toolchain.flags}"
        command = [*meson, "setup", str(folder / "build"), str(source), *OPTIONS]
        command += [f"--native-file={native}", f"-Dc_args={flags}", f"-Dcpp_args={flags}"]
        link = f"{LINK} -Wl,--version-script={HERE / 'exports.map'}"
        command += [f"-Dc_link_args={link}", f"-Dcpp_link_args={link}"]
        toolchain.run(command, name)
        # Not the other targets: they are for tests.
        module = f"numpy/_core/_multiarray_umath{python.suffix}"
        toolchain.ninja(folder / "build", name, module)
        command = [*meson, "install", "-C", str(folder / "build"), "--no-rebuild"]
        command += ["--tags", "runtime,python-runtime,devel"]
        toolchain.run([*command, "--destdir", str(folder / "install")], name)

    key = toolchain.builder.step(name, inputs, work)
    return key, toolchain.builder.folder / name / "install" / "numpy"


def headers(package: Path) -> Path:
    """Where numpy's headers are in the package's folder."""
    return package / "_core" / "include"
