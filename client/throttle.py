"""Keep to the limits that a platform names when it refuses requests (HTTP status 429).

OpenWhisk counts the requests of a calendar minute, refused ones too, and accepts none until the
next one begins. Other platforms count otherwise. So while requests are refused, one at a time is
sent as a probe, less and less often, and one when the server's clock begins a minute. Once that
was right, no request is sent in vain: the client counts too.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from threading import Condition
from typing import NamedTuple

MINUTE = 60.0
# A server that asks for a longer wait, in seconds, is tried again after this one.
MAX_RETRY_AFTER = 60.0
# Seconds between a refusal and the first probe; later ones wait for a share of the time so far.
FIRST_PROBE, PROBE_SHARE = 0.5, 0.5
# A wait for the next minute that was shorter, in seconds, may have been right by chance.
_MIN_PROOF = 10.0
# "... in the last minute (count: 61, allowed: 60)", "... in flight (count: 31, allowed: 30)"
_ALLOWED = re.compile(rb"allowed: (\d+)")


class Reply(NamedTuple):
    """A server's reply to a request; the names of `headers` may be in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def retry_after(self) -> float | None:
        """The seconds for which it asks to wait (RFC 9110, section 10.2.3), None if it does not."""
        value = self.headers.get("retry-after", "")
        if value.strip().isdecimal():
            return min(float(value), MAX_RETRY_AFTER)
        moment = _parse_date(value)
        return None if moment is None else min(max(0.0, moment - time.time()), MAX_RETRY_AFTER)


class Throttle:
    """Lets requests pass as the platform allows; may be used from several threads.

    Attributes:
        allowed: requests per minute, None while the platform has not said how many.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self.allowed: int | None = None
        self._max_running: int | None = None
        self._announce = announce
        self._announced = False
        self._changed = Condition()
        self._running = 0
        self._probing = False
        self._closed_at: float | None = None
        self._next_probe = 0.0
        # Server's clock minus ours; how many were sent in each of its minutes; whether the next
        # probe is the first of a minute, and whether the limit is one of such minutes.
        self._ahead = time.time() - time.monotonic()
        self._sent: Counter[float] = Counter()
        self._at_minute = self._calendar = False

    @property
    def refused_seconds(self) -> float:
        """For how long requests have been refused, in seconds; 0 if they are not."""
        return time.monotonic() - self._closed_at if self._closed_at is not None else 0.0

    def acquire(self) -> bool:
        """Wait until a request may be sent; return whether it is a probe."""
        with self._changed:
            while (delay := self._delay()) is None or delay > 0:
                self._changed.wait(delay)
            self._running += 1
            self._sent[self._server_time() // MINUTE] += 1
            self._probing = self._closed_at is not None
            return self._probing

    def release(self, probe: bool, reply: Reply | None) -> None:
        """Take note of the reply to a request, None if it got lost."""
        with self._changed:
            self._running -= 1
            self._set_clock(_parse_date(reply.headers.get("date", "")) if reply else None)
            if reply and reply.status == 429:
                self._close(reply)
            elif probe and reply:
                if self.refused_seconds > _MIN_PROOF:
                    self._calendar = self._at_minute
                self._closed_at = None
            elif probe:
                self._next_probe = time.monotonic() + FIRST_PROBE
            if probe:
                self._probing = False
            self._changed.notify_all()

    def _delay(self) -> float | None:
        """Return the seconds until a request may be sent; None: until another one has ended."""
        if self._max_running and self._running >= self._max_running:
            return None
        if self._closed_at is None:
            minute, second = divmod(self._server_time(), MINUTE)
            full = self._calendar and self.allowed and self._sent[minute] >= self.allowed
            return MINUTE - second if full else 0.0
        return None if self._probing else self._next_probe - time.monotonic()

    def _server_time(self) -> float:
        return time.monotonic() + self._ahead

    def _set_clock(self, date: float | None) -> None:
        """Take the server's clock from a reply's Date, which may be a second late."""
        if date is not None and not 0 <= self._server_time() - date < 2:
            self._ahead = date - time.monotonic()

    def _close(self, refusal: Reply) -> None:
        now = time.monotonic()
        if self._closed_at is None:
            self._closed_at = now
        number = _ALLOWED.search(refusal.content)
        limit = max(1, int(number[1])) if number else None
        if b"concurrent" in refusal.content:
            self._max_running, self._next_probe = limit, now + FIRST_PROBE
            return
        self.allowed = limit
        delay, minute_left = refusal.retry_after, MINUTE - self._server_time() % MINUTE
        if delay is None:
            delay = min(minute_left, max(FIRST_PROBE, PROBE_SHARE * self.refused_seconds))
        self._at_minute = delay == minute_left
        self._next_probe = now + delay
        self._announce_once()

    def _announce_once(self) -> None:
        limit = f"allows {self.allowed} requests a minute" if self.allowed else "limits requests"
        if not self._announced:
            self._announce(f"the platform {limit}: waiting until it takes more")
        self._announced = True


def _parse_date(value: str) -> float | None:
    """Return the time in a header such as Date, in seconds; None if it has none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
