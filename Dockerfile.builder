# Compiles the interpreter, numpy and Pillow for one Python version of the platform:
#
#   docker build -f Dockerfile.builder --output build/native .
#   docker build -f Dockerfile.builder --output build/native --build-arg PYTHON=3.12 .
#
# leaves build/native/cp311/{numpy,PIL,tflite_runtime}. The base images are the platform's own
# family, so the C library and libstdc++ are the ones that the packages will meet there. What does
# not depend on the Python version is compiled in stages that all versions share.

ARG PYTHON=3.11
ARG BASE=python:${PYTHON}-bookworm
ARG LIBRARIES_BASE=python:3.11-bookworm

# Source archives that are here already: --build-context sources=DIR. They are taken by their sha256.
FROM scratch AS sources

FROM ${LIBRARIES_BASE} AS libraries
# The archive's own versions are what the platform's images are made of.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ gcc libc6-dev nasm patch \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /recipe
# What the three commands share, then for each what it needs: a change of numpy's, say, leaves the
# layers of the libraries as they are.
COPY builder/__init__.py builder/
COPY builder/base/__init__.py builder/base/environments.py builder/base/errors.py \
    builder/base/files.py builder/base/paths.py builder/base/processes.py \
    builder/base/variables.py builder/base/
COPY builder/native/__init__.py builder/native/__main__.py builder/native/debian.py \
    builder/native/fetch.py builder/native/pins.py builder/native/recipe.py \
    builder/native/requirements.txt builder/native/sources.py builder/native/steps.py \
    builder/native/target.py builder/native/toolchain.py builder/native/unpack.py \
    builder/native/exports.map builder/native/
COPY builder/native/backend builder/native/backend/
COPY builder/native/numpy/pins.toml builder/native/numpy/
COPY builder/native/pillow/pins.toml builder/native/pillow/
COPY builder/native/tflite/pins.toml builder/native/tflite/
COPY builder/native/xnnpack/pins.toml builder/native/xnnpack/
ARG JOBS=2
RUN --mount=type=bind,from=sources,target=/sources \
    python3 -m builder.native fetch --build-dir /build --sources /sources --jobs "${JOBS}"
COPY builder/native/pillow/__init__.py builder/native/pillow/codecs.py builder/native/pillow/
COPY builder/native/xnnpack/__init__.py builder/native/xnnpack/build.py builder/native/xnnpack/
COPY builder/native/xnnpack/patches builder/native/xnnpack/patches/
RUN python3 -m builder.native libraries --build-dir /build --jobs "${JOBS}"

FROM ${BASE} AS packages
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ gcc libc6-dev nasm patch \
    && rm -rf /var/lib/apt/lists/*
COPY --from=libraries /build /build
WORKDIR /recipe
COPY builder/__init__.py builder/
COPY builder/base/__init__.py builder/base/environments.py builder/base/errors.py \
    builder/base/files.py builder/base/paths.py builder/base/processes.py \
    builder/base/variables.py builder/base/
COPY builder/native builder/native/
ARG JOBS=2
ARG OPS=classifier
RUN --mount=type=bind,from=sources,target=/sources \
    python3 -m builder.native packages --build-dir /build --out /out --sources /sources \
    --ops "${OPS}" --jobs "${JOBS}"

FROM scratch
COPY --from=packages /out /
