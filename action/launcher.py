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
    for log in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 (contextlib takes longer to import than json)
            log.flush()
        except Exception:  # the function closed it, or put something else there
            pass
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
    except BaseException as error:  # SystemExit and KeyboardInterrupt, too: the container goes on
        return json.dumps({"error": _reason(error)}).encode()


def _reason(error: BaseException) -> str:
    """What an activation failed of; the log gets it in full."""
    try:
        import traceback

        traceback.print_exception(error)
        if isinstance(error, SystemExit):
            return f"the action ended itself with exit status {error.code}"
        return str(error) or type(error).__name__
    except BaseException:  # an error without a text of its own, or a log that was closed
        return type(error).__name__
