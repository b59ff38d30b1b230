"""Entry point: `main(params)` on OpenWhisk, the command line for `python -m action`.

OpenWhisk renames this file to `main__.py`, parses it, and imports it once per container; what is
slow (imports, the model) happens then, so that an activation only has to answer.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _handle: Callable[[Any], dict[str, Any]]

HERE = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    from client.cli import run

    sys.exit(run(sys.argv[1:]))

if HERE not in sys.path:
    sys.path.insert(0, HERE)
if hasattr(sys.stdin, "_CHUNK_SIZE"):  # how CPython names it
    sys.stdin._CHUNK_SIZE = 1 << 15  # launchers read payloads there, else in steps of 8 KB

from action.packages import failing, use  # noqa: E402  (the path has to be there first)

try:
    packed = use(HERE)
    from action.activation import start

    _handle = start(packed)
except Exception as error:
    _handle = failing(error)


def main(params: dict[str, Any]) -> dict[str, Any]:
    """Answer one activation.

    Takes `image` (base64 or a data: URL) or `images` (a list of them), and the options `topK`,
    `threshold` and `details`; or, as a web action, an HTTP request. Never raises: every failure
    is `{"error": "..."}`.
    """
    return _handle(params)
