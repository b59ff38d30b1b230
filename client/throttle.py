"""Keep to the limits that a platform names when it refuses requests (HTTP status 429).

OpenWhisk counts the requests of a calendar minute, refused ones too, and accepts none until the
next one begins. Other platforms count otherwise. So while requests are refused, one at a time is
sent as a probe, less and less often, and one when the server's clock begins a minute.
"""

import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from threading import Condition
from typing import NamedTuple

MINUTE = 60.0
# Seconds between a refusal and the first probe; later ones wait for a share of the time so far.
FIRST_PROBE, PROBE_SHARE = 0.5, 0.5
# "... in the last minute (count: 61, allowed: 60)", "... in flight (count: 31, allowed: 30)"
_ALLOWED = re.compile(r"allowed: (\d+)")


class Refusal(NamedTuple):
    """A reply with status 429.

    Attributes:
        text: the platform's message.
        server_time: the reply's Date in seconds, None if it has none.
        retry_after: the seconds that the reply asks to wait for, None if it does not.
    """

    text: str
    server_time: float | None = None
    retry_after: float | None = None


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
            self._probing = self._closed_at is not None
            return self._probing

    def release(self, probe: bool, accepted: bool, refusal: Refusal | None = None) -> None:
        """Take note of the outcome of a request; one that is not accepted nor refused got lost."""
        with self._changed:
            self._running -= 1
            if refusal:
                self._close(refusal)
            elif probe and accepted:
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
            return 0.0
        return None if self._probing else self._next_probe - time.monotonic()

    def _close(self, refusal: Refusal) -> None:
        now = time.monotonic()
        if self._closed_at is None:
            self._closed_at = now
        number = _ALLOWED.search(refusal.text)
        limit = max(1, int(number[1])) if number else None
        if "concurrent" in refusal.text:
            self._max_running, self._next_probe = limit, now + FIRST_PROBE
            return
        self.allowed = limit
        delay = refusal.retry_after
        if delay is None:
            minute_left = MINUTE - (refusal.server_time or 0.0) % MINUTE
            delay = min(minute_left, max(FIRST_PROBE, PROBE_SHARE * self.refused_seconds))
        self._next_probe = now + delay
        self._announce_once()

    def _announce_once(self) -> None:
        limit = f"allows {self.allowed} requests a minute" if self.allowed else "limits requests"
        if not self._announced:
            self._announce(f"the platform {limit}: waiting until it takes more")
        self._announced = True


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3)."""
    if value and value.strip().isdecimal():
        return float(value)
    moment = parse_date(value)
    return None if moment is None else max(0.0, moment - time.time())


def parse_date(value: str | None) -> float | None:
    """Return the time in a header such as Date, in seconds; None if it has none."""
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
