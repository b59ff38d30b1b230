"""A deployed web action, asked over HTTP: `python -m action --url`.

A platform under load refuses some requests, and a picture is classified alike however often it is
sent: so what may pass is tried again, after a while that doubles.
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
from client.shrink import smaller

TRIES = 5
DELAY = 1.0
"""Seconds before the second try, or half of them; twice as many before each one after."""
LONGEST = 60.0
"""Who asks to wait for more seconds is not asked again."""
TIMEOUT = 60.0
"""Seconds of silence, while connecting or answering."""
SHORT_TIMEOUT = 10.0
"""The same, once the function is out of reach."""
SHARE = 0.74
"""Of a request's bytes, how many a picture may have: as base64 it takes 4/3 of them, and the
headers are in there too."""

_PASSING = (429, 502, 503, 504)
_OF_THE_PICTURE = (400, 413, 415, 422)
"""Statuses with which the platform, too, refuses a picture, and would refuse it again."""
_LARGEST_ANSWER = 16 * 1024 * 1024


class RemoteError(ActionError):
    """The endpoint refuses the picture, or the URL or the secret cannot be right."""


class UndeliveredError(RemoteError):
    """The function was not reached: nothing answers, or something else does."""


class Endpoint:
    """A deployed web action; may be used from several threads.

    Attributes:
        classes: how many the model has, once `introduce` has been called.
    """

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
        self.classes = 0
        self._largest = int(MAX_PAYLOAD * SHARE)
        self._reached = False
        self._lost = False
        self._headers = {"accept": "application/json"}
        if secret:
            self._headers["x-require-whisk-auth"] = secret
        # Without the handlers of errors and redirects: a redirect would make a GET of a POST,
        # and take the secret to wherever it leads.
        self._opener = OpenerDirector()
        for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
            self._opener.add_handler(handler)

    def introduce(self) -> None:
        """Ask which function this is, and what it takes; raises RemoteError."""
        answer = self._ask("GET", None, {}, {})
        if not isinstance(answer.get("classes"), int):
            raise RemoteError(f"{self._url}: this answers, but is not the function: no 'classes'")
        self.classes = int(answer["classes"])
        limits = answer.get("limits")
        largest = limits.get("payloadBytes") if isinstance(limits, dict) else None
        if isinstance(largest, int) and largest > 0:
            self._largest = int(largest * SHARE)

    def classify(self, data: bytes, options: Options) -> dict[str, Any]:
        """The answer for one picture.

        One that is too large for a request is made smaller before, and `sent` in the answer says
        what was sent: `format`, `width`, `height` in pixels, `bytes`, and of how many (`of`).

        Raises:
            ActionError: the picture is refused, in the endpoint's words or ours.
            UnableError: it is too large, and cannot be made smaller here.
            UndeliveredError: the function was not reached.
        """
        sent = {}
        if len(data) > self._largest:
            made = smaller(data, self._largest)
            size = {"width": made.side, "height": made.side, "bytes": len(made.data)}
            sent = {"sent": {"format": "PNG", **size, "of": len(data)}}
            data = made.data
        picture = read_image(data)
        top_k = {"topK": options.top_k} if options.top_k_given else {}
        query = {**top_k, "threshold": options.threshold}
        details = {"details": "true"} if options.details else {}
        headers = {"content-type": _content_type(picture)}
        answer = self._ask("POST", picture, {**query, **details}, headers)
        results = answer.get("results")
        if not isinstance(results, list) or not all(map(_is_result, results)):
            raise UndeliveredError(f"expected 'results', found {json.dumps(answer)[:100]}")
        return {**answer, **sent}

    def _ask(
        self, method: str, body: bytes | None, query: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        """The JSON object that is answered, after some tries; raises RemoteError for all else."""
        queries = "&".join(filter(None, (self._query, urlencode(query))))
        url = f"{self._url}?{queries}" if queries else self._url
        # One picture waits for a server that is started anew; the others need not, too.
        tries = 1 if self._lost else TRIES
        for tried in range(1, tries + 1):
            delay = DELAY * 2 ** (tried - 1) * random.uniform(0.5, 1)
            # A new one each time: the handler of proxies changes it.
            request = HttpRequest(url, body, {**self._headers, **headers}, method=method)
            timeout = min(TIMEOUT, SHORT_TIMEOUT) if self._lost else TIMEOUT
            try:
                with self._opener.open(request, timeout=timeout) as reply:
                    content = reply.read(_LARGEST_ANSWER)
                    if reply.length:
                        raise IncompleteRead(content, reply.length)
            except (OSError, HTTPException) as error:
                reason = error.reason if isinstance(error, URLError) else error
                trouble, lasts = _unreachable(reason, timeout)
                if body and len(body) > MAX_PAYLOAD * 3 // 4:  # some hang up on what is too large
                    text = f"{trouble}; OpenWhisk takes pictures of up to about 780 KB"
                    raise RemoteError(f"{self._url}: {text}") from None
                if lasts or (isinstance(reason, ConnectionRefusedError) and not self._reached):
                    self._lost = True
                    raise UndeliveredError(f"{self._url}: {trouble}") from None
            else:
                self._reached = True
                if reply.status not in _PASSING:
                    self._lost = False
                    return self._object(reply, content)
                trouble = f"HTTP status {reply.status}"
                wanted = _retry_after(reply.headers.get("retry-after"))
                delay = delay if wanted is None else wanted
                if delay > LONGEST:
                    text = f"{trouble}; it asks to wait for {delay:.0f} s"
                    raise UndeliveredError(f"{self._url}: {text}")
            if tried < tries:
                time.sleep(delay)
        self._lost = True
        gave_up = f"; gave up after {tries} tries" if tries > 1 else ""
        raise UndeliveredError(f"{self._url}: {trouble}{gave_up}")

    def _object(self, reply: HTTPResponse, content: bytes) -> dict[str, Any]:
        """The JSON object in a reply; raises RemoteError with the text of one that is an error."""
        status, url = reply.status, self._url
        if 300 <= status < 400:
            target = str(reply.headers.get("location"))[:200]
            raise UndeliveredError(f"{url}: expected the function, found a redirect to {target}")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or (status >= 400 and "error" not in answer):
            kind = str(reply.headers.get("content-type"))[:60]
            what = f"expected the function's JSON, found {kind} with HTTP status {status}"
        elif "error" not in answer:
            return answer
        elif "code" not in answer and status not in _CAUSES:
            raise RemoteError(str(answer["error"])[:500])  # the function's own words
        else:
            # The platform's own errors have a code, and are short of words.
            what = f"{str(answer['error'])[:500]} (HTTP status {status})"
            if status in _OF_THE_PICTURE:
                raise RemoteError(what)
        cause = _CAUSES.get(status, "is it the function's address?")
        if status == 401 and "x-require-whisk-auth" in self._headers:
            cause = "the secret is not the one that the action was created with (--web-secure)"
        if status in _OF_THE_PICTURE:
            raise RemoteError(f"{url}: {what}")
        raise UndeliveredError(f"{url}: {what}; {cause}")


_CAUSES = {
    401: "the action was created with --web-secure: give its secret by --secret, or in the "
    "environment as CLASSIFY_SECRET",
    403: "who asks is not let in: is --secret missing or wrong, or does a gateway want a key?",
    404: "no web action has this address: is the name in the URL right, and was the action created "
    "with --web true?",
}
"""Likely causes, by HTTP status."""


def _content_type(picture: bytes) -> str:
    """As the function will see it; deployments take every image/... for binary content."""
    try:
        from action.picture import sniff_format  # needs Pillow

        return f"image/{sniff_format(picture).lower()}"
    except (ImportError, ActionError):
        return "application/octet-stream"  # which the function looks into, too


def _is_result(each: Any) -> bool:
    number = isinstance(each, dict) and isinstance(each.get("probability"), (int, float))
    return number and isinstance(each.get("className"), str)


def _unreachable(reason: object, timeout: float) -> tuple[str, bool]:
    """Why there is no answer, and whether trying again would not help, or take minutes."""
    if isinstance(reason, ssl.SSLError):
        why = getattr(reason, "verify_message", "") or reason.reason or reason
        return f"no secure connection: {why}", True
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout:.0f} s", True
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
