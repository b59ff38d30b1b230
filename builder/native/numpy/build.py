"""Build numpy for one Python."""

from pathlib import Path

from builder.native.python import Python
from builder.native.sources import Sources
from builder.native.steps import RECIPE
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
# Modules of the package -> our modules that replace them.
REPLACED = {
    "__init__.py": RECIPE / "numpy" / "front.py",
    "_core/__init__.py": RECIPE / "numpy" / "core.py",
}


def build(toolchain: Toolchain, sources: Sources, python: Python) -> tuple[str, Path]:
    """Build numpy; return the key of this step and the package's folder."""
    inputs = [sources.unpack("numpy"), *toolchain.inputs("numpy"), *python.inputs]
    name = f"{python.tag}/numpy"
    source = sources.path("numpy")

    def work(folder: Path) -> None:
        meson = [str(toolchain.python), str(source / "vendored-meson" / "meson" / "meson.py")]
        native = folder / "native.ini"
        native.write_text(f"[binaries]\npython = '{python.path}'\n")
        flags = f"{FLAGS} {toolchain.flags}"
        command = [*meson, "setup", str(folder / "build"), str(source), *OPTIONS]
        command += [f"--native-file={native}", f"-Dc_args={flags}", f"-Dcpp_args={flags}"]
        link = f"{LINK} -Wl,--version-script={RECIPE / 'exports.map'}"
        command += [f"-Dc_link_args={link}", f"-Dcpp_link_args={link}"]
        toolchain.run(command, name)
        # Only this target: the others are for tests.
        module = f"numpy/_core/_multiarray_umath{python.suffix}"
        toolchain.ninja(folder / "build", name, module)
        command = [*meson, "install", "-C", str(folder / "build"), "--no-rebuild"]
        command += ["--tags", "runtime,python-runtime,devel"]
        toolchain.run([*command, "--destdir", str(folder / "install")], name)

    key = toolchain.folder.step(name, inputs, work)
    return key, toolchain.folder.path / name / "install" / "numpy"
