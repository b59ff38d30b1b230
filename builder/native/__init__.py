"""The recipe: compiles the interpreter, numpy and Pillow, as small as the function needs them.

There is a folder per package. It has the pins of its sources (`pins.toml`), patches, the list of
files that ship (`ships.txt`), rules for its imports (`imports.toml`) and its build (`build.py`):

    xnnpack   the kernels that run nearly every operator: a static library
    tflite    TensorFlow Lite, and the Python module that links it with XNNPACK
    numpy     arrays
    pillow    image files, with libjpeg-turbo, libwebp and zlib linked in

`python3 -m builder.native` runs the recipe (`__main__`). Files in the order of the data:

    pins, versions   which file of a source, and which patches and rules, for a Python version
    sources, debian  get that file, verified by its sha256; extract and patch it
    steps            skip what is up to date; run commands with a log
    toolchain        compiler and linker flags, CMake, Ninja
    python           the Python that packages are compiled for
    collect          build every package, copy what ships, rewrite imports (imports, standins)
    hashing          hash the files that decide the result: the recipe's key

All of it runs on a bare Python, in the container too: it imports the standard library only. What
cannot be fetched, does not compile or does not fit raises BuildError.
"""

from dataclasses import dataclass

# The operators that an interpreter can have: those of tflite/runtime/ops.cc, or all of TFLite's.
OPS = ("classifier", "all")


@dataclass(frozen=True)
class PackageName:
    """The names of a package of a runtime.

    Attributes:
        distribution: its name in the package index.
        module: the module that it is imported as.
        folder: of the recipe; empty if it comes as a wheel only.
        source: the source that it is compiled from, as pins.toml names it; empty for a wheel.
    """

    distribution: str
    module: str
    folder: str = ""
    source: str = ""


TFLITE_RUNTIME = PackageName("tflite-runtime", "tflite_runtime", "tflite", "tensorflow")
NUMPY = PackageName("numpy", "numpy", "numpy", "numpy")
PILLOW = PackageName("pillow", "PIL", "pillow", "pillow")
COMPILED_PACKAGES = (TFLITE_RUNTIME, NUMPY, PILLOW)
