"""Running the build: commands with a log and progress, steps that are skipped when up to date."""

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
TAIL = 30
"""How many lines of the log an error shows."""


class RecipeError(Exception):
    """The build cannot go on; the text says what was expected, what was found, what to do."""


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
        self._keys: dict[str, str] = {}

    @property
    def tools(self) -> Path:
        """The environment with the build tools of tools.txt."""
        return self.folder / "tools"

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
        self.run(["rm", "-rf", str(folder)], name)
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

        The build tools are first on the command's PATH. Ninja's counter is shown as percent.

        Raises:
            RecipeError: the command failed; quotes the end of the log and names the file.
        """
        log = self.folder / "logs" / (name.replace("/", "-") + ".txt")
        log.parent.mkdir(exist_ok=True)
        lines: list[str] = []
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            try:
                process = subprocess.Popen(
                    command,
                    cwd=cwd or self.folder,
                    env={**environment(self.tools), **(env or {})},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                )
            except OSError as error:
                raise RecipeError(f"{name}: cannot run {command[0]}: {error}") from error
            assert process.stdout is not None
            shown = 0
            for line in process.stdout:
                file.write(line)
                lines.append(line)
                counter = re.match(r"\[(\d+)/(\d+)\]", line)
                if counter:
                    percent = int(counter[1]) * 100 // int(counter[2])
                    if percent >= shown + 10:
                        shown = percent
                        say(f"  {name}: {percent} %")
        if process.wait():
            raise RecipeError(
                f"{name}: `{command[0]}` failed\n{''.join(lines[-TAIL:])}the full log: {log}"
            )
        return "".join(lines)

    def cmake(self, source: Path, folder: Path, name: str, options: Mapping[str, str]) -> None:
        """Configure and build a CMake project in `folder`."""
        defines = [f"-D{key}={value}" for key, value in sorted(options.items())]
        generator = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]
        self.run(["cmake", "-S", str(source), "-B", str(folder), *generator, *defines], name)
        self.ninja(folder, name)

    def ninja(self, folder: Path, name: str, *targets: str) -> None:
        """Build targets (all by default) in a folder that CMake or Meson has configured."""
        self.run(["ninja", "-C", str(folder), "-j", str(self.jobs), *targets], name)

    def prefix_maps(self) -> str:
        """Compiler flags that keep this machine's paths out of what is compiled."""
        return f"-ffile-prefix-map={self.folder}=. -ffile-prefix-map={HERE}=."

    def compiler(self) -> str:
        """The compiler's own words about its version: another one gives other bytes."""
        return self.run(["c++", "--version"], "tools").partition("\n")[0]


def environment(tools: Path) -> dict[str, str]:
    """A small environment for every command: the same on every machine."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CMAKE_")}
    for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CC", "CXX"):
        kept.pop(name, None)
    path = f"{tools / 'bin'}{os.pathsep}{kept.get('PATH', '/usr/bin:/bin')}"
    # The date of TFLite 2.14.1's release; any fixed one will do.
    return {**kept, "PATH": path, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1699920000"}


def digest(*paths: Path) -> str:
    """One hash of files, and of all files in folders, by their contents and relative names."""
    total = hashlib.sha256()
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if "__pycache__" not in file.parts:
                total.update(f"{file.relative_to(path.parent)}\0".encode())
                total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
