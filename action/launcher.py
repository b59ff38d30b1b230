"""The loop of a precompiled zip, by the protocol of OpenWhisk's ActionLoop proxy.

A line of JSON on standard input is an activation, a line of JSON on file descriptor 3 its answer.
Other than the runtime's own launcher, it survives what the function returns or does: a value that
JSON cannot hold, or a call of `sys.exit`, is answered with an error.
"""

import json
import os
import sys
from collections.abc import Callable
from io import BufferedWriter, TextIOWrapper


def serve(main: Callable[[object], object]) -> None:
    """Answer activations with `main` until standard input ends."""
    assert isinstance(sys.stdin, TextIOWrapper)
    sys.stdin.reconfigure(encoding="utf-8", errors="replace", newline="\n")
    answers = open(3, "wb")  # noqa: SIM115
    if os.environ.get("__OW_WAIT_FOR_ACK"):
        _send(answers, b'{"ok": true}')
    for line in sys.stdin:
        _send(answers, _answer(main, line))


def _send(answers: BufferedWriter, line: bytes) -> None:
    # The log has to be complete when the proxy gets the answer: it then marks the log's end.
    for log in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 (contextlib takes longer to import than json)
            log.flush()
        except Exception:  # the function closed it, or put something else there
            pass
    answers.write(line + b"\n")
    answers.flush()


def _answer(main: Callable[[object], object], line: str) -> bytes:
    try:
        message = json.loads(line)
        params = message.pop("value", {})
        for name, value in message.items():
            os.environ[f"__OW_{name.upper()}"] = str(value)
        return json.dumps(main(params), allow_nan=False).encode()
    except BaseException as error:  # SystemExit and KeyboardInterrupt, too: the container goes on
        reason = type(error).__name__
        try:
            import traceback

            traceback.print_exception(error)
            reason = str(error) or reason
            if isinstance(error, SystemExit):
                reason = f"the action ended itself with exit status {error.code}"
        except BaseException:  # an error without a text of its own, or a log that was closed
            pass
        return json.dumps({"error": reason}).encode()
