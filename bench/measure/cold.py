"""Cold starts: where their time goes, stage by stage.

It does on this machine what OpenWhisk's Python runtime does to an action's first activation, in
turns for each peer, each time in an empty folder:

receive   the request is read and the zip in it decoded; the proxy is not here, so this is priced
          (bench/proxy.py says how), by what hello world takes in the same run
unzip     the zip's files are written, with their permissions; they really are, but the time is the
          proxy's again
compile   a fresh Python imports virtualenv and renames, moves and parses (bench/compile_step.py, in
          the place of the stock image's bin/compile); precompiled zips skip it
process   what starts the action, up to the first line of it: an interpreter with the zip's flags
          that does nothing but acknowledge, measured beside. What the compile step has made
          starts through a shell script, which compares the image's name, as the stock one does
imports   from the start of the action's process to its acknowledgement, less `process`
and model
first run the first activation, with a picture, which hello world does not look at

The interpreter is this machine's, in an environment that has what the compile step imports and none
of what the zips bring. A custom image has its files already, so that the last three stages are all;
what it takes to pull it is not measured. Not in it for anybody: what comes before the runtime
(scheduling, making the container). The page cache is warm, since this machine does not let go of
the interpreter's own files between rounds: on a node that has just pulled the image all is slower.
Read the times as ratios to hello world's.
"""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import results
from bench.measure import proxy
from bench.peers.peer import Peer, line, shuffled
from builder.artifact import actionloop
from builder.base.errors import BuildError

STAGES = ("receive", "unzip", "compile", "process", "imports and model", "first run")

_COMPILE = Path(__file__).with_name("compile_step.py")
_ACKNOWLEDGE = "import posix\nposix.write(3, b'{\"ok\": true}\\n')\n"
_ACKNOWLEDGE_JS = "require('fs').writeSync(3, '{\"ok\": true}\\n');\n"


@dataclass
class Series:
    """What one peer did; all times in ms, one per round and in the rounds' order.

    Attributes:
        process: from the start of an interpreter with the same flags that does nothing to its
            acknowledgement; peers with the same flags share these, since what differs between them
            would be chance.
        priced: what the proxy takes, before it is scaled by `proxy.pace`; None for a custom image.
        stages: by name, those that are measured, without what comes from `start` and `process`.
        start: from the start of the process to its acknowledgement.
    """

    process: list[float]
    priced: proxy.Spent | None = None
    stages: dict[str, list[float]] = field(default_factory=dict)
    start: list[float] = field(default_factory=list)

    def measured(self) -> float:
        """Milliseconds of all that is really run, as the sum of the stages' medians."""
        return statistics.median(self.start) + sum(map(statistics.median, self.stages.values()))

    def result(self, pace: float) -> results.Cold:
        """As it is stored, with what is priced at this pace."""
        medians = {name: statistics.median(times) for name, times in self.stages.items()}
        start = statistics.median(self.start)
        medians["process"] = statistics.median(self.process)
        medians["imports and model"] = start - medians["process"]
        priced = 0.0
        if self.priced:
            medians["receive"] = self.priced.receive * pace
            medians["unzip"] = self.priced.unzip * pace
            priced = medians["receive"] + medians["unzip"]
        stages = {name: round(medians[name], 3) for name in STAGES if name in medians}
        rounds = zip(self.start, *self.stages.values(), strict=False)
        return results.Cold(
            stages=stages,
            total=round(sum(stages.values()), 3),
            start=round(start, 3),
            ms=[round(priced + sum(times), 3) for times in rounds],
        )


def measure(
    hello: Peer,
    peers: Sequence[Peer],
    python: str,
    count: int,
    content: bytes,
    run: results.Run,
    progress: Callable[[str], None],
    numpy: Path | None = None,
) -> None:
    """Fill the run's `cold`, `pace` and `import_numpy`; up to an interrupt, if there is one.

    A peer that dies, or answers with an error, takes no part in further rounds; what it did until
    then stays, and the run's `problems` say so.

    Args:
        hello: hello world, portable: what the proxy's prices are scaled by.
        peers: who else is started.
        python: what compiles zips and starts them: a CPython with what the stock image has.
        count: cold starts of each.
        content: the picture of the first activation.
        run: the results.
        progress: told what is going on.
        numpy: folder with a numpy, to compare the time that its import takes.
    """
    with tempfile.TemporaryDirectory(prefix="bare-") as scratch:
        bare = _Bare(Path(scratch), python)
        everybody = [hello, *peers]
        series = {
            peer.name: Series(bare.times(peer), None if peer.image else proxy.spent(peer.archive))
            for peer in everybody
        }
        ready: list[float] = []
        packed = line(content)
        imports = f"import sys\nsys.path.insert(0, {str(numpy)!r})\nimport numpy\n{_ACKNOWLEDGE}"
        with_numpy = _script(Path(scratch), "-I -S", imports)
        try:
            if numpy:
                _start(with_numpy, python)  # once before, for fresh code files
            for number in range(count):
                for peer in shuffled(everybody, number):
                    progress(f"cold: round {number + 1} of {count}, {peer.name}")
                    os.sync()  # what the one before has written is not for this one to wait for
                    try:
                        _once(peer, python, bare.command(peer)[0], packed, series[peer.name])
                        bare.start(peer)
                    except BuildError as error:
                        run.problems[f"cold, {peer.name}"] = str(error)
                        everybody.remove(peer)
                if numpy:
                    ready.append(_start(with_numpy, python))
        finally:
            if (reference := series[hello.name]).start:
                run.pace = round(proxy.pace(hello.archive, reference.measured()), 4)
                run.cold = {
                    name: each.result(run.pace)
                    for name, each in series.items()
                    if each.start and each.process
                }
            if ready:
                run.import_numpy = round(statistics.median(ready), 3)


class _Bare:
    """Interpreters that do nothing but acknowledge, one for each command that starts a peer."""

    def __init__(self, scratch: Path, python: str) -> None:
        self._scratch, self._python, self._shell = scratch, python, _shell(scratch, python)
        self._folders: dict[tuple[str, str], Path] = {}
        self._times: dict[tuple[str, str], list[float]] = {}

    def times(self, peer: Peer) -> list[float]:
        """The list that this peer's times go to."""
        return self._times.setdefault(self.command(peer), [])

    def start(self, peer: Peer) -> None:
        """Once more, for this peer."""
        command = interpreter, flags = self.command(peer)
        if command not in self._folders:
            text = _ACKNOWLEDGE_JS if peer.image else _ACKNOWLEDGE
            self._folders[command] = _script(self._scratch, flags, text)
        self._times[command].append(_start(self._folders[command], interpreter))

    def command(self, peer: Peer) -> tuple[str, str]:
        """What runs it, and the flags for it that the first line of an `exec` has."""
        with zipfile.ZipFile(peer.archive) as zipped:
            if "exec" not in zipped.namelist():
                return self._shell, ""
            first = zipped.read("exec").decode().partition("\n")[0]
        interpreter = peer.interpreter if peer.image else self._python
        return interpreter, " ".join(first.split()[1:])


def _once(peer: Peer, python: str, interpreter: str, packed: bytes, series: Series) -> None:
    """One cold start: of the files of a custom image, or else of the zip."""
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="cold-") as scratch, ExitStack() as running:
        if peer.image:
            folder = peer.unpacked()
        else:
            folder = _initialized(peer.archive, Path(scratch), python, times)
        action = actionloop.RunningAction(folder, interpreter, {}, isolated=False)
        running.callback(action.close)
        began = time.perf_counter()
        answer = action.send(packed)
        times["first run"] = (time.perf_counter() - began) * 1000
        if "error" in answer:
            raise BuildError(f"{peer.name}: expected an answer, found {answer}")
    for name, ms in times.items():
        series.stages.setdefault(name, []).append(ms)
    series.start.append(action.init_seconds * 1000)


def _initialized(archive: Path, scratch: Path, python: str, times: dict[str, float]) -> Path:
    """What happens to a zip up to the start of its process; returns the folder to start it in."""
    source, target, launcher = (scratch / name for name in ("src", "bin", "launcher.py"))
    unzip(archive, source)
    if (source / "exec").exists():
        return source
    launcher.write_text(actionloop.LAUNCHER)
    command = [python, str(_COMPILE), str(source), str(target), str(launcher)]
    began = time.perf_counter()
    done = subprocess.run(command, env={}, capture_output=True, text=True)
    times["compile"] = (time.perf_counter() - began) * 1000
    if done.returncode or done.stdout or done.stderr:
        raise BuildError(f"the compile step failed: {done.stderr.strip()[-500:]}")
    return target


def unzip(archive: Path, folder: Path) -> None:
    """Write the files of a zip into a new folder, with their permissions, as the runtime does.

    Dates are not restored.
    """
    folder.mkdir()
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            path = folder / info.filename
            if info.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = info.external_attr >> 16 & 0o777 or 0o644
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with os.fdopen(os.open(path, flags, mode), "wb") as file:
                file.write(zipped.read(info))


def _shell(scratch: Path, python: str) -> str:
    """The script that starts what the compile step has made, in the place of the interpreter.

    The stock one is for bash, and reads the name of the image that it was made in with `cat`.
    """
    script, image = scratch / "start", scratch / "start.env"
    image.write_text("image")
    script.write_text(
        f"#!{shutil.which('bash') or '/bin/sh'}\nexport PYTHONIOENCODING=UTF-8 IMAGE=image\n"
        f'test "$(cat {shlex.quote(str(image))})" = "$IMAGE" || exit\n'
        f'exec {shlex.quote(python)} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def _script(scratch: Path, flags: str, text: str) -> Path:
    """A folder with an action of one file that Python starts with `flags`."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    (folder / "exec").write_text(f"#!python {flags}\n{text}")
    return folder


def _start(folder: Path, python: str) -> float:
    """Milliseconds from the start of an unpacked action to its acknowledgement."""
    action = actionloop.RunningAction(folder, python, {}, isolated=False)
    action.close()
    return action.init_seconds * 1000
