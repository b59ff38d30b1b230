"""The loop of a precompiled zip: activations in, answers out.

It speaks the protocol of OpenWhisk's ActionLoop proxy, as the runtime's own launcher does: a line
of JSON on standard input per activation, a line of JSON on file descriptor 3 for its answer. Other
than that one, it survives what the function returns or does: a value that JSON cannot hold, or a
call of `sys.exit`, is answered with an error.
"""

from __future__ import annotations

import json
import os
import sys
from io import TextIOWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def serve(main: Callable[[Any], Any]) -> None:
    """Answer activations with `main` until standard input ends."""
    assert isinstance(sys.stdin, TextIOWrapper)
    sys.stdin.reconfigure(encoding="utf-8", errors="replace", newline="\n")
    answers = open(3, "wb")  # noqa: SIM115
    if os.environ.get("__OW_WAIT_FOR_ACK"):
        _send(answers, b'{"ok": true}')
    for line in sys.stdin:
        _send(answers, _answer(main, line))


def _send(answers: Any, line: bytes) -> None:
    # The log has to be complete when the proxy gets the answer: it then marks the log's end.
    sys.stdout.flush()
    sys.stderr.flush()
    answers.write(line + b"\n")
    answers.flush()


def _answer(main: Callable[[Any], Any], line: str) -> bytes:
    """One activation: a line of JSON to a line of JSON."""
    try:
        message = json.loads(line)
        params = message.pop("value", {})
        for name, value in message.items():
            os.environ[f"__OW_{name.upper()}"] = str(value)
        return json.dumps(main(params), allow_nan=False).encode()
    except (Exception, SystemExit) as error:
        import traceback

        traceback.print_exception(type(error), error, error.__traceback__)
        reason = str(error)
        if isinstance(error, SystemExit):
            reason = f"the action ended itself with exit status {error.code}"
        return json.dumps({"error": reason}).encode()
