"""Entry point: `main(params)` on OpenWhisk, the command line for `python3 -m action`.

OpenWhisk renames this file to `main__.py`, parses it, and imports it once per container. The slow
work (imports, loading the model) happens on import, so that an activation only has to answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

if __name__ == "__main__":
    from client.cli import run

    sys.exit(run(sys.argv[1:]))

HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)
if hasattr(sys.stdin, "_CHUNK_SIZE"):  # CPython's name
    # Launchers read payloads from standard input: by default in steps of 8 KB.
    sys.stdin._CHUNK_SIZE = 1 << 15

# Below the change of sys.path, which these imports need.
from action.bootstrap import PackedZip, error_handler, install_importer  # noqa: E402

files: PackedZip | None = None


def start() -> tuple[Callable[[dict[str, object]], dict[str, object]], bool]:
    """Return what answers activations, and whether to start again, as after a full disk."""
    global files
    try:
        files = files or install_importer(HERE)
        from action.activation import Handler

        return Handler(files), False
    except Exception as error:
        return error_handler(error), isinstance(error, OSError)


handle, start_again = start()


def main(params: dict[str, object]) -> dict[str, object]:
    """Answer one activation.

    Takes `image` (base64 or a data: URL) or `images` (a list of them), and the options `topK`,
    `threshold` and `details`; or, as a web action, an HTTP request. Never raises: every failure
    is `{"error": "..."}`.
    """
    global handle, start_again
    if start_again:
        handle, start_again = start()
    return handle(params)
