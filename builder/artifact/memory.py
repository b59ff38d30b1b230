"""Estimate the memory limit that an action needs: its process, the proxy and a large picture."""

from __future__ import annotations

from collections.abc import Sequence

from builder.artifact import action_files
from builder.base.errors import BuildError

# What an action can be given, in MB of 2^20 bytes; the first three on any deployment.
LIMITS = (128, 256, 512, 1024, 2048)
# Bytes that the costliest picture takes.
PICTURE_BYTES: int = action_files.read_constant("picture_limits.py", "MEMORY")
# Bytes of OpenWhisk's proxy, apart from what it keeps of the zip.
PROXY_BYTES = 14_000_000
# Bytes that the proxy keeps per byte of the zip: the request, its JSON, base64 and the zip itself.
# Measured on the real one: 3 to 4 for small zips.
PROXY_BYTES_PER_ZIP_BYTE = 4.0

# Bytes of the process with Python and our own modules.
_PYTHON_BYTES = 21_000_000
# Share of a native library that is ever loaded.
_LIBRARY_SHARE = 0.75
# Bytes per byte of the model: the file, and its weights packed for the kernels.
_BYTES_PER_MODEL_BYTE = 2.0
# Values that the layers hold per pixel of the model's input, of one byte for quantized models.
_VALUES_PER_PIXEL = 64

# Bytes of the native libraries, and of all packages in the zip, for one Python.
_COMPILED = 4_000_000, 1_500_000
_WHEELS = 67_000_000, 19_000_000


def choose_limit(zip_bytes: int, process_bytes: float) -> int:
    """Return the smallest memory limit that suffices, in MB as `wsk --memory` takes it."""
    needed = PROXY_BYTES + PROXY_BYTES_PER_ZIP_BYTE * zip_bytes + process_bytes + PICTURE_BYTES
    return next((limit for limit in LIMITS if needed <= limit << 20), LIMITS[-1])


def estimate_process(libraries: Sequence[int], model: int, pixels: int, value_bytes: int) -> float:
    """Return what an action's process will hold, in bytes; never less than a measurement."""
    activations = _VALUES_PER_PIXEL * pixels * value_bytes
    weights = _BYTES_PER_MODEL_BYTE * model
    return _PYTHON_BYTES + _LIBRARY_SHARE * sum(libraries) + weights + activations


def estimate_early(provider: str, model: int) -> int:
    """Return the least memory limit to expect of a zip that is not built, in MB."""
    libraries, packed = _WHEELS if provider == "wheels" else _COMPILED
    return choose_limit(packed + model, estimate_process([libraries], model, 0, 1))


def check_measurement(limit: int, zip_bytes: int, process_bytes: float) -> None:
    """Raise BuildError if the smoke test measured more than the manifest's limit allows."""
    measured = choose_limit(zip_bytes, process_bytes)
    if measured > limit:
        raise BuildError(
            f"memory: expected at most {limit} MB by the estimate, measured {measured} MB "
            f"({process_bytes / 1e6:.0f} MB in the process)",
            "the estimate for this model is too low, please report it; --no-smoke builds the zip, "
            f"to be created with --memory {measured}",
        )
