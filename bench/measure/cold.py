"""The cold suite: emulated cold starts, stage by stage.

It repeats on this machine what OpenWhisk's Python runtime does for an action's first activation, in
turns for each peer, each time in an empty folder:

receive    The proxy reads the request and decodes the zip in it: estimated (proxy.py).
unzip      The files are written with their permissions: done here, but the time is the proxy's
           estimate.
compile    A fresh Python imports virtualenv and renames, moves and parses (compile_step.py, in
           place of the stock image's bin/compile). Precompiled zips skip it.
start      From the start of the action's process to its acknowledgement: imports, and the model.
           After the compile step it starts through a shell script that compares the image's name,
           as in the stock image.
first run  The first activation, with a picture, which hello world ignores.

The Python is this machine's, in an environment with what the compile step imports and none of the
zips' packages. A custom image has its files already, so only the last two stages count. Not
included: scheduling, making the container, pulling an image. The page cache is warm, so a node that
has just pulled the image is slower. Read the times as ratios to hello world's.
"""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.measure.activation import encode_activation, time_activation
from bench.measure.proxy import estimate_proxy, proxy_factor, unzip
from bench.peers.hello import build_hello_world, stock_image_python
from bench.peers.peer import Peer
from bench.results import Cold
from bench.session import Session
from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.errors import BuildError

STAGES = ("receive", "unzip", "compile", "start", "first run")

_COMPILE_STEP = Path(__file__).with_name("compile_step.py")


def measure_cold(session: Session) -> None:
    """Fill the run's `cold` and `proxy_factor`.

    Both hello worlds take part; the proxy's times are scaled by those of the portable one.
    """
    hello = build_hello_world()
    everyone = (hello, build_hello_world(precompiled=True), *session.peers)
    times: dict[str, dict[str, list[float]]] = {peer.name: {} for peer in everyone}
    python = stock_image_python()
    with tempfile.TemporaryDirectory(prefix="start-") as scratch:
        script = _write_start_script(Path(scratch), python)

        def start(peer: Peer, _: int) -> None:
            for stage, ms in time_cold_start(peer, python, script).items():
                times[peer.name].setdefault(stage, []).append(ms)

        session.take_turns("cold", {peer.name: partial(start, peer) for peer in everyone})
    if times[hello.name]:
        measured = sum(map(statistics.median, times[hello.name].values()))
        factor = proxy_factor(hello.archive, measured)
        session.run.proxy_factor = round(factor, 4)
        session.run.cold = {
            peer.name: summarize(peer, times[peer.name], factor)
            for peer in everyone
            if times[peer.name]
        }


def summarize(peer: Peer, times: dict[str, list[float]], factor: float) -> Cold:
    """Return the results of a peer.

    Args:
        peer: if it is a custom image, the proxy does nothing for it.
        times: milliseconds of each round by measured stage.
        factor: scales the estimate of the proxy's times to this machine.
    """
    stages: dict[str, float] = {}
    if not peer.info.is_image:
        estimate = estimate_proxy(peer.archive)
        stages = {"receive": estimate.receive * factor, "unzip": estimate.unzip * factor}
    proxy = sum(stages.values())
    stages |= {stage: statistics.median(ms) for stage, ms in times.items()}
    stages = {stage: round(ms, 3) for stage, ms in stages.items()}
    totals = [round(proxy + sum(ms), 3) for ms in zip(*times.values(), strict=True)]
    return Cold(stages, round(sum(stages.values()), 3), totals)


def time_cold_start(peer: Peer, python: str, script: str) -> dict[str, float]:
    """Do one cold start of a zip or of a custom image's files; return milliseconds by stage.

    `script` starts what the compile step has written, in place of the stock image's Python.
    """
    os.sync()  # the previous peer's files must not slow this one
    stages: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="cold-") as scratch:
        folder, executable = peer.unpacked if peer.info.is_image else None, peer.executable
        if folder is None:
            folder = Path(scratch, "src")
            unzip(peer.archive, folder)
            executable = python
            if not (folder / "exec").exists():
                folder, stages["compile"] = _compile(folder, Path(scratch), python)
                executable = script
        line = encode_activation(SAMPLE.read_bytes())
        with closing(actionloop.RunningAction(folder, executable, {}, isolated=False)) as action:
            stages["start"] = action.init_seconds * 1000
            stages["first run"], _ = time_activation(action, line)
    return stages


def _compile(source: Path, scratch: Path, python: str) -> tuple[Path, float]:
    """Run the compile step; return the folder that it made and its milliseconds."""
    destination, launcher = scratch / "bin", scratch / "launcher.py"
    launcher.write_text(actionloop.LAUNCHER)
    command = [python, str(_COMPILE_STEP), str(source), str(destination), str(launcher)]
    began = time.perf_counter()
    done = subprocess.run(command, env={}, capture_output=True, text=True)
    ms = (time.perf_counter() - began) * 1000
    if done.returncode or done.stdout or done.stderr:
        raise BuildError(f"the compile step failed: {done.stderr.strip()[-500:]}")
    return destination, ms


def _write_start_script(scratch: Path, python: str) -> str:
    """Write the script that starts what the compile step wrote; return its path.

    The stock script is for bash, and reads the name of its image with `cat`.
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
