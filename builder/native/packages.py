"""The packages of a runtime: TFLite once, then its wrapper, numpy and Pillow for each Python.

Needs what libraries.py builds, and builds it if it is not there.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import libraries
from sources import Sources, arguments, pins, tools
from steps import HERE, Builder, RecipeError, digest, say

LINK = (
    "-Wl,--gc-sections,--as-needed,--build-id=none,--hash-style=gnu,-O1"
    ",-z,relro,-z,now,-z,noexecstack,-z,pack-relative-relocs -s"
)
EXPORTS = f" -Wl,--version-script={HERE / 'exports.map'},--no-undefined-version"
OPS = ("classifier", "all")

# No exception passes through numpy: its C++ is compiled without them.
NUMPY_FLAGS = (
    "-Os -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables"
)
NUMPY_OPTIONS = (
    # No BLAS: nothing here multiplies matrices with numpy. No kernels for other processors, and
    # none of the vendored vector mathematics: the function looks numbers up and sorts a few.
    *("-Dblas=none", "-Dlapack=none", "-Dallow-noblas=true", "-Dcpu-dispatch=none"),
    *("-Ddisable-svml=true", "-Ddisable-highway=true", "-Ddisable-intel-sort=true"),
    *("--prefix=/", "-Dpython.purelibdir=/", "-Dpython.platlibdir=/", "-Dpython.bytecompile=-1"),
    *("--buildtype=plain", "-Db_ndebug=true"),
)

# What of each package the function can reach, or an array or a picture needs to behave like one:
# the only files that are exported. What imports the others is patched to do so when it is used.
SHIPPED = {
    "numpy": (
        *("__init__.py", "_globals.py", "dtypes.py", "exceptions.py", "version.py"),
        *("_utils/__init__.py", "_utils/_convertions.py", "_utils/_inspect.py"),
        *("_core/__init__.py", "_core/_multiarray_umath.*.so", "_core/multiarray.py"),
        *("_core/umath.py", "_core/overrides.py", "_core/printoptions.py", "_core/_dtype.py"),
        *("_core/_exceptions.py", "_core/_internal.py", "_core/_methods.py"),
        *("_core/_string_helpers.py", "_core/_type_aliases.py", "_core/numerictypes.py"),
        *("_core/fromnumeric.py", "_core/getlimits.py", "_core/_machar.py"),
        *("_core/numeric.py", "_core/shape_base.py", "_core/function_base.py"),
        *("_core/_asarray.py", "_core/_ufunc_config.py", "_core/arrayprint.py"),
        *("_core/einsumfunc.py", "_core/_dtype_ctypes.py"),
    ),
    "PIL": (
        *("__init__.py", "_version.py", "_binary.py", "_deprecate.py", "_util.py", "_lazy.py"),
        *("_imaging.*.so", "_webp.*.so", "Image.py", "ImageFile.py", "ImageMode.py"),
        *("ImagePalette.py", "ImageColor.py", "BmpImagePlugin.py", "GifImagePlugin.py"),
        *("JpegImagePlugin.py", "JpegPresets.py", "PngImagePlugin.py", "WebPImagePlugin.py"),
        # A picture's EXIF is a small TIFF file.
        *("TiffImagePlugin.py", "TiffTags.py", "ExifTags.py"),
    ),
    "tflite_runtime": ("*",),
}

# Of a source, what says under which terms it is. Eigen also keeps the GPL's texts, for old code.
LICENCES: tuple[str, ...] = (
    "LICEN[CS]E*",
    "COPYING",
    "COPYING.[AB]*",
    "COPYING.M*",
    "PATENTS",
    "NOTICE*",
)
LICENCES += ("README.ijg", "readme.txt", "*.dist-info/LICENSE*")


class Python(NamedTuple):
    """An interpreter to build for.

    Attributes:
        path: of its executable.
        version: full, as "3.11.7".
        tag: names its folder, as "cp311".
        include: folder of its headers.
        suffix: what its extension modules' file names end in.
    """

    path: str
    version: str
    tag: str
    include: str
    suffix: str


def python(path: str) -> Python:
    """Ask an interpreter about itself.

    Raises:
        RecipeError: it does not run, or has no headers.
    """
    question = (
        "import json, platform, sys, sysconfig;"
        "print(json.dumps([platform.python_version(), 'cp%d%d' % sys.version_info[:2],"
        "sysconfig.get_path('include'), sysconfig.get_config_var('EXT_SUFFIX')]))"
    )
    try:
        asked = [path, "-I", "-c", question]
        answer = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise RecipeError(f"{path} is no Python that runs: {error}") from error
    found = Python(path, *json.loads(answer))
    if not (Path(found.include) / "Python.h").exists():
        raise RecipeError(
            f"{path} has no headers: expected {found.include}/Python.h; "
            "install its development package (Debian, Ubuntu: apt install python3-dev)"
        )
    return found


class Packages:
    """Builds packages and exports them."""

    def __init__(self, builder: Builder, sources: Sources, ops: str) -> None:
        self._builder = builder
        self._sources = sources
        self._ops = ops
        self._flags = builder.prefix_maps()
        self._common = [tools(builder), builder.compiler()]

    def export(self, python: Python, out: Path) -> None:
        """Build everything for a Python and put it into `out / cp311` or the like."""
        with_libraries = [
            libraries.xnnpack(self._builder, self._sources),
            libraries.codecs(self._builder, self._sources),
        ]
        tflite = self._tflite()
        numpy = self._numpy(python)
        self._wrapper(python, [*with_libraries, tflite, numpy])
        self._pillow(python, with_libraries)
        made = self._builder.folder / python.tag
        target = out / python.tag
        shutil.rmtree(target, ignore_errors=True)
        _ship(made / "numpy" / "install" / "numpy", target)
        shutil.copyfile(HERE / "numpy" / "front.py", target / "numpy" / "__init__.py")
        _ship(made / "pillow" / "PIL", target)
        _ship(made / "wrapper" / "tflite_runtime", target)
        self._check(python, target)
        used = {name: pin for name, pin in pins().items() if pin.get("ops", self._ops) == self._ops}
        (target / "licences").mkdir()
        for name in used:
            self._sources.unpack(name)
            (target / "licences" / f"{name}.txt").write_text(licence(self._sources.folder / name))
        facts: dict[str, Any] = {
            "python": python.version,
            "ops": self._ops,
            "operators": operators() if self._ops == "classifier" else None,
            "compiler": self._common[1],
            "sources": used,
        }
        # Written last: a folder that has it is complete.
        (target / "recipe.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")

    def _check(self, python: Python, folder: Path) -> None:
        """Load every extension module: with `-z now`, that resolves every symbol."""
        modules = ["numpy", "tflite_runtime.interpreter", "PIL.Image", "PIL._webp"]
        code = f"import sys; sys.path[:0] = [{str(folder)!r}]; import {', '.join(modules)}"
        self._builder.run([python.path, "-I", "-S", "-B", "-c", code], f"{python.tag}/check")

    def _tflite(self) -> str:
        names = ["tensorflow", "flatbuffers", "gemmlowp", "eigen3", "fp16", "pthreadpool"]
        names += ["cpuinfo", "xnnpack", "farmhash", "oourafft"]
        inputs = [self._sources.unpack(name) for name in names]
        inputs += [*self._common, digest(HERE / "tflite"), self._ops]

        def work(folder: Path) -> None:
            options = {
                "SOURCES": str(self._sources.folder),
                "OPS": self._ops,
                "CMAKE_C_FLAGS": self._flags,
                "CMAKE_CXX_FLAGS": self._flags,
                "CMAKE_C_FLAGS_RELEASE": "",
                "CMAKE_CXX_FLAGS_RELEASE": "",
            }
            self._builder.cmake(HERE / "tflite", folder, "tflite", options)

        return self._builder.step("tflite", inputs, work)

    def _wrapper(self, python: Python, inputs: list[str]) -> str:
        inputs = [*inputs, self._sources.unpack("pybind11"), LINK, *_about(python)]
        inputs += [*self._common, digest(HERE / "wrapper", HERE / "exports.map"), self._ops]
        name = f"{python.tag}/wrapper"
        numpy = self._builder.folder / python.tag / "numpy" / "install" / "numpy"

        def work(folder: Path) -> None:
            options = {
                "SOURCES": str(self._sources.folder),
                "TFLITE": str(self._builder.folder / "tflite"),
                "XNNPACK": str(self._builder.folder / "xnnpack"),
                "OPS": self._ops,
                "PYTHON_INCLUDE": python.include,
                "NUMPY_INCLUDE": str(numpy / "_core" / "include"),
                "SUFFIX": python.suffix,
                **self._module_options(),
            }
            self._builder.cmake(HERE / "wrapper", folder, name, options)
            package = folder / "tflite_runtime"
            package.mkdir()
            for module in folder.glob("*.so"):
                shutil.copy(module, package)
            lite = self._sources.folder / "tensorflow" / "tensorflow" / "lite" / "python"
            shutil.copy(lite / "interpreter.py", package)
            for file in ("metrics_interface.py", "metrics_portable.py"):
                shutil.copy(lite / "metrics" / file, package)
            version = pins()["tensorflow"]["debian"]["version"].partition("+")[0]
            (package / "__init__.py").write_text(f'__version__ = "{version}"\n')

        return self._builder.step(name, inputs, work)

    def _numpy(self, python: Python) -> str:
        inputs = [self._sources.unpack("numpy"), *self._common, LINK, NUMPY_FLAGS]
        inputs += [*NUMPY_OPTIONS, *_about(python)]
        name = f"{python.tag}/numpy"
        source = self._sources.folder / "numpy"
        meson = [str(self._builder.tools / "bin" / "python")]
        meson += [str(source / "vendored-meson" / "meson" / "meson.py")]

        def work(folder: Path) -> None:
            native = folder / "native.ini"
            native.write_text(f"[binaries]\npython = '{python.path}'\n")
            flags = f"{NUMPY_FLAGS} {self._flags}"
            command = [*meson, "setup", str(folder / "build"), str(source), *NUMPY_OPTIONS]
            command += [f"--native-file={native}", f"-Dc_args={flags}", f"-Dcpp_args={flags}"]
            command += [f"-Dc_link_args={LINK}", f"-Dcpp_link_args={LINK}"]
            self._builder.run(command, name)
            # Not the other targets: they are for tests.
            module = f"numpy/_core/_multiarray_umath{python.suffix}"
            self._builder.ninja(folder / "build", name, module)
            command = [*meson, "install", "-C", str(folder / "build"), "--no-rebuild"]
            command += ["--tags", "runtime,python-runtime,devel"]
            self._builder.run([*command, "--destdir", str(folder / "install")], name)

        return self._builder.step(name, inputs, work)

    def _pillow(self, python: Python, inputs: list[str]) -> str:
        inputs = [*inputs, *(self._sources.unpack(name) for name in ("pillow", "zlib"))]
        inputs += [LINK, *_about(python)]
        inputs += [*self._common, digest(HERE / "pillow", HERE / "exports.map")]
        name = f"{python.tag}/pillow"

        def work(folder: Path) -> None:
            options = {
                "PILLOW": str(self._sources.folder / "pillow"),
                "ZLIB": str(self._sources.folder / "zlib"),
                "VERSION": pins()["pillow"]["index"]["version"],
                "CODECS": str(self._builder.folder / "codecs"),
                "PYTHON_INCLUDE": python.include,
                "SUFFIX": python.suffix,
                **self._module_options(),
            }
            self._builder.cmake(HERE / "pillow", folder, name, options)
            shutil.copytree(self._sources.folder / "pillow" / "src" / "PIL", folder / "PIL")
            for module in folder.glob("*.so"):
                shutil.copy(module, folder / "PIL")

        return self._builder.step(name, inputs, work)

    def _module_options(self) -> dict[str, str]:
        return {
            "CMAKE_C_FLAGS": self._flags,
            "CMAKE_CXX_FLAGS": self._flags,
            "CMAKE_C_FLAGS_RELEASE": "-O2",
            "CMAKE_CXX_FLAGS_RELEASE": "",
            "CMAKE_MODULE_LINKER_FLAGS": LINK + EXPORTS,
        }


def operators() -> list[str]:
    """The names of the operators in tflite/ops.cc."""
    text = (HERE / "tflite" / "ops.cc").read_text("utf-8")
    return re.findall(r"^ +X\((\w+), \w+, \d+\)", text, re.MULTILINE)


def licence(source: Path) -> str:
    """The licence texts of an unpacked source.

    Raises:
        RecipeError: there is none.
    """
    found = sorted({path for pattern in LICENCES for path in source.glob(pattern)})
    if not found:
        raise RecipeError(f"{source.name}: no licence text ({', '.join(LICENCES)})")
    texts = [path.read_text("utf-8", "replace").strip() for path in found]
    return "\n\n".join(texts) + "\n"


def _about(python: Python) -> tuple[str, str]:
    """What of an interpreter decides the bytes: not where it is."""
    return python.version, python.suffix


def _ship(package: Path, target: Path) -> None:
    """Copy what SHIPPED names of a package into the folder `target`.

    Raises:
        RecipeError: a pattern names nothing.
    """
    for pattern in SHIPPED[package.name]:
        found = [path for path in package.glob(pattern) if path.is_file()]
        if not found:
            raise RecipeError(f"{package.name}: expected {pattern}, found no such file")
        for path in found:
            to = target / package.name / path.relative_to(package)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)


def main() -> int:
    """Build and export the packages."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--out", type=Path, required=True, help="gets cp311/numpy and so on")
    parser.add_argument(
        "--python", action="append", metavar="PATH",
        help="an interpreter to build for; may be repeated (this one)",
    )  # fmt: skip
    parser.add_argument("--ops", choices=OPS, default=OPS[0], help="which TFLite ops (classifier)")
    options = parser.parse_args()
    missing = [name for name in ("gcc", "g++", "nasm", "patch") if not shutil.which(name)]
    try:
        if missing:
            names = " ".join(missing)
            raise RecipeError(f"not installed: {names} (Debian, Ubuntu: apt install {names})")
        builder = Builder(options.build_dir, options.jobs)
        packages = Packages(builder, Sources(builder, options.sources), options.ops)
        for path in options.python or [sys.executable]:
            packages.export(python(path), options.out.resolve())
            say(f"exported to {options.out}")
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
