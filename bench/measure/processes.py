"""The processes suite: throughput of several processes, on all cores and under a CPU quota."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from bench.measure.activation import encode_activation, time_activation
from bench.measure.cgroup import NoQuotaError, new_group
from bench.measure.rounds import Progress
from bench.peers.peer import Peer
from bench.results import Run, Throughput
from builder.artifact.actionloop import RunningAction

# Cores of the quota: all processes together get one core's time.
QUOTA = 1.0


def measure_processes(
    peers: Sequence[Peer], picture: bytes, seconds: float, run: Run, progress: Progress
) -> None:
    """Fill the run's `processes`: warm activations per second by number of processes.

    Each number of processes is kept busy for so many seconds, then again under a quota.
    """
    cores = len(os.sched_getaffinity(0))
    for count in sorted({cores, *(2**power for power in range(cores.bit_length()))}):
        for peer in peers:
            progress(f"processes: {count} x {peer.name}")
            rate = activations_per_second(peer, picture, count, seconds)
            figures = run.processes.setdefault(peer.name, [])
            figures.append(Throughput(count, rate))
            try:
                with new_group(QUOTA) as group:
                    limited = replace(peer, executable=group.wrap_executable(peer.executable))
                    rate = activations_per_second(limited, picture, count, seconds)
                    figures[-1].under_quota = rate
            except NoQuotaError as error:
                run.quota_problem = str(error)


def activations_per_second(peer: Peer, picture: bytes, count: int, seconds: float) -> float:
    """Return the activations per second of `count` processes together; raises BuildError.

    Each process gets its next activation when it has answered the last.
    """
    line = encode_activation(picture)

    def drive(action: RunningAction) -> float:
        began = time.perf_counter()
        answered, spent = 0, 0.0
        while spent < seconds:
            time_activation(action, line)
            answered, spent = answered + 1, time.perf_counter() - began
        return answered / spent

    with ExitStack() as running:
        actions = [running.enter_context(peer.launched()) for _ in range(count)]
        for action in actions:
            time_activation(action, line)  # the first is slower
        with ThreadPoolExecutor(count) as drivers:
            return sum(drivers.map(drive, actions))
