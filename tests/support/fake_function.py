"""A fake of a deployed function, for the client that calls it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

from client.local_server import IncomingRequest, Response
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
        connections: a name for each.
        running: requests that are being answered.
        refuse: returns the reply for a path in place of an answer, or None.
        clock: returns the time of its Date, in seconds since 1970.
    """

    url: str = ""
    description: Reply = (200, {}, {"classes": 3})
    replies: list[Reply] = field(default_factory=list)
    always: Reply = (200, {}, GOOD)
    seconds: float = 0.0
    seen: list[IncomingRequest] = field(default_factory=list)
    running: int = 0
    max_parallel: int = 0
    connections: set[str] = field(default_factory=set)
    refuse: Callable[[str], Reply | None] = lambda _: None
    clock: Callable[[], float] = time.time
    lock: threading.Lock = field(default_factory=threading.Lock)

    def posts(self) -> int:
        return sum(request.method == "POST" for request in self.seen)

    def respond(self, request: IncomingRequest) -> Response:
        """Answer a request as the attributes say."""
        is_picture = request.method == "POST"
        with self.lock:
            self.running += 1
            self.max_parallel = max(self.max_parallel, self.running)
            refusal = self.refuse(request.target)
            next_reply = self.description
            if is_picture and not refusal:
                next_reply = self.replies.pop(0) if self.replies else self.always
        if is_picture and not refusal:
            # The first picture takes longest, so that answers arrive in another order.
            time.sleep(self.seconds * (3 if request.body.endswith(b"0") else 1))
        with self.lock:
            self.running -= 1
            self.seen.append(request)
            self.connections.add(threading.current_thread().name)
        status, headers, body = refusal or next_reply
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"date": formatdate(self.clock(), usegmt=True), **headers}
        return Response(status, headers, content)


@contextmanager
def serving(
    fake: FakeFunction, certificate: Path | None = None, port: int = 0
) -> Iterator[FakeFunction]:
    """Run a fake function on a port of 127.0.0.1, by default a free one."""
    with listening(fake.respond, certificate, port) as port:
        fake.url = f"http://127.0.0.1:{port}/classify"
        yield fake
