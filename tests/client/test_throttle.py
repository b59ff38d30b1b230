"""`python3 -m action --url` with a platform that limits requests, and whose containers die."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from types import SimpleNamespace

import pytest

from client import http_client, throttle
from tests.client.conftest import Run, make_pictures
from tests.support.fake_function import FakeFunction, Reply, serving

# What OpenWhisk answers for a container that died, answered rubbish, or is late.
DIED = {"error": "There was an error processing your request.", "code": "x"}
NOT_HTTP = {"error": "Response is not valid 'message/http'.", "code": "x"}
LATE = {"error": "Response not yet ready.", "code": "x"}
BOUND = {
    "error": "Request defines parameters that are not allowed (e.g., reserved properties).",
    "code": "x",
}


@dataclass
class Platform(FakeFunction):
    """A platform that counts requests as OpenWhisk does: of a minute, refused ones too.

    Attributes:
        minute: seconds; a minute begins when the clock is a multiple of them.
        allowed: requests in a minute.
        at_once: the most requests at a time.
        counts: requests, in each minute.
    """

    minute: float = 60.0
    allowed: int = 60
    at_once: int = 30
    counts: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.refuse = self.limit

    def limit(self, _: str) -> Reply | None:
        """Count a request; return the reply if it is refused."""
        minute = int(self.clock() // self.minute)
        self.counts[minute] += 1
        count = self.counts[minute]
        if count > self.allowed:
            words, limit = "requests in the last minute", self.allowed
        elif self.running > self.at_once:
            words, count, limit = "concurrent requests in flight", self.running, self.at_once
        else:
            return None
        text = f"Too many {words} (count: {count}, allowed: {limit})."
        return 429, {}, {"error": text, "code": "x"}


def check_answers_at_sixty_a_minute(
    platform: Platform, run: Run, tmp_path: Path, elapsed: Callable[[], float]
) -> None:
    """Classify 300 pictures: each is answered once, in the time that the limit allows."""
    began = elapsed()
    with serving(platform):
        status, answers, err = run("--url", platform.url, make_pictures(tmp_path / "pictures", 300))
    assert status == 0, err
    assert len(answers) == 300
    answered = sum(min(count, platform.allowed) for count in platform.counts.values())
    assert answered == 300 + 1  # the description
    # 301 requests and the refused ones take six minutes, of which the first had begun.
    assert elapsed() - began <= 5 * platform.minute + 10
    told, counted = err.splitlines()
    assert told == "the platform allows 60 requests a minute: waiting until it takes more"
    assert counted.startswith("300 pictures: 300 answered, 0 failed; ")


@pytest.mark.parametrize("minute", [3.0, pytest.param(60.0, marks=pytest.mark.thorough)])
def test_hundreds_of_pictures_at_sixty_a_minute(run: Run, tmp_path: Path, minute: float) -> None:
    """Minutes of three seconds, which the client cannot know; real ones with --thorough."""
    check_answers_at_sixty_a_minute(Platform(minute=minute), run, tmp_path, time.monotonic)


@pytest.mark.parametrize(("began", "ahead"), [(0.0, 0.0), (31.0, 0.6), (45.0, -31.0)])
def test_calendar_minutes_are_learned(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: float, ahead: float
) -> None:
    """Real minutes, on a clock that only waiting and requests advance; the server's is ahead."""
    now = began

    class PassingTime(Condition):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now
            end = now + (timeout or 0) + 0.001
            ended = super().wait(timeout and 0.05)  # for requests that are under way
            now = now if ended else max(now, end)
            return ended

    def answer_in_moments() -> float:
        nonlocal now
        now += 0.01
        return now + ahead

    clock = SimpleNamespace(monotonic=lambda: now, time=lambda: now)
    monkeypatch.setattr(throttle, "time", clock)
    monkeypatch.setattr(throttle, "Condition", PassingTime)
    platform = Platform(clock=answer_in_moments)
    check_answers_at_sixty_a_minute(platform, run, tmp_path, clock.time)
    first, *later = [platform.counts[minute] for minute in sorted(platform.counts)]
    # In the first minute: requests that are under way when it is full, and a few probes.
    assert 60 < first <= 60 + 4 + 12
    assert max(later) == 60


def test_requests_at_a_time_are_learned(run: Run, tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "pictures", 40)
    platform = Platform(minute=3600, allowed=999, at_once=2, seconds=0.02)
    with serving(platform):
        status, answers, err = run("--url", platform.url, "--jobs", "8", folder)
    assert (status, len(answers)) == (0, 40), err
    assert sum(platform.counts.values()) <= 41 + 8 + 2


def test_refusals_without_an_end(run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_REFUSED", 1.0)
    platform = Platform(minute=3600, allowed=1)
    with serving(platform):
        status, answers, err = run("--url", platform.url, pictures)
    assert (status, len(answers)) == (3, 5)
    assert "with --output FILE, the same command, given again, does the rest" in err
    assert sum(platform.counts.values()) <= 20


@pytest.mark.parametrize(
    "reply", [(400, DIED), (400, NOT_HTTP), (202, LATE), (500, {"error": "?"})]
)
def test_failed_action_is_no_answer(
    run: Run, pictures: Path, tmp_path: Path, reply: tuple[int, dict[str, str]]
) -> None:
    """It is tried again twice, and a later run tries again too."""
    kept = tmp_path / "kept.jsonl"
    failed: Reply = (reply[0], {}, reply[1])
    with serving(FakeFunction(replies=[failed, failed])) as fake:
        assert run("--url", fake.url, pictures / "1.png")[0] == 0
        assert fake.posts() == 3
        fake.replies = [failed] * 3
        status, _, err = run("--url", fake.url, "--jobs", "1", "--output", kept, pictures)
        assert (status, len(kept.read_text().splitlines())) == (1, 5)
        assert f"0.png: {fake.url}: {reply[1]['error']} (HTTP status {reply[0]}); gave up" in err
        assert "5 answered, 0 failed, 1 not delivered" in err
        assert run("--url", fake.url, "--output", kept, pictures)[0] == 0
        assert len(kept.read_text().splitlines()) == 6


@pytest.mark.parametrize("bound", [{"topK"}, {"details", "threshold"}])
def test_bound_parameters_are_left_out(run: Run, pictures: Path, bound: set[str]) -> None:
    with serving(FakeFunction()) as fake:
        fake.refuse = lambda path: (400, {}, BOUND) if any(n in path for n in bound) else None
        options = ["--top", "2", "--threshold", "0.1", "--details", "--jobs", "1"]
        status, answers, err = run("--url", fake.url, *options, pictures)
    assert (status, len(answers)) == (0, 6)
    assert f"left out, as the deployment binds it: {', '.join(sorted(bound))}\n" in err
    paths = [request.target for request in fake.seen[-5:]]
    assert len({*paths}) == 1
    kept = {"topK", "threshold", "details"} - bound
    assert all((name in paths[0]) == (name in kept) for name in kept | bound)


@pytest.mark.parametrize(
    ("cold_seconds", "count", "pauses"), [(0.8, 1, [0.5]), (0.0, 1, []), (0.8, 6, [])]
)
def test_container_is_spared_where_a_cold_start_costs_more(
    run: Run,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    cold_seconds: float,
    count: int,
    pauses: list[float],
) -> None:
    """The description takes as long as a cold start: so much longer is worth a pause or more."""
    now = 0.0
    slept: list[float] = []

    def take_cold_seconds(_: str) -> None:
        nonlocal now
        now += cold_seconds

    clock = SimpleNamespace(monotonic=lambda: now, sleep=slept.append)
    monkeypatch.setattr(http_client, "time", clock)
    with serving(FakeFunction(refuse=take_cold_seconds)) as fake:
        names = sorted(pictures.iterdir())[:count]
        assert run("--url", fake.url, "--jobs", "1", *names)[0] == 0
    assert slept == pytest.approx(pauses)
