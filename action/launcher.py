"""Launcher of a precompiled zip: the loop that OpenWhisk's ActionLoop proxy talks to.

A line of JSON on standard input is an activation, a line of JSON on file descriptor 3 its result.
Unlike the runtime's own launcher, it survives whatever the function returns or does: a value that
JSON cannot hold, or a call of `sys.exit`, gets an error as its result.
"""

import json
import os
import sys
from collections.abc import Callable
from io import BufferedWriter, TextIOWrapper


def serve(main: Callable[[object], object]) -> None:
    """Call `main` for each activation until standard input ends."""
    assert isinstance(sys.stdin, TextIOWrapper)
    sys.stdin.reconfigure(encoding="utf-8", errors="replace", newline="\n")
    results = open(3, "wb")  # noqa: SIM115
    if os.environ.get("__OW_WAIT_FOR_ACK"):
        _write_result(results, b'{"ok": true}')
    for line in sys.stdin:
        _write_result(results, _run_activation(main, line))


def _write_result(results: BufferedWriter, line: bytes) -> None:
    # The proxy marks the end of the log when it gets the result: the log must be complete by then.
    for log in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 (contextlib takes longer to import than json)
            log.flush()
        except Exception:  # the function closed it, or put something else there
            pass
    results.write(line + b"\n")
    results.flush()


def _run_activation(main: Callable[[object], object], line: str) -> bytes:
    try:
        message = json.loads(line)
        params = message.pop("value", {})
        for name, value in message.items():
            os.environ[f"__OW_{name.upper()}"] = str(value)
        return json.dumps(main(params), allow_nan=False).encode()
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: the container goes on
        return json.dumps({"error": _log_error(error)}).encode()


def _log_error(error: BaseException) -> str:
    """Print the traceback of an error; return the error's text, or its type if it has none."""
    reason = type(error).__name__
    try:
        import traceback

        traceback.print_exception(error)
        reason = str(error) or reason
        if isinstance(error, SystemExit):
            reason = f"the action ended itself with exit status {error.code}"
    except BaseException:  # the error's own text raises, or the log was closed
        pass
    return reason
