"""Benchmark runs, empty and as `python3 -m bench` stores them, and a session."""

from __future__ import annotations

import dataclasses
import random

from bench import results
from bench.machine import Machine
from bench.pictures import Pictures
from bench.results import Run
from bench.session import Session

INSTRUCTIONS = ("AVX2", "AVX512F", "AVX512BW", "AVX512-VNNI")
VNNI = Machine("Some Processor", INSTRUCTIONS, 2, 25 * 10**9, "Linux 6.8", "3.11.7")
AVX2 = dataclasses.replace(VNNI, processor="Another Processor", instructions=("AVX2",))

# Milliseconds warm and cold, MB of zip and of memory.
PEERS = {
    "this zip": (6.2, 254, 6.44, 41),
    "this zip, precompiled": (6.1, 115, 6.44, 40),
    "this zip, wheels": (9.8, 900, 23.3, 66),
    "pip: tflite-runtime": (106, 2792, 20.3, 110),
    "pip: onnxruntime": (14.1, 3900, 48.78, 160),
    "TF.js, wasm": (72, 900, 14.2, 210),
}


def empty_run() -> Run:
    """Return a run without results."""
    return Run(
        machine=VNNI,
        date="2026-11-22",
        pictures=200,
        picture_bytes=113000,
        model="mobilenet_v1",
        command="python3 -m bench --images DIR",
    )


def empty_session(suite: str, rounds: int) -> Session:
    """Return a session with so many rounds of a suite, without peers, pictures and results."""
    return Session(empty_run(), Pictures({}, {}), {suite: rounds}, lambda _: None)


def full_run() -> Run:
    """Return a run with results of all suites."""
    run = empty_run()
    run.minutes, run.proxy_factor = 27.5, 0.91
    run.inference = [results.Inference("this zip", "tflite-runtime 2.14.1", "s8 x s8", [2.0, 2.5])]
    run.warm["bare interpreter"] = results.Warm(scatter(2.8))
    run.cold["hello world"] = results.Cold({"receive": 12.0, "start": 180.0}, 192.0, [192.0] * 40)
    for name, (warm, cold, mb, memory) in PEERS.items():
        is_ours, is_image = name.startswith("this"), name.startswith("TF.js")
        answer = results.Answer("giant panda, panda", 0.98, 389)
        run.peers[name] = results.PeerInfo(is_ours, is_image, versions={"x": "1.2"}, answer=answer)
        over = 0 if is_image else max(0, round(mb * 1e6) - 37748736)
        run.size[name] = results.Size(
            round(mb * 1e6), round(mb * 2.9e6), 25 if is_ours else 1234, over
        )
        run.warm[name] = results.Warm(scatter(warm), {"decode": 1.9}, 181, 200)
        run.cold[name] = results.Cold({"start": float(cold)}, float(cold), [float(cold)] * 40)
        run.memory[name] = results.Memory(*(round(memory * share * 1e6) for share in (0.9, 0.5, 1)))
    return run


def scatter(median: float) -> list[float]:
    """Return milliseconds as they are measured: most near the least, some far above."""
    chance = random.Random(1)
    return [round(median * (0.95 + chance.lognormvariate(-2.7, 0.8)), 3) for _ in range(300)]
