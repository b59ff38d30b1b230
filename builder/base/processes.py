"""Run commands, follow their output, and quote it if they fail. Standard library only."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from builder.base.errors import BuildError


def run_command(
    command: Sequence[str],
    follow: Callable[[str], None] = lambda line: None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command; return its exit status and its output, stdout and stderr together.

    Raises:
        OSError: it cannot be run.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        close_fds=False,  # a compiler that outlives us goes on holding our lock
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                follow(line)
        except BaseException:
            process.terminate()
            raise
    return process.returncode, "".join(lines)


def run_logged(
    command: Sequence[str],
    title: str,
    log: Path,
    follow: Callable[[str], None] = lambda line: None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command as `run_command` does, append its output to a log, and return it.

    Raises:
        BuildError: it cannot be run, or failed; says what `title` names, quotes the last lines and
            names the log.
    """
    hint = f"the full log is {log}"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", buffering=1, encoding="utf-8") as file:

            def write(line: str) -> None:
                file.write(line)
                follow(line.rstrip())

            status, output = run_command(command, write, cwd, env)
    except OSError as error:
        reason = error.strerror or error
        raise BuildError(f"{title} failed: {command[0]}: {reason}", hint) from error
    if status:
        raise BuildError(f"{title} failed:\n{last_lines(output, 30)}", hint)
    return output


def last_lines(output: str, lines: int = 15) -> str:
    """Return the last different lines of a program's output."""
    different = dict.fromkeys(line.rstrip() for line in reversed(output.splitlines()))
    last = [line for line in different if line][:lines]
    return "\n".join(reversed(last))
