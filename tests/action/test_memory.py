"""Memory of a running zip: it stays constant, and fits the limit that the build estimates."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.measure.memory import read_memory
from builder.artifact import actionloop, audit, memory
from builder.artifact.smoke import SAMPLE
from builder.packages import DEFAULT_OPTIONS, compiled
from client.local_server import IncomingRequest, web_action_params
from tests.conftest import HERE, IMAGE, base64_of, interpreter
from tests.support import hostile
from tests.support.pictures import large_pictures, small_pictures

MB = 1_000_000
COMPILED = compiled.is_cached(HERE, DEFAULT_OPTIONS)
needs_compiled = pytest.mark.skipif(not COMPILED, reason=f"nothing compiled for Python {HERE}")


def http_activations() -> list[Any]:
    """Return parameters of web actions: a picture in most types of body, a refusal, the page."""
    picture, image = SAMPLE.read_bytes(), base64_of(SAMPLE)
    form = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + picture
    requests = [
        IncomingRequest("POST", "/?topK=5", {"content-type": kind}, body)
        for kind, body in (
            ("image/jpeg", picture),
            ("multipart/form-data; boundary=x", form + b"\r\n--x--\r\n"),
            ("application/json", json.dumps({"image": image}).encode()),
            ("text/plain", b"refused"),
        )
    ]
    requests.append(IncomingRequest("GET", "/", {"accept": "text/html"}))
    return [web_action_params(each, raw=True) for each in requests]


def mixed_activations(chooser: random.Random) -> Iterator[bytes]:
    """Yield lines of the launcher's protocol without end, in random order.

    Most have a small picture; 1 in 20 is hostile, and 1 in 50 is among the largest there are.
    """

    def line(params: Any) -> bytes:
        return json.dumps({"value": params}).encode()

    small = [*map(base64_of, small_pictures())]
    single = [line({"image": each, "details": at % 3 == 0}) for at, each in enumerate(small)]
    large = [line({"image": base64_of(content)}) for _, content in large_pictures()]
    large += [line({"image": base64_of(content)}) for _, content in hostile.bombs()]
    http = [*map(line, http_activations())]
    refused = [each for each, _ in hostile.LINES]
    while True:
        kind = chooser.choices(
            ("single", "batch", "http", "corrupt", "refused", "large"), (60, 10, 15, 8, 5, 2)
        )[0]
        if kind == "batch":
            yield line({"images": [*chooser.choices(small, k=chooser.randint(1, 6)), "*"]})
        elif kind == "corrupt":
            whole = hostile.small_picture(chooser.choice(hostile.KINDS))
            yield line({"image": base64_of(hostile.corrupt(whole, chooser))})
        else:
            lines = {"single": single, "http": http, "refused": refused, "large": large}
            yield chooser.choice(lines[kind])


@pytest.mark.parametrize(
    ("provider", "env", "most"),
    [
        ("wheels", "", 20_000),
        pytest.param("local", "", 20_000, marks=needs_compiled),
        pytest.param("local", IMAGE, 1_000, marks=needs_compiled),
    ],
    ids=["wheels", "portable", "precompiled"],
)
def test_memory_stays_over_mixed_activations(
    make_zip: Callable[..., Path],
    imagenet_model: str,
    provider: str,
    env: str,
    most: int,
    thorough: bool,
) -> None:
    """Of the process; with the proxy it never exceeds the manifest's limit."""
    archive = make_zip(HERE, imagenet_model, provider=provider, execution_env=env)
    limit = audit.audit_zip(archive).manifest.memory
    assert limit == (256 if provider == "wheels" else 128)
    proxy = memory.PROXY_BYTES + memory.PROXY_BYTES_PER_ZIP_BYTE * archive.stat().st_size
    count = most if thorough else 1_000
    sizes: list[int] = []
    activations = mixed_activations(random.Random(27))
    with actionloop.start_action(archive, interpreter()) as running:
        for name, content in large_pictures():
            if provider == "local" or "WebP" not in name:  # which takes wheels more memory
                assert "results" in running.run({"image": base64_of(content)}), name
        for number in range(1, count + 1):
            answer = running.send(next(activations))
            assert {*answer} & {"results", "predictions", "error", "statusCode"}
            if number in (min(1_000, count // 2), count):
                running.run({"image": base64_of(SAMPLE)})
                sizes.append(read_memory(running.pid).resident)
        peak = read_memory(running.pid).peak
    assert sizes[1] <= sizes[0] + 3 * MB
    assert peak + proxy <= limit << 20
