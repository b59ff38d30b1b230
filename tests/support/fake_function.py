"""A fake of a deployed function, for the client that calls it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.server import listening

GOOD = {"results": [{"className": "red", "probability": 0.5}]}
Reply = tuple[int, dict[str, str], Any]


@dataclass
class FakeFunction:
    """A fake of a deployed function.

    Attributes:
        description: the reply to GET.
        replies: the first replies to POST, in order; then `always`.
        seconds: how long an answer takes; three times as long for the first picture.
        max_parallel: the most requests at a time.
        ports: of the client's ends of the connections.
        running: requests that are being answered.
        refuse: returns the reply for a path in place of an answer, or None.
        description_seconds: how long a description takes.
        times: when each reply was sent.
        clock: returns the time of its Date, in seconds since 1970.
    """

    url: str = ""
    description: Reply = (200, {}, {"classes": 3})
    replies: list[Reply] = field(default_factory=list)
    always: Reply = (200, {}, GOOD)
    seconds: float = 0.0
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    running: int = 0
    max_parallel: int = 0
    ports: set[int] = field(default_factory=set)
    refuse: Callable[[str], Reply | None] = lambda _: None
    description_seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    clock: Callable[[], float] = time.time

    def posts(self) -> int:
        return sum(method == "POST" for method, *_ in self.seen)


@contextmanager
def serving(
    fake: FakeFunction, certificate: Path | None = None, port: int = 0
) -> Iterator[FakeFunction]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(fake.description_seconds, lambda: fake.description)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            fake.bodies.append(body)
            # The first picture takes longest, so that answers arrive in another order.
            seconds = fake.seconds * (3 if body.endswith(b"0") else 1)
            self.answer(seconds, lambda: fake.replies.pop(0) if fake.replies else fake.always)

        def answer(self, seconds: float, next_reply: Callable[[], Reply]) -> None:
            with lock:
                fake.running += 1
                fake.max_parallel = max(fake.max_parallel, fake.running)
                refusal = fake.refuse(self.path)
                reply = refusal or next_reply()
            time.sleep(0 if refusal else seconds)
            with lock:
                fake.running -= 1
            self.reply(reply)

        def reply(self, reply: Reply) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.seen.append((self.command, self.path, headers))
            fake.times.append(time.monotonic())
            fake.ports.add(self.client_address[1])
            status, more, body = reply
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.close_connection = self.close_connection or "content-length" in more
            with suppress(OSError):  # a client that was stopped
                self.wfile.write(content)

        def date_time_string(self, _: float | None = None) -> str:
            return formatdate(fake.clock(), usegmt=True)

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler, certificate, port) as port:
        fake.url = f"http://127.0.0.1:{port}/classify"
        yield fake
