# Compiles the interpreter, numpy and Pillow for one Python version of the platform:
#
#   docker build -f Dockerfile.builder --output build/native .
#   docker build -f Dockerfile.builder --output build/native --build-arg PYTHON=3.12 .
#
# leaves build/native/cp311/{numpy,PIL,tflite_runtime}. The base images are of the platform's own
# family, so the packages meet the same C library and libstdc++ there. What is the same for every
# Python version is compiled in a stage that all versions share.

ARG PYTHON=3.11
ARG BASE=python:${PYTHON}-bookworm
ARG LIBRARIES_BASE=python:3.11-bookworm

# Source archives that are on this machine, found by their sha256: --build-context sources=DIR.
FROM scratch AS sources

FROM ${LIBRARIES_BASE} AS libraries
# The archive's own versions are what the platform's images are made of.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ gcc libc6-dev nasm patch \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /recipe
COPY builder/__init__.py builder/
COPY builder/base builder/base/
COPY builder/native builder/native/
ARG JOBS=2
RUN --mount=type=bind,from=sources,target=/sources \
    python3 -m builder.native libraries --build-dir /build --sources /sources --jobs "${JOBS}"

FROM ${BASE} AS packages
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ gcc libc6-dev nasm patch \
    && rm -rf /var/lib/apt/lists/*
COPY --from=libraries /build /build
WORKDIR /recipe
COPY builder/__init__.py builder/
COPY builder/base builder/base/
COPY builder/native builder/native/
ARG JOBS=2
ARG OPS=classifier
RUN --mount=type=bind,from=sources,target=/sources \
    python3 -m builder.native packages --build-dir /build --out /out --sources /sources \
    --ops "${OPS}" --jobs "${JOBS}"

FROM scratch
COPY --from=packages /out /
