"""A build folder: steps that are skipped when up to date, commands with a log and progress."""

import hashlib
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from builder.base.environments import print_progress
from builder.base.processes import run_logged

# The folder of the recipe.
RECIPE = Path(__file__).resolve().parent
# The step whose commands download. No file of theirs may have over 256 MiB, and none may take over
# half an hour, as in builder/base/download.py.
FETCH = "fetch"
FETCH_LIMITS = ("timeout", "--verbose", "1800", "prlimit", f"--fsize={1 << 28}")


class BuildFolder:
    """The folder that everything is built in.

    Attributes:
        path: of the folder.
        jobs: the number of compilers that run at once.
    """

    def __init__(self, path: Path, jobs: int) -> None:
        self.path = path.resolve()
        self.jobs = jobs
        self.path.mkdir(parents=True, exist_ok=True)

    def step(self, name: str, inputs: Sequence[str], work: Callable[[Path], None]) -> str:
        """Run a step in the empty folder `name`, unless it ran before with these inputs.

        Args:
            name: of the step, and of its folder below the build folder.
            inputs: all that decides the result: hashes, flags, keys of earlier steps.
            work: called with the folder, to fill it.

        Returns:
            A key that stands for the result, as an input of later steps.
        """
        key = hashlib.sha256("\n".join([name, *inputs]).encode()).hexdigest()
        folder = self.path / name
        stamp = self.path / "stamps" / name.replace("/", "-")
        if stamp.exists() and stamp.read_text() == key and folder.exists():
            print_progress(f"{name}: up to date")
            return key
        stamp.parent.mkdir(exist_ok=True)
        stamp.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.monotonic()
        print_progress(f"{name} ...")
        work(folder)
        stamp.write_text(key)
        print_progress(f"{name}: done in {time.monotonic() - began:.0f} s")
        return key

    def run(
        self,
        command: Sequence[str],
        name: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command of the step `name`, log its output and return it.

        Ninja's counter is shown as percent.

        Raises:
            BuildError: the command failed; quotes the end of the log and names the file.
        """
        log = self.path / "logs" / (name.replace("/", "-") + ".txt")
        log.parent.mkdir(exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(command)}\n")
        shown = 0

        def show_percent(line: str) -> None:
            nonlocal shown
            if counter := re.match(r"\[(\d+)/(\d+)\]", line):
                percent = int(counter[1]) * 100 // int(counter[2])
                if percent >= shown + 10:
                    shown = percent
                    print_progress(f"  {name}: {percent} %")

        limits = FETCH_LIMITS if name == FETCH else ()
        title = f"{name}: {command[0]}"
        return run_logged([*limits, *command], title, log, show_percent, cwd or self.path, env)
