"""Run a command whose output goes to a log, and is quoted if it fails. Standard library only."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from builder.base.errors import BuildError

TAIL = 30
"""How many of the last lines an error quotes."""


def run_logged(
    command: Sequence[str],
    title: str,
    log: Path,
    follow: Callable[[str], None] = lambda line: None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return its output, stdout and stderr together.

    Args:
        command: program and arguments.
        title: what is being done, for an error.
        log: the output is appended to this file.
        follow: is called with each line as it comes.
        cwd: folder to run in.
        env: the command's whole environment; None for ours.

    Raises:
        BuildError: it cannot be run, or failed; quotes its last lines and names the log.
    """
    lines: list[str] = []
    hint = f"the full log is {log}"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("a", buffering=1, encoding="utf-8") as file,
            subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                close_fds=False,  # a compiler that outlives us goes on holding our lock
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    file.write(line)
                    lines.append(line)
                    follow(line.rstrip())
            except BaseException:
                process.terminate()
                raise
    except OSError as error:
        reason = error.strerror or error
        raise BuildError(f"{title} failed: {command[0]}: {reason}", hint) from error
    if process.returncode:
        tail = "".join(lines[-TAIL:]).rstrip()
        raise BuildError(f"{title} failed:\n{tail}", hint)
    return "".join(lines)
