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
COPY builder/native/sources.toml builder/native/tools.txt ./
COPY builder/native/steps.py builder/native/sources.py ./
COPY builder/native/backend backend/
ARG JOBS=2
RUN --mount=type=bind,from=sources,target=/sources \
    python3 sources.py --build-dir /build --sources /sources --jobs "${JOBS}"
COPY builder/native/patches/xnnpack.patch patches/
COPY builder/native/libraries.py ./
RUN python3 libraries.py --build-dir /build --jobs "${JOBS}"

FROM ${BASE} AS packages
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ gcc libc6-dev nasm patch \
    && rm -rf /var/lib/apt/lists/*
COPY --from=libraries /build /build
WORKDIR /recipe
COPY builder/native ./
ARG JOBS=2
ARG OPS=classifier
RUN python3 packages.py --build-dir /build --out /out --ops "${OPS}" --jobs "${JOBS}"

FROM scratch
COPY --from=packages /out /
