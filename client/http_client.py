"""Call a deployed web action over HTTP: `python3 -m action --url`.

A platform under load refuses some requests, and a picture gets the same answer however often it is
sent. So a failure that may be temporary is tried again, after a delay that doubles each time.
"""

import json
import random
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler
from urllib.request import Request as HttpRequest

from action.request import ActionError, Options, read_image
from action.web import MAX_PAYLOAD
from client.shrink import shrink_picture

MAX_TRIES = 5
# Seconds before the second try, or down to half of them; doubled before each further try.
DELAY = 1.0
# A server that asks for a longer wait, in seconds, is not tried again.
MAX_RETRY_AFTER = 60.0
# Seconds without an answer, while connecting or reading; the short one once the function is gone.
TIMEOUT = 60.0
SHORT_TIMEOUT = 10.0
# Share of a request's bytes that a picture may have: base64 takes 4/3 of it, headers the rest.
PICTURE_SHARE = 0.74

_TEMPORARY_STATUSES = (429, 502, 503, 504)
# Statuses of pictures that are refused, by the function or the platform, each time they are sent.
_PICTURE_STATUSES = (400, 413, 415, 422)
_MAX_REPLY_BYTES = 16 * 1024 * 1024
_LIKELY_CAUSES = {
    401: "the action was created with --web-secure: give its secret by --secret, or in the "
    "environment as CLASSIFY_SECRET",
    403: "access is denied: is --secret missing or wrong, or does a gateway want a key?",
    404: "no web action has this address: is the name in the URL right, and was the action created "
    "with --web true?",
}


class RemoteError(ActionError):
    """The function or the platform refuses the picture, or the URL or the secret is wrong."""


class UndeliveredError(RemoteError):
    """The function was not reached: nothing answers, or something else does."""


class _TemporaryError(Exception):
    """The request may succeed later: after `delay` seconds, if the server names them."""

    def __init__(self, reason: str, delay: float | None = None) -> None:
        super().__init__(reason)
        self.delay = delay


class WebActionClient:
    """Calls a deployed web action; may be used from several threads.

    Attributes:
        classes: how many classes the model has, after `fetch_description`.
    """

    def __init__(self, url: str, secret: str = "") -> None:
        """Check `url`, and the `secret` of an action with `--web-secure`; raise RemoteError."""
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid or "@" in parts.netloc or not url.isascii() or not url.isprintable():
            raise RemoteError(f"--url: expected an http or https URL, found {url[:200]!r}")
        if " " in url or not secret.isascii() or not secret.isprintable():
            name = "--url" if " " in url else "--secret"
            raise RemoteError(f"{name}: expected ASCII characters without white space")
        self._url, self._query = parts._replace(query="", fragment="").geturl(), parts.query
        self.classes = 0
        self._max_picture_bytes = int(MAX_PAYLOAD * PICTURE_SHARE)
        self._reached = False
        self._gone = False
        self._headers = {"accept": "application/json"}
        if secret:
            self._headers["x-require-whisk-auth"] = secret
        # Without handlers of errors and redirects: a redirect would turn a POST into a GET, and
        # send the secret to another address.
        self._opener = OpenerDirector()
        for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
            self._opener.add_handler(handler)

    def fetch_description(self) -> None:
        """Read the function's number of classes and its limits; raise RemoteError."""
        description = self._request("GET", None, {}, {})
        if not isinstance(description.get("classes"), int):
            raise RemoteError(f"{self._url}: this answers, but is not the function: no 'classes'")
        self.classes = int(description["classes"])
        limits = description.get("limits")
        payload = limits.get("payloadBytes") if isinstance(limits, dict) else None
        if isinstance(payload, int) and payload > 0:
            self._max_picture_bytes = int(payload * PICTURE_SHARE)

    def classify(self, data: bytes, options: Options) -> dict[str, Any]:
        """Return the function's answer for one picture.

        A picture that is too large for a request is shrunk first. Then `sent` in the answer has the
        sent picture's `format`, `width`, `height`, `bytes`, and the bytes of the original (`of`).

        Raises:
            ActionError: the picture is refused, by the function or here.
            CannotShrinkError: it is too large, and cannot be shrunk here.
            UndeliveredError: the function was not reached.
        """
        sent = {}
        if len(data) > self._max_picture_bytes:
            shrunk, width, height = shrink_picture(data, self._max_picture_bytes)
            size = {"width": width, "height": height, "bytes": len(shrunk)}
            sent = {"sent": {"format": "PNG", **size, "of": len(data)}}
            data = shrunk
        picture = read_image(data)
        query: dict[str, Any] = {"topK": options.top_k} if options.top_k_given else {}
        query["threshold"] = options.threshold
        if options.details:
            query["details"] = "true"
        headers = {"content-type": _content_type(picture)}
        answer = self._request("POST", picture, query, headers)
        results = answer.get("results")
        if not isinstance(results, list) or not all(map(_is_result, results)):
            raise UndeliveredError(f"expected 'results', found {json.dumps(answer)[:100]}")
        return {**answer, **sent}

    def _request(
        self, method: str, body: bytes | None, query: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        """Send a request, up to MAX_TRIES times, and return its JSON object; raise RemoteError."""
        queries = "&".join(filter(None, (self._query, urlencode(query))))
        url = f"{self._url}?{queries}" if queries else self._url
        # The first pictures wait for a server that restarts; the others then need not.
        tries = 1 if self._gone else MAX_TRIES
        for number in range(1, tries + 1):
            # A new request each time, since the handler of proxies changes it.
            request = HttpRequest(url, body, {**self._headers, **headers}, method=method)
            try:
                return self._send(request)
            except _TemporaryError as error:
                reason, delay = str(error), error.delay
            if delay is None:
                delay = DELAY * 2 ** (number - 1) * random.uniform(0.5, 1)
            if number < tries:
                time.sleep(delay)
        self._gone = True
        gave_up = f"; gave up after {tries} tries" if tries > 1 else ""
        raise UndeliveredError(f"{self._url}: {reason}{gave_up}")

    def _send(self, request: HttpRequest) -> dict[str, Any]:
        """Send a request once; raise _TemporaryError if it may succeed later."""
        timeout = min(TIMEOUT, SHORT_TIMEOUT) if self._gone else TIMEOUT
        try:
            with self._opener.open(request, timeout=timeout) as reply:
                content = reply.read(_MAX_REPLY_BYTES)
                if reply.length:
                    raise IncompleteRead(content, reply.length)
        except (OSError, HTTPException) as error:
            raise self._connection_error(error, request, timeout) from None
        self._reached = True
        if reply.status not in _TEMPORARY_STATUSES:
            self._gone = False
            return self._parse_reply(reply, content)
        reason = f"HTTP status {reply.status}"
        delay = _parse_retry_after(reply.headers.get("retry-after"))
        if delay is not None and delay > MAX_RETRY_AFTER:
            text = f"{reason}; it asks to wait for {delay:.0f} s"
            raise UndeliveredError(f"{self._url}: {text}")
        raise _TemporaryError(reason, delay)

    def _connection_error(
        self, error: Exception, request: HttpRequest, timeout: float
    ) -> RemoteError | _TemporaryError:
        cause = error.reason if isinstance(error, URLError) else error
        reason, permanent = _describe_connection_error(cause, timeout)
        body = request.data
        if isinstance(body, bytes) and len(body) > MAX_PAYLOAD * 3 // 4:
            # Some servers close the connection when a request is too large.
            text = f"{reason}; OpenWhisk takes pictures of up to about 780 KB"
            return RemoteError(f"{self._url}: {text}")
        if permanent or (isinstance(cause, ConnectionRefusedError) and not self._reached):
            self._gone = True
            return UndeliveredError(f"{self._url}: {reason}")
        return _TemporaryError(reason)

    def _parse_reply(self, reply: HTTPResponse, content: bytes) -> dict[str, Any]:
        """Return the JSON object in a reply; raise RemoteError if it is an error."""
        status, url = reply.status, self._url
        if 300 <= status < 400:
            location = str(reply.headers.get("location"))[:200]
            raise UndeliveredError(f"{url}: expected the function, found a redirect to {location}")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or (status >= 400 and "error" not in answer):
            kind = str(reply.headers.get("content-type"))[:60]
            text = f"expected the function's JSON, found {kind} with HTTP status {status}"
            if status in _PICTURE_STATUSES:
                raise RemoteError(f"{url}: {text}")
        elif "error" not in answer:
            return answer
        elif "code" not in answer and status not in _LIKELY_CAUSES:
            raise RemoteError(str(answer["error"])[:500])  # the function's own text
        else:
            # The platform's own errors have a code and a short text.
            text = f"{str(answer['error'])[:500]} (HTTP status {status})"
            if status in _PICTURE_STATUSES:
                raise RemoteError(text)
        raise UndeliveredError(f"{url}: {text}; {self._likely_cause(status)}")

    def _likely_cause(self, status: int) -> str:
        if status == 401 and "x-require-whisk-auth" in self._headers:
            return "the secret is not the one that the action was created with (--web-secure)"
        return _LIKELY_CAUSES.get(status, "is it the function's address?")


def _content_type(picture: bytes) -> str:
    """Return the type of a picture; deployments treat every image/... as binary."""
    try:
        from action.picture import sniff_format  # needs Pillow

        return f"image/{sniff_format(picture).lower()}"
    except (ImportError, ActionError):
        return "application/octet-stream"  # for which the function checks the bytes


def _is_result(each: Any) -> bool:
    number = isinstance(each, dict) and isinstance(each.get("probability"), (int, float))
    return number and isinstance(each.get("className"), str)


def _describe_connection_error(cause: object, timeout: float) -> tuple[str, bool]:
    """Return why there is no reply, and whether another try would fail too, or take minutes."""
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "verify_message", "") or cause.reason or cause
        return f"no secure connection: {reason}", True
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout:.0f} s", True
    if isinstance(cause, socket.gaierror):
        return f"the host is not known: {cause.strerror}", cause.errno != socket.EAI_AGAIN
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return f"the connection failed: {text}", False


def _parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
