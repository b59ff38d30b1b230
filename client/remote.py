"""A deployed web action, asked over HTTP: `python -m action --url`.

A platform under load refuses some requests, and a picture is classified alike however often it is
sent: so what may pass is tried again, after a while that doubles.
"""

import json
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse, IncompleteRead
from threading import Thread
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler
from urllib.request import Request as HttpRequest

from action.request import ActionError, Options, image_bytes
from action.web import MAX_PAYLOAD

TRIES = 5
DELAY = 0.5
"""Seconds before the second try, or half of them; twice as many before each one after."""
LONGEST = 60.0
"""Who asks to wait for more seconds is not asked again."""
TIMEOUT = 60.0
"""Seconds of silence, while connecting or answering."""

_PASSING = (429, 502, 503, 504)
_MOST = 16 * 1024 * 1024
_STARTS = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG": "png",
    b"RIFF": "webp",
    b"GIF8": "gif",
    b"BM": "bmp",
}

T = TypeVar("T")
R = TypeVar("R")


class RemoteError(ActionError):
    """The endpoint did not answer, or not as this function does."""


class Endpoint:
    """A deployed web action; may be used from several threads."""

    def __init__(self, url: str, secret: str = "") -> None:
        """Check `url`, and the `secret` of an action with `--web-secure`; raises RemoteError."""
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            fits = False
        if not fits or "@" in parts.netloc or not url.isascii() or not url.isprintable():
            raise RemoteError(f"--url: expected an http or https URL, found {url[:200]!r}")
        if " " in url or not secret.isascii() or not secret.isprintable():
            name = "--url" if " " in url else "--secret"
            raise RemoteError(f"{name}: expected ASCII characters without white space")
        self._url, self._query = parts._replace(query="", fragment="").geturl(), parts.query
        self._headers = {"accept": "application/json"}
        if secret:
            self._headers["x-require-whisk-auth"] = secret
        # Without the handlers of errors and redirects: a redirect would make a GET of a POST,
        # and take the secret to wherever it leads.
        self._opener = OpenerDirector()
        for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
            self._opener.add_handler(handler)

    def classes(self) -> int:
        """How many classes the model has, by which the function is known; raises RemoteError."""
        answer = self._ask("GET", None, {}, {})
        if not isinstance(answer.get("classes"), int):
            raise RemoteError(f"{self._url}: this answers, but is not the function: no 'classes'")
        return int(answer["classes"])

    def classify(self, data: bytes, options: Options) -> dict[str, Any]:
        """The answer for one picture; raises ActionError with the endpoint's words, or ours."""
        picture = image_bytes(data)
        kind = next(
            (f"image/{kind}" for start, kind in _STARTS.items() if data.startswith(start)), ""
        )
        top_k = {"topK": options.top_k} if options.asked else {}
        query = {**top_k, "threshold": options.threshold}
        details = {"details": "true"} if options.details else {}
        headers = {"content-type": kind or "application/octet-stream"}
        answer = self._ask("POST", picture, {**query, **details}, headers)
        results = answer.get("results")
        if not isinstance(results, list) or not all(map(_is_result, results)):
            raise RemoteError(f"expected 'results', found {json.dumps(answer)[:100]}")
        return answer

    def _ask(
        self, method: str, body: bytes | None, query: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        """The JSON object that is answered, after some tries; raises RemoteError for all else."""
        queries = "&".join(filter(None, (self._query, urlencode(query))))
        url = f"{self._url}?{queries}" if queries else self._url
        for tried in range(1, TRIES + 1):
            delay = DELAY * 2 ** (tried - 1) * random.uniform(0.5, 1)
            # A new one each time: the handler of proxies changes it.
            request = HttpRequest(url, body, {**self._headers, **headers}, method=method)
            try:
                with self._opener.open(request, timeout=TIMEOUT) as reply:
                    content = reply.read(_MOST)
                    if reply.length:
                        raise IncompleteRead(content, reply.length)
            except (OSError, HTTPException) as error:
                said, lasts = _unreachable(error.reason if isinstance(error, URLError) else error)
                if body and len(body) > MAX_PAYLOAD * 3 // 4:  # some hang up on what is too large
                    said, lasts = f"{said}; OpenWhisk takes pictures of up to about 780 KB", True
                if lasts:
                    raise RemoteError(f"{self._url}: {said}") from None
            else:
                if reply.status not in _PASSING:
                    return _object(self._url, reply, content)
                said = f"HTTP status {reply.status}"
                asked = _retry_after(reply.headers.get("retry-after"))
                delay = delay if asked is None else asked
                if delay > LONGEST:
                    raise RemoteError(f"{self._url}: {said}; it asks to wait for {delay:.0f} s")
            if tried < TRIES:
                time.sleep(delay)
        raise RemoteError(f"{self._url}: {said}; gave up after {TRIES} tries")


def in_order(function: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[R]:
    """`function` of each item, in order, from up to `jobs` threads at a time."""
    futures: list[Future[R]] = [Future() for _ in items]
    waiting = deque(zip(items, futures, strict=True))

    def work() -> None:
        with suppress(IndexError):  # when none is left
            while True:
                item, future = waiting.popleft()
                try:
                    future.set_result(function(item))
                except BaseException as error:
                    future.set_exception(error)

    for _ in range(min(jobs, len(items))):
        # Not an executor, which at Ctrl-C would wait for the requests that are under way.
        Thread(target=work, daemon=True).start()
    for future in futures:
        yield future.result()


def _object(url: str, reply: HTTPResponse, content: bytes) -> dict[str, Any]:
    """The JSON object in a reply; raises RemoteError with the text of one that is an error."""
    if 300 <= reply.status < 400:
        target = str(reply.headers.get("location"))[:200]
        raise RemoteError(f"{url}: expected the function, found a redirect to {target}")
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or (reply.status >= 400 and "error" not in answer):
        kind = str(reply.headers.get("content-type"))[:60]
        raise RemoteError(
            f"{url}: expected the function's JSON, found {kind} with HTTP status {reply.status}; "
            "is it the function's address?"
        )
    if "error" in answer:
        # The platform's own errors have a code, and are short of words.
        status = f" (HTTP status {reply.status})" if "code" in answer else ""
        raise RemoteError(f"{str(answer['error'])[:500]}{status}")
    return answer


def _is_result(each: Any) -> bool:
    number = isinstance(each, dict) and isinstance(each.get("probability"), (int, float))
    return number and isinstance(each.get("className"), str)


def _unreachable(reason: object) -> tuple[str, bool]:
    """Why there is no answer, and whether trying again would not help, or take minutes."""
    if isinstance(reason, ssl.SSLError):
        why = getattr(reason, "verify_message", "") or reason.reason or reason
        return f"no secure connection: {why}", True
    if isinstance(reason, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s", True
    if isinstance(reason, socket.gaierror):
        return f"the host is not known: {reason.strerror}", reason.errno != socket.EAI_AGAIN
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return f"the connection failed: {text}", False


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), if it is one."""
    if value is None or value.strip().isdecimal():
        return None if value is None else float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
