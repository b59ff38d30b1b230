"""How much memory an action needs: from its zip, its process and the costliest picture it takes."""

from __future__ import annotations

from collections.abc import Sequence

from builder.artifact import action_files

PICTURE: int = action_files.read_constant("picture_limits.py", "MEMORY")
"""Bytes that the costliest picture takes."""
PROXY_BYTES = 14_000_000
"""Bytes of OpenWhisk's proxy beside the action, apart from what it keeps of the zip."""
PROXY_BYTES_PER_ZIP_BYTE = 4.0
"""Bytes that the proxy keeps per byte of the zip: the request, its JSON, base64 and the zip itself.

Measured on the real one: 3 to 4 for small zips.
"""
STEPS = (128, 256, 512, 1024, 2048)
"""What an action can be given, in MB of 2^20 bytes; the first three on any deployment."""
_PYTHON = 20_000_000
"""Bytes of the process with an interpreter and our own modules."""
_OF_LIBRARIES = 0.45
"""Share of a native library that is ever loaded."""
_OF_MODEL = 2.0
"""Bytes per byte of the model: the file, and its weights packed for the kernels."""


def choose_limit(zip_bytes: int, process_bytes: float) -> int:
    """The least memory limit, in MB as `wsk --memory` takes it.

    Args:
        zip_bytes: size of the zip.
        process_bytes: what the action's process holds once it has answered.
    """
    needed = PROXY_BYTES + PROXY_BYTES_PER_ZIP_BYTE * zip_bytes + process_bytes + PICTURE
    return next((step for step in STEPS if needed <= step << 20), STEPS[-1])


def estimate_process(libraries: Sequence[int], model: int) -> float:
    """What a process holds that could not be measured, in bytes.

    Args:
        libraries: sizes of the native libraries of one Python version.
        model: size of the model.
    """
    return _PYTHON + _OF_LIBRARIES * sum(libraries) + _OF_MODEL * model
