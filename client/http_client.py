"""Call a deployed web action over HTTP: `python3 -m action --url`.

A platform under load refuses some requests, and a container may die under a picture. So a failure
that may be temporary is tried again, after a delay that doubles each time. What is left is either
the function's answer, which stays the same however often a picture is sent, or undelivered.
"""

import itertools
import json
import random
import re
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from action.picture import sniff_format
from action.request import ActionError, Options, read_image
from action.web import MAX_PAYLOAD
from client.answer_formats import printable
from client.errors import UndeliveredError
from client.shrink import convert_picture
from client.throttle import MINUTE, Reply, Throttle

# How often a request is sent while the server is busy or away, and if the function failed.
MAX_TRIES, MAX_FAILED_TRIES = 5, 3
# Seconds before the second try, or down to half of them; doubled before each further try.
DELAY = 1.0
# The longest time, in seconds, for which a platform may refuse all requests with status 429.
MAX_REFUSED = 600.0
# Seconds without an answer, while connecting or reading, of which OpenWhisk needs 60 to say that
# an answer is late.
TIMEOUT = 90.0
# Seconds in which OpenWhisk collects a container's log; a call in them starts another container.
LOG_SECONDS = 0.5
# A larger picture is shrunk: base64 takes 4/3 of its bytes, and headers come on top.
MAX_PICTURE_BYTES = int(MAX_PAYLOAD * 0.74)
# Requests at a time.
MAX_JOBS = 64
MAX_REPLY_BYTES = 16 * 1024 * 1024

_BUSY_STATUSES = (502, 503, 504)
# What OpenWhisk's controller answers, with 400, if an action failed: this and the picture's size
# are not the function's answer. See `WebActions.scala` and `Messages.scala`.
_FAILED_TEXTS = ("There was an error processing your request", "Response is not valid")
_BOUND_TEXT = "Request defines parameters that are not allowed"
_LIKELY_CAUSES = {
    401: "the action was created with --web-secure: give its secret by --secret, or in the "
    "environment as CLASSIFY_SECRET",
    403: "access is denied: is --secret missing or wrong, or does a gateway want a key?",
    404: "no web action has this address: is the name in the URL right, and was the action created "
    "with --web true?",
}


class _TemporaryError(Exception):
    """The request may succeed later.

    Attributes:
        delay: the seconds to wait that the server names, or None.
        max_tries: how often to send it in all.
    """

    def __init__(self, reason: str, delay: float | None = None, max_tries: int = MAX_TRIES) -> None:
        super().__init__(reason)
        self.delay = delay
        self.max_tries = max_tries


class _BoundParameterError(UndeliveredError):
    """The action or its package binds a parameter that the URL or the request has."""


def print_note(text: str) -> None:
    """Print a line to standard error, in place of a progress bar."""
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{start}{printable(text)}", file=sys.stderr, flush=True)


class WebActionClient:
    """Calls a deployed web action; may be used from several threads.

    Attributes:
        classes: how many classes the model has, after `fetch_description`.
        throttle: what the platform allows.
    """

    def __init__(
        self,
        url: str,
        secret: str = "",
        ca: Path | None = None,
        insecure: bool = False,
        announce: Callable[[str], None] = print_note,
    ) -> None:
        """Check the arguments; raise ActionError."""
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid or "@" in parts.netloc or not re.fullmatch("[!-~]+", url):
            raise ActionError(f"--url: expected an http or https URL, found {url[:200]!r}")
        if not secret.isascii() or not secret.isprintable():
            raise ActionError("--secret: expected ASCII characters without white space")
        self._url, self._query = parts._replace(query="", fragment="").geturl(), parts.query
        self._connections = _open_connections(url, _create_tls_context(ca, insecure))
        self.throttle = Throttle(announce)
        self.classes = 0
        self._announce = announce
        self._reached = self._gone = False
        self._announced: dict[str, float] = {}
        self._cold_seconds = self._settled_at = 0.0
        self._settles = False
        self._bound: set[str] = set()
        self._headers = {"accept": "application/json"}
        if secret:
            self._headers["x-require-whisk-auth"] = secret

    def fetch_description(self) -> None:
        """Read the function's number of classes; raise ActionError."""
        began = time.monotonic()
        description = self._request({})
        self._cold_seconds = time.monotonic() - began
        if not isinstance(description.get("classes"), int):
            raise ActionError(f"{self._url}: this answers, but is not the function: no 'classes'")
        self.classes = int(description["classes"])

    def plan(self, pictures: int, jobs: int) -> None:
        """Decide whether to leave the container time for its log, before each of the pictures.

        With one request at a time this saves a second container, whose start takes as long as the
        description took, if its container was new.
        """
        pauses = pictures * LOG_SECONDS
        self._settles = min(pictures, jobs) == 1 and pauses < self._cold_seconds

    def classify(self, data: bytes, options: Options) -> dict[str, Any]:
        """Return the function's answer for one picture.

        A HEIC photo is converted first, a picture that is too large for a request shrunk. Then
        `sent` in the answer describes the sent picture: its `format`, `width`, `height`, `bytes`,
        and the bytes of the original (`of`).

        Raises:
            ActionError: the picture is refused, by the function or here.
            UnreadableError: it cannot be converted here.
            UndeliveredError: the function was not reached.
        """
        converted, sent = convert_picture(data, MAX_PICTURE_BYTES)
        picture = read_image(converted)
        query: dict[str, Any] = {"topK": options.top_k} if options.top_k_given else {}
        if options.threshold:
            query["threshold"] = options.threshold
        if options.details:
            query["details"] = "true"
        answer = self._request_unbound(picture, query)
        results = answer.get("results")
        if not isinstance(results, list) or not all(map(_is_result, results)):
            raise UndeliveredError(f"expected 'results', found {json.dumps(answer)[:100]}")
        return {**answer, "sent": sent} if sent else answer

    def _request_unbound(self, picture: bytes, query: dict[str, Any]) -> dict[str, Any]:
        """Post a picture without the options that are bound, which the platform does not name."""
        query = {name: value for name, value in query.items() if name not in self._bound}
        for bound in _subsets(query):
            rest = {name: value for name, value in query.items() if name not in bound}
            try:
                answer = self._request(rest, picture)
            except _BoundParameterError:
                continue
            if new := set(bound) - self._bound:
                self._bound |= new
                self._announce(f"left out, as the deployment binds it: {', '.join(sorted(new))}")
            return answer
        raise UndeliveredError(f"{self._url}: the URL's query has a bound parameter")

    def _request(self, query: dict[str, Any], picture: bytes | None = None) -> dict[str, Any]:
        """Send a request, up to MAX_TRIES times, and return its JSON object; raise ActionError."""
        url = f"{self._url}?{'&'.join(filter(None, (self._query, urlencode(query))))}".rstrip("?")
        tried: Counter[int] = Counter()  # of the failures that allow so many tries
        for number in itertools.count(1):
            try:
                return self._parse_reply(self._send(url, picture))
            except _TemporaryError as error:
                reason, delay, tries = str(error), error.delay, error.max_tries
            # The first pictures wait for a server that restarts; the others then need not.
            tried[tries] += 1
            if self._gone or tried[tries] >= tries:
                break
            now = time.monotonic()
            if now - self._announced.get(reason, -MINUTE) >= MINUTE:
                self._announced[reason] = now
                self._announce(f"{self._url}: {reason}; trying again")
            if delay is None:
                delay = DELAY * 2 ** (number - 1) * random.uniform(0.5, 1)
            time.sleep(delay)
        self._gone = tries == MAX_TRIES
        gave_up = f"; gave up after {number} tries" if number > 1 else ""
        raise UndeliveredError(f"{self._url}: {reason}{gave_up}")

    def _send(self, url: str, picture: bytes | None) -> Reply:
        """Send a request when the platform takes it; raise _TemporaryError if it gets lost."""
        while True:
            probe, reply = self.throttle.acquire(), None
            try:
                reply = self._send_once(url, picture)
            finally:
                self.throttle.release(probe, reply)
            if reply.status != 429:
                return reply
            if self.throttle.refused_seconds > MAX_REFUSED:
                text = f"refused all requests for {MAX_REFUSED / 60:.0f} minutes"
                raise UndeliveredError(
                    f"{self._url}: {text}: {reply.content[:500].decode(errors='replace')}"
                )

    def _send_once(self, url: str, picture: bytes | None) -> Reply:
        if self._settles:
            time.sleep(max(0.0, self._settled_at - time.monotonic()))
        try:
            reply = self._exchange(url, picture)
        except (OSError, HTTPError) as error:
            cause = _find_cause(error)
            reason, permanent = _describe_connection_error(cause)
            refused = isinstance(cause, ConnectionRefusedError) and not self._reached
            if not (permanent or refused):
                raise _TemporaryError(reason) from None
            self._gone = True
            raise UndeliveredError(f"{self._url}: {reason}") from None
        self._reached = True
        self._settled_at = time.monotonic() + LOG_SECONDS
        if reply.status not in _BUSY_STATUSES:
            self._gone = False
            return reply
        raise _TemporaryError(f"HTTP status {reply.status}", reply.retry_after)

    def _exchange(self, url: str, picture: bytes | None) -> Reply:
        """Send a request and return the reply; raise OSError or HTTPError if that fails."""
        method, headers = "GET", self._headers
        if picture is not None:
            method, headers = "POST", {**headers, "content-type": _content_type(picture)}
        with self._connections.request(
            method, url, body=picture, headers=headers,
            timeout=TIMEOUT, redirect=False, preload_content=False,
        ) as response:  # fmt: skip
            content = response.read(MAX_REPLY_BYTES)
        return Reply(response.status, response.headers, content)

    def _parse_reply(self, reply: Reply) -> dict[str, Any]:
        """Return the JSON object in a reply; raise ActionError if it is an error.

        Only an error without a code is the function's own: those of the platform have one.
        """
        status, url = reply.status, self._url
        if 300 <= status < 400:
            location = str(reply.headers.get("location"))[:200]
            raise UndeliveredError(f"{url}: expected the function, found a redirect to {location}")
        try:
            answer = json.loads(reply.content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or (status >= 400 and "error" not in answer):
            kind = str(reply.headers.get("content-type"))[:60]
            text = f"expected the function's JSON, found {kind} with HTTP status {status}"
        elif "error" not in answer and status != 202:
            return answer
        else:
            text = f"{str(answer.get('error', answer))[:500]} (HTTP status {status})"
            own = "code" not in answer and not text.startswith((*_FAILED_TEXTS, _BOUND_TEXT))
            if status == 400 and text.startswith(_BOUND_TEXT):
                raise _BoundParameterError(f"{url}: the URL's query has a bound parameter")
            if status in (202, 500) or (status == 400 and not own):
                raise _TemporaryError(text, max_tries=MAX_FAILED_TRIES)
            if own and status not in _LIKELY_CAUSES:
                raise ActionError(str(answer["error"])[:500])
        if status == 413:
            raise ActionError(f"{url}: {text}")
        raise UndeliveredError(f"{url}: {text}; {self._likely_cause(status)}")

    def _likely_cause(self, status: int) -> str:
        if status == 401 and "x-require-whisk-auth" in self._headers:
            return "the secret is not the one that the action was created with (--web-secure)"
        return _LIKELY_CAUSES.get(status, "is it the function's address?")


def _subsets(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield each selection of names, the smallest first."""
    chosen = [*names]
    for count in range(len(chosen) + 1):
        yield from itertools.combinations(chosen, count)


def _content_type(picture: bytes) -> str:
    """Return the type of a picture; deployments treat every image/... as binary."""
    try:
        return f"image/{sniff_format(picture).lower()}"
    except ActionError:
        return "application/octet-stream"  # for which the function checks the bytes


def _is_result(each: Any) -> bool:
    number = isinstance(each, dict) and isinstance(each.get("probability"), (int, float))
    return number and isinstance(each.get("className"), str)


def _create_tls_context(ca: Path | None, insecure: bool) -> ssl.SSLContext:
    """Return how to check certificates: those in the PEM file `ca` replace the system's."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        text = "expected a PEM file with certificates, found"
        raise ActionError(f"--ca {ca}: {text}: {error.strerror or error}") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        urllib3.disable_warnings()  # the user asked for it
    return context


def _open_connections(url: str, context: ssl.SSLContext) -> urllib3.PoolManager:
    """Return connections that stay open, through the proxy of the environment if there is one."""
    parts = urlsplit(url)
    proxy = "" if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme, "")
    if not proxy:
        return urllib3.PoolManager(maxsize=MAX_JOBS, retries=False, ssl_context=context)
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    user = unquote(urlsplit(proxy).netloc.rpartition("@")[0])
    try:
        return urllib3.ProxyManager(
            proxy, maxsize=MAX_JOBS, retries=False, ssl_context=context, proxy_ssl_context=context,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=user or None),
        )  # fmt: skip
    except HTTPError as error:
        raise ActionError(f"the proxy of the environment cannot be used: {error}") from None


def _find_cause(error: BaseException) -> BaseException:
    """Return the error of Python's own that is behind one of urllib3."""
    while isinstance(error, HTTPError) and (cause := error.__cause__ or error.__context__):
        error = cause
    return error


def _describe_connection_error(cause: BaseException) -> tuple[str, bool]:
    """Return why there is no reply, and whether another try would fail too, or take minutes."""
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "verify_message", "") or cause.reason or cause
        hint = "; --ca FILE names the authority to trust" if "certificate" in str(reason) else ""
        return f"no secure connection: {reason}{hint}", True
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s", True
    if isinstance(cause, socket.gaierror):
        return f"the host is not known: {cause.strerror}", cause.errno != socket.EAI_AGAIN
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return f"the connection failed: {text}", False
