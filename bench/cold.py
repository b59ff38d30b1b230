"""A cold start: `python -m bench cold` answers where its time goes, and against what.

It does on this machine what OpenWhisk's Python runtime does to an action's first activation, stage
by stage, in turns for each zip, each time in an empty folder:

receive   parse the JSON of the init request and decode the zip in it (there: Go; here: the C code
          of Python's json and binascii)
unzip     write each file with its permissions (there: Go; here: Python's zipfile, whose inflate is
          zlib); dates are not restored
compile   a fresh Python imports virtualenv and renames, moves and parses (bench/compile_step.py, in
          the place of the stock image's bin/compile); precompiled zips skip it
python    an interpreter with the zip's flags that does nothing but acknowledge, measured beside
imports   from the start of the action's process to its acknowledgement, less `python`; the stock
and model start has `site`, and a shell script in front that is not run here
first run the first activation, with the sample picture; hello world's with nothing

The interpreter is this machine's, in an environment that has what the compile step imports and none
of what the zips bring. Not in it: what comes before the runtime (scheduling, making the container)
and HTTP. The page cache is warm, since this machine does not let go of the interpreter's own files
between rounds: on a node that has just pulled the image all is slower. Read the times as ratios.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import peers
from builder import model, smoke
from builder.build import SAMPLE
from builder.console import Console
from builder.errors import BuildError

STAGES = ("receive", "unzip", "compile", "python", "imports and model", "first run")
HELLO, HELLO_PRECOMPILED = "hello world", "hello, precompiled"
PORTABLE, PRECOMPILED, PIP = "this zip", "this zip, precompiled", "pip zip"
ACTIVATIONS = 100
"""So many before memory is read."""

_COMPILE = Path(__file__).with_name("compile_step.py")
_ACKNOWLEDGE = "import posix\nposix.write(3, b'{\"ok\": true}\\n')\n"


@dataclass
class Cold:
    """What one zip did; all times in seconds, one per round and in the rounds' order.

    Attributes:
        archive: the zip.
        params: of its activations.
        stages: by name, without those that come from `start` and `bare`.
        start: from the start of the process to its acknowledgement.
        bare: the same of an interpreter with the same flags that does nothing; zips with the same
            flags share these, since what differs between them would be chance.
        own: from its packages' imports to its acknowledgement, by the action's own clock.
        memory: of its process after ACTIVATIONS, in bytes: `resident` and `private`.
    """

    archive: Path
    params: dict[str, Any]
    stages: dict[str, list[float]] = field(default_factory=dict)
    start: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)

    def medians(self) -> dict[str, float]:
        """Milliseconds per stage, those that this zip has, in order."""
        found = {name: statistics.median(times) for name, times in self.stages.items()}
        found["python"] = statistics.median(self.bare)
        found["imports and model"] = statistics.median(self.start) - found["python"]
        return {name: found[name] * 1000 for name in STAGES if name in found}

    def samples(self) -> dict[str, list[float]]:
        """Milliseconds per round, by what was timed."""
        times = {**self.stages, "start": self.start, "python": self.bare}
        return {name: [round(each * 1000, 3) for each in found] for name, found in times.items()}

    def size(self) -> dict[str, int]:
        """`files`, and the bytes `unpacked` and as `zip`."""
        with zipfile.ZipFile(self.archive) as zipped:
            files = [info for info in zipped.infolist() if not info.is_dir()]
        unpacked = sum(info.file_size for info in files)
        size = self.archive.stat().st_size
        return {"files": len(files), "unpacked": unpacked, "zip": size}


@dataclass
class Measured:
    """All of a run: the zips by name, and seconds to import pip's numpy, one per round."""

    python: str
    zips: dict[str, Cold]
    numpy_version: str
    numpy: list[float] = field(default_factory=list)

    def done(self) -> dict[str, Cold]:
        """The zips that were measured at least once."""
        return {name: cold for name, cold in self.zips.items() if cold.start and cold.bare}


def run(arguments: list[str]) -> None:
    """Parse the command line, measure, print, draw."""
    options = _parser().parse_args(arguments)
    console = Console(quiet=True)
    interpreter = peers.interpreter()
    python = peers.image()
    _progress("making the zips")
    chosen = model.resolve(options.model, options.labels, console)
    sample = {"image": base64.b64encode(SAMPLE.read_bytes()).decode()}

    def ours(precompiled: bool = False, optimize: str = "balanced") -> Cold:
        archive = peers.ours(
            options.model,
            console,
            precompiled=precompiled,
            labels=options.labels,
            provider=options.runtime,
            optimize=optimize,
        )
        return Cold(archive, sample)

    zips = {
        HELLO: Cold(peers.hello(), {}),
        HELLO_PRECOMPILED: Cold(peers.hello(precompiled=True), {}),
        PORTABLE: ours(),
        PRECOMPILED: ours(precompiled=True),
        **{f"this zip, {each}": ours(optimize=each) for each in options.optimize},
        PIP: Cold(peers.pip_zip(chosen, console), sample),
    }
    version, folder = peers.numpy(console)
    measured = Measured(python, zips, version)
    head = f"{peers.machine(interpreter)}, {os.cpu_count()} cores, {datetime.date.today()}"
    try:
        _rounds(measured, folder, options.rounds)
        for number, (name, cold) in enumerate(zips.items()):
            _progress(f"memory {number + 1}/{len(zips)}: {name}")
            cold.memory = _memory(cold, python)
    finally:  # after Ctrl-C, too, for what there is
        _progress("")
        if measured.done():
            found = summary(measured, head)
            print(text(found))
            _save(found, options.output, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench cold",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", help="as build_zip.py takes it")
    add("--labels", type=Path, help="the same")
    add("--runtime", default="auto", help="the same")
    add(
        "--optimize",
        nargs="*",
        default=(),
        choices=("size", "cold"),
        help="with the zips that build_zip.py makes with these values of --optimize",
    )
    add("--rounds", type=_positive, default=15, help="cold starts of each zip (15)")
    add("--output", type=Path, default=peers.FOLDER, help="folder of the plot (build/bench)")
    add("--json", type=Path, metavar="PATH", help="file to write all times to, in ms")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {text}")
    return number


def _rounds(measured: Measured, numpy: Path, rounds: int) -> None:
    zips = list(measured.zips.items())
    with tempfile.TemporaryDirectory(prefix="bare-") as scratch:
        launcher = Path(scratch) / "launcher.py"
        launcher.write_text(smoke.LAUNCHER)
        flags = {name: _flags(cold.archive) for name, cold in zips}
        bare = {each: _script(Path(scratch), each, _ACKNOWLEDGE) for each in {*flags.values()}}
        shared: dict[str, list[float]] = {each: [] for each in bare}
        for name, cold in zips:
            cold.bare = shared[flags[name]]
        imports = f"import sys\nsys.path.insert(0, {str(numpy)!r})\nimport numpy\n{_ACKNOWLEDGE}"
        with_numpy = _script(Path(scratch), "-I -S", imports)
        _start(with_numpy, measured.python)  # once before, for fresh code files
        for number in range(rounds):
            turn = number % len(zips)  # so that none always follows the same
            for name, cold in zips[turn:] + zips[:turn]:
                _progress(f"round {number + 1}/{rounds}: {name}")
                _once(cold, measured.python, launcher)
                cold.bare.append(_start(bare[flags[name]], measured.python))
                if name == PRECOMPILED:
                    measured.numpy.append(_start(with_numpy, measured.python))


def _once(cold: Cold, python: str, launcher: Path) -> None:
    """One cold start of a zip."""
    times: dict[str, float] = {}
    body = request(cold.archive)
    began = time.perf_counter()
    code = received(body)
    times["receive"] = time.perf_counter() - began
    with tempfile.TemporaryDirectory(prefix="cold-") as scratch, ExitStack() as running:
        folder = Path(scratch) / "src"
        began = time.perf_counter()
        unzip(code, folder)
        times["unzip"] = time.perf_counter() - began
        del body, code  # as large as the zip, and a fork copies the tables of all pages
        if not (folder / "exec").exists():
            target = folder.with_name("bin")
            command = [python, str(_COMPILE), str(folder), str(target), str(launcher)]
            began = time.perf_counter()
            done = subprocess.run(command, env={}, capture_output=True, text=True)
            times["compile"] = time.perf_counter() - began
            if done.returncode or done.stdout or done.stderr:
                raise BuildError(f"the compile step failed: {done.stderr.strip()[-500:]}")
            folder = target
        action = smoke.Action(folder, python, {}, isolated=False)
        running.callback(action.close)
        began = time.perf_counter()
        answer = action.run(cold.params)
        times["first run"] = time.perf_counter() - began
        if "error" in answer:
            raise BuildError(f"{cold.archive.name}: expected an answer, found {answer}")
        details = action.run({**cold.params, "details": True}).get("details", {})
    for name, seconds in times.items():
        cold.stages.setdefault(name, []).append(seconds)
    cold.start.append(action.init_seconds)
    if details:
        cold.own.append(details["timings"]["init"] / 1000)


def request(archive: Path) -> bytes:
    """The body of the platform's init request for a zip."""
    code = base64.b64encode(archive.read_bytes()).decode()
    variables = {"__OW_ACTION_NAME": "/guest/classify", "__OW_NAMESPACE": "guest"}
    value = {"name": "classify", "main": "main", "code": code, "binary": True, "env": variables}
    return json.dumps({"value": value}).encode()


def received(body: bytes) -> bytes:
    """The zip in an init request."""
    code: str = json.loads(body)["value"]["code"]
    return base64.b64decode(code)


def unzip(code: bytes, folder: Path) -> None:
    """Write the files of a zip into a new folder, with their permissions, as the runtime does."""
    folder.mkdir()
    with zipfile.ZipFile(io.BytesIO(code)) as zipped:
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


def _flags(archive: Path) -> str:
    """Python's flags, as the first line of a precompiled zip's `exec` has them; else none."""
    with zipfile.ZipFile(archive) as zipped:
        if "exec" not in zipped.namelist():
            return ""
        return " ".join(zipped.read("exec").decode().partition("\n")[0].split()[1:])


def _script(scratch: Path, flags: str, text: str) -> Path:
    """A folder with an action of one file that Python starts with `flags`."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    (folder / "exec").write_text(f"#!python {flags}\n{text}")
    return folder


def _start(folder: Path, python: str) -> float:
    """Seconds from the start of an unpacked action to its acknowledgement."""
    action = smoke.Action(folder, python, {}, isolated=False)
    action.close()
    return action.init_seconds


def _memory(cold: Cold, python: str) -> dict[str, int]:
    with smoke.launched(cold.archive, python, isolated=False) as action:
        for _ in range(ACTIVATIONS):
            action.run(cold.params)
        return memory(Path(f"/proc/{action.pid}/smaps_rollup").read_text())


def memory(rollup: str) -> dict[str, int]:
    """Bytes `resident` and `private` (of no file) in a /proc/PID/smaps_rollup."""
    lines = [line.split() for line in rollup.splitlines()[1:]]
    found = {words[0]: int(words[1]) * 1024 for words in lines}
    return {"resident": found["Rss:"], "private": found["Anonymous:"]}


def summary(measured: Measured, head: str) -> dict[str, Any]:
    """What comes of a run, as JSON has it: medians in ms, sizes in bytes, ratios to hello world."""
    zips: dict[str, dict[str, Any]] = {
        name: {"stages": cold.medians()} for name, cold in measured.done().items()
    }
    totals = {name: sum(each["stages"].values()) for name, each in zips.items()}
    found: dict[str, Any] = {"machine": head, "rounds": 0, "zips": zips, "ready": {}}
    for name, each in zips.items():
        cold = measured.zips[name]
        found["rounds"] = max(found["rounds"], len(cold.start))
        ratio = totals[name] / totals[HELLO] if HELLO in totals else None
        own = statistics.median(cold.own) * 1000 if cold.own else None
        each |= {"total": totals[name], "ratio": ratio, "own": own}
        each |= {"memory": cold.memory, "size": cold.size(), "samples": cold.samples()}
    if measured.numpy:
        numpy = statistics.median(measured.numpy) * 1000
        ours = statistics.median(measured.zips[PRECOMPILED].start) * 1000
        found["ready"] = {
            f"python -I -S -c 'import numpy', {measured.numpy_version} as pip installs it": numpy,
            PRECOMPILED: ours,
        }
    return found


def text(found: dict[str, Any]) -> str:
    """A summary as tables."""
    zips: dict[str, Any] = found["zips"]
    lines = [found["machine"], "", f"cold start, medians of {found['rounds']} in turns, ms"]
    cells = [["", *STAGES, "total", ""]]
    for name, each in zips.items():
        stages = [
            f"{each['stages'][stage]:.1f}" if stage in each["stages"] else "-" for stage in STAGES
        ]
        cells.append([name, *stages, f"{each['total']:.1f}", _times(each["ratio"])])
    lines += _columns(cells)
    lines += [
        f"{name}: of this {each['own']:.1f} for its packages and model, by its own clock"
        for name, each in zips.items()
        if each["own"]
    ]
    if found["ready"]:
        numpy = next(iter(found["ready"].values()))
        cells = [[name, f"{ms:.1f}", _times(ms / numpy)] for name, ms in found["ready"].items()]
        lines += ["", "start of the process to ready, medians in turns, ms", *_columns(cells)]
    lines += ["", f"size, and memory of the process after {ACTIVATIONS} activations, MB"]
    cells = [["", "files", "unpacked", "zip", "RSS", "private"]]
    for name, each in zips.items():
        sizes = [each["size"]["unpacked"], each["size"]["zip"]]
        sizes += [each["memory"].get(key) for key in ("resident", "private")]
        shown = ["-" if size is None else f"{size / 1e6:.2f}" for size in sizes]
        cells.append([name, str(each["size"]["files"]), *shown])
    return "\n".join(lines + _columns(cells))


def _save(found: dict[str, Any], folder: Path, path: Path | None) -> None:
    from bench import plots  # not before: what this process holds slows the forks that are timed

    zips = found["zips"]
    ends = {name: f"{each['total']:.0f} ms  {_times(each['ratio'])}" for name, each in zips.items()}
    files = plots.stacked(
        {name: each["stages"] for name, each in zips.items()},
        ends,
        "Cold start, from the init request to the first answer",
        f"{found['machine']}; medians of {found['rounds']}, page cache warm",
        folder / "cold",
    )
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        files.append(path)
    print("\n" + "\n".join(map(str, files)))


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x"


def _columns(rows: list[list[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _progress(text: str) -> None:
    """What is going on, on a line of a terminal that changes; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
