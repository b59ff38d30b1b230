"""The recipe: compiles the interpreter, numpy and Pillow, as small as the function needs them.

One folder per package, each with its sources' pins (`pins.toml`), its patches, what ships of it
(`ships.txt`) and how it is built (`build.py`):

    xnnpack   the kernels that run nearly every op: a static library
    tflite    TensorFlow Lite, and the Python module that is linked of it and XNNPACK
    numpy     arrays
    pillow    pictures, with libjpeg-turbo, libwebp and zlib linked in

The way of the data: `fetch` proves files by their sha256, `sources` unpacks and patches them, the
packages' `build` compiles them in `steps` with the `toolchain`, `export` collects what ships.
`python -m builder.native` is the command, on this machine as in the container; it runs on a bare
Python, so nothing here imports more than the standard library.
"""
