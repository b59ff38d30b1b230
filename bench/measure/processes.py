"""How the peers scale: with containers, with the share of a CPU, with the size of the picture.

Each function fills a `Scaling` that it is given as it goes, so that what was measured before a
Ctrl-C, or before a peer fails, is kept, and takes a `progress`, which is told in a few words what
comes next. What is compared takes turns, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import io
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from bench.measure import cgroup
from bench.peers.peer import Peer, line, memory
from bench.results import AtSize, Scaling, Throughput, UnderQuota
from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.errors import BuildError

Progress = Callable[[str], None]

QUOTAS = (0.25, 0.5, 1.0)
"""Cores: what platforms that scale CPU with memory give to small, middle and large functions."""
SIZES = ((500, 375), (1152, 864), (2000, 1500), (4000, 3000), (8000, 6000))
"""Pictures from 0.2 to 48 megapixels."""
PAYLOAD = 700_000
"""About the largest picture, in bytes, that fits OpenWhisk's payload limit as base64."""
LEAST = 10
"""Activations under a quota, however long they take: fewer have no 90th percentile."""


def processes(
    peers: Sequence[Peer],
    picture: bytes,
    scaling: Scaling,
    progress: Progress,
    seconds: float = 2,
    rounds: int = 3,
    cores: int | None = None,
) -> None:
    """Measure warm activations per second against the number of containers.

    Each container, which is a process, gets its next activation when it has answered the last; what
    sends them shares the cores.

    Args:
        peers: what is compared.
        picture: the file that each activation sends.
        scaling: its `processes` get medians for 1, 2, 4 ... containers up to the cores.
        progress: see above.
        seconds: how long each container is kept busy, each time.
        rounds: how often, in turns.
        cores: by default those that this process may use.

    Raises:
        BuildError: a peer did not answer.
    """
    cores = cores or len(os.sched_getaffinity(0))
    counts = sorted({cores, *(2**power for power in range(cores.bit_length()))})
    rates: dict[str, dict[int, list[float]]] = {peer.name: {} for peer in peers}
    for turn in range(rounds):
        for count in counts:
            for peer in peers:
                progress(f"throughput {turn + 1}/{rounds}: {count} x {peer.name}")
                by_count = rates[peer.name]
                by_count.setdefault(count, []).append(_throughput(peer, picture, count, seconds))
                scaling.processes[peer.name] = [
                    Throughput(number, statistics.median(each)) for number, each in by_count.items()
                ]


def _throughput(peer: Peer, picture: bytes, count: int, seconds: float) -> float:
    """Activations per second of `count` containers together."""
    packed = line(picture)
    with ExitStack() as running:
        actions = [running.enter_context(peer.launched()) for _ in range(count)]
        for action in actions:
            _activation(peer, action, packed)  # the first is slower

        def rate(action: actionloop.RunningAction) -> float:
            began = time.perf_counter()
            answered, took = 0, 0.0
            while took < seconds:
                _activation(peer, action, packed)
                answered, took = answered + 1, time.perf_counter() - began
            return answered / took

        with ThreadPoolExecutor(count) as drivers:
            return sum(drivers.map(rate, actions))


def quota(
    peers: Sequence[Peer],
    picture: bytes,
    scaling: Scaling,
    progress: Progress,
    seconds: float = 2,
    starts: int = 5,
    shares: Sequence[float] = QUOTAS,
) -> None:
    """Measure a start and warm activations against the share of a CPU, as a cgroup's quota sets it.

    Activations come back to back, as to a busy function. A quota is a time per period of 100 ms:
    some activations pass at full speed until it is used up, the next waits for a new period. So the
    mean is the CPU time by the share, the median may be far less, and the 90th percentile is what
    waiting costs. An activation that comes alone and takes less than the quota is not slowed at
    all.

    Args:
        peers: what is compared.
        picture: the file that each activation sends.
        scaling: its `quota` gets them by share; `init` is the median from the start of the process
            to its acknowledgement, under the quota too.
        progress: see above.
        seconds: of activations after each start, and at least LEAST of them.
        starts: how often each is started with each share, in turns.
        shares: the quotas, in cores.

    Raises:
        cgroup.NoQuota: there can be no such group here; its text is for the report.
        BuildError: a peer did not answer.
    """
    packed = line(picture)
    inits: dict[tuple[str, float], list[float]] = {}
    times: dict[tuple[str, float], list[float]] = {}
    with cgroup.limited() as group:
        for turn in range(starts):
            for share in shares:
                try:
                    group.limit(share)
                except OSError as error:  # this process has less than that itself
                    reason = f"no CPU quota of {share:g} cores: {error.strerror}"
                    raise cgroup.NoQuota(reason) from error
                for peer in peers:
                    progress(f"quota {turn + 1}/{starts}: {peer.name} on {share:g} cores")
                    inside = replace(peer, interpreter=group.interpreter(peer.interpreter))
                    warm = times.setdefault((peer.name, share), [])
                    with inside.launched() as action:
                        inits.setdefault((peer.name, share), []).append(action.init_seconds)
                        _activation(peer, action, packed)  # the first is slower
                        turn_times: list[float] = []
                        while sum(turn_times) < seconds or len(turn_times) < LEAST:
                            turn_times.append(_activation(peer, action, packed))
                    warm += turn_times
                    scaling.quota[peer.name] = [
                        _under_quota(each, inits[peer.name, each], times[peer.name, each])
                        for each in shares
                        if times.get((peer.name, each))
                    ]


def _under_quota(cores: float, inits: list[float], warm: list[float]) -> UnderQuota:
    """Of seconds."""
    return UnderQuota(
        cores=cores,
        median=statistics.median(warm) * 1000,
        p90=statistics.quantiles(warm, n=10)[-1] * 1000,
        mean=statistics.fmean(warm) * 1000,
        init=statistics.median(inits) * 1000,
    )


def megapixels(
    peers: Sequence[Peer],
    scaling: Scaling,
    progress: Progress,
    activations: int = 15,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> None:
    """Measure warm activations against the size of the picture, for JPEGs of up to PAYLOAD bytes.

    Args:
        peers: what is compared; each starts anew for each picture.
        scaling: its `megapixels` get them by size, with the reason where a peer fails.
        progress: see above.
        activations: with each picture.
        sizes: (width, height) of the pictures.
    """
    for size in sizes:
        area = size[0] * size[1] / 1e6
        progress(f"a picture of {area:.1f} megapixels")
        picture = _jpeg(size)
        packed = line(picture)
        for peer in peers:
            progress(f"{area:.1f} megapixels: {peer.name}")
            row = AtSize(round(area, 1), len(picture))
            try:
                with peer.launched() as action:
                    _activation(peer, action, packed)  # the first is slower
                    times = [_activation(peer, action, packed) for _ in range(activations)]
                    row.median = statistics.median(times) * 1000
                    row.peak = memory(action.pid).peak
            except BuildError as error:
                row.problem = str(error)
            scaling.megapixels.setdefault(peer.name, []).append(row)


def _activation(peer: Peer, action: actionloop.RunningAction, packed: bytes) -> float:
    """Seconds of one activation."""
    began = time.perf_counter()
    answer = action.send(packed)
    took = time.perf_counter() - began
    if not isinstance(answer, dict) or "error" in answer:
        raise BuildError(f"{peer.name}: expected an answer, found {str(answer)[:500]}")
    return took


def _jpeg(size: tuple[int, int]) -> bytes:
    """The sample picture in this size, with some grain, in as many bytes as may be sent."""
    noise = np.random.default_rng(2018).normal(128, 12, (1000, 1000))
    grain = Image.fromarray(noise.clip(0, 255).astype("uint8")).convert("RGB")
    with Image.open(SAMPLE) as picture:
        large = picture.convert("RGB").resize(size)
    for left in range(0, size[0], 1000):
        for top in range(0, size[1], 1000):
            box = (left, top, min(left + 1000, size[0]), min(top + 1000, size[1]))
            patch = large.crop(box)
            large.paste(Image.blend(patch, grain.crop((0, 0, *patch.size)), 0.1), box)
    large = large.filter(ImageFilter.GaussianBlur(0.5))
    for quality in (90, 80, 70, 60, 50, 40, 30, 20, 10, 5):
        packed = io.BytesIO()
        large.save(packed, "JPEG", quality=quality, optimize=True)
        if len(packed.getvalue()) <= PAYLOAD:
            return packed.getvalue()
    raise BuildError(f"no JPEG of {size[0]} x {size[1]} has at most {PAYLOAD} bytes")
