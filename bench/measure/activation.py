"""One timed activation of an action with a picture, as the platform's proxy sends it."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from builder.artifact.actionloop import RunningAction
from builder.base.errors import BuildError


def encode_activation(picture: bytes, details: bool = False) -> bytes:
    """Return an activation as the platform's proxy writes it: a line of JSON."""
    params: dict[str, Any] = {"image": base64.b64encode(picture).decode()}
    if details:
        params["details"] = True
    return json.dumps({"value": params}).encode()


def time_activation(action: RunningAction, line: bytes) -> tuple[float, Any]:
    """Send an activation; return its milliseconds and the answer.

    Raises:
        BuildError: the action died, or answered with an error.
    """
    began = time.perf_counter()
    answer = action.send(line)
    ms = (time.perf_counter() - began) * 1000
    if not isinstance(answer, dict) or "error" in answer:
        raise BuildError(f"expected an answer without error, found {json.dumps(answer)[:500]}")
    return ms, answer
