"""Run a command on a pseudo-terminal, and return what it shows there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path


def run_on_terminal(command: Sequence[str], cwd: Path, width: int = 80) -> tuple[int, str]:
    """Return the exit status, and everything that is written to a terminal of this width."""
    main, sub = pty.openpty()
    fcntl.ioctl(sub, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    variables["TERM"] = "xterm"
    with subprocess.Popen(
        command, cwd=cwd, env=variables, stdin=sub, stdout=sub, stderr=sub
    ) as process:
        os.close(sub)
        shown = b""
        try:
            while chunk := os.read(main, 4096):
                shown += chunk
        except OSError:  # how Linux tells that the other side has closed
            pass
    os.close(main)
    return process.returncode, shown.decode()


def without_control(shown: str) -> str:
    """Return the text that a terminal shows, without colours; each redrawn line starts with CR."""
    redrawn = re.sub(r"\x1b\[(2K|1A)", "\r", shown)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", redrawn)
