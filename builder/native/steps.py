"""The build folder: steps that are skipped when up to date, commands with a log and progress."""

import hashlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from builder.base.processes import run_logged

HERE = Path(__file__).resolve().parent


class Builder:
    """A build folder and what every step in it shares.

    Attributes:
        folder: everything that is made stays below it.
        jobs: how many compilers run at once.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder = folder.resolve()
        self.jobs = jobs
        self.folder.mkdir(parents=True, exist_ok=True)

    def step(self, name: str, inputs: Sequence[str], work: Callable[[Path], None]) -> str:
        """Do `work` in the empty folder `name`, unless it was done before with these inputs.

        Args:
            name: of the step, and of its folder below the build folder.
            inputs: all that decides the result: hashes, flags, keys of earlier steps.
            work: is called with the folder, to fill it.

        Returns:
            A key that stands for the result: an input of later steps.
        """
        key = hashlib.sha256("\n".join([name, *inputs]).encode()).hexdigest()
        folder = self.folder / name
        stamp = self.folder / "stamps" / name.replace("/", "-")
        if stamp.exists() and stamp.read_text() == key and folder.exists():
            say(f"{name}: up to date")
            return key
        stamp.parent.mkdir(exist_ok=True)
        stamp.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.monotonic()
        say(f"{name} ...")
        work(folder)
        stamp.write_text(key)
        say(f"{name}: done in {time.monotonic() - began:.0f} s")
        return key

    def run(
        self,
        command: Sequence[str],
        name: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command; its output goes to the log of the step `name`, and is returned.

        Ninja's counter is shown as percent.

        Raises:
            BuildError: the command failed; quotes the end of the log and names the file.
        """
        log = self.folder / "logs" / (name.replace("/", "-") + ".txt")
        log.parent.mkdir(exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(command)}\n")
        shown = 0

        def follow(line: str) -> None:
            nonlocal shown
            if counter := re.match(r"\[(\d+)/(\d+)\]", line):
                percent = int(counter[1]) * 100 // int(counter[2])
                if percent >= shown + 10:
                    shown = percent
                    say(f"  {name}: {percent} %")

        return run_logged(command, f"{name}: {command[0]}", log, follow, cwd or self.folder, env)


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
