"""The function as a web action: the answer to an HTTP request, and the page for browsers."""

from __future__ import annotations

import os
from functools import cache

import action
from action.packages import HEADERS
from action.request import MAX_IMAGE_BYTES, MAX_IMAGES, parse
from action.web_request import header, parameters, path_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from action.classifier import Classifier
    from action.pipeline import Pipeline
    from action.response import Answer, Timings

MAX_PAYLOAD = 1024 * 1024
"""OpenWhisk's limit for the parameters of an activation, unless a deployment has set another."""

METHODS = ("GET", "HEAD", "OPTIONS", "POST")
_ALLOW = {"allow": ", ".join(METHODS)}
_HEADERS = {**HEADERS, "referrer-policy": "no-referrer"}


def answer(params: dict[str, Any], pipeline: Pipeline, timings: Timings) -> Answer:
    """Answer one web invocation.

    Args:
        params: what OpenWhisk made of the HTTP request.
        pipeline: classifies the pictures.
        timings: where to add the time spent.

    Returns:
        `statusCode`, `headers` and `body`: an object, which OpenWhisk sends as JSON, or text.

    Raises:
        ActionError: the request cannot be answered; its `status` says whose fault it is.
    """
    method = _method(params)
    if method == "OPTIONS":
        return reply(204, "", _ALLOW)
    if method not in METHODS:
        text = f"method: expected {_ALLOW['allow']}, found {method[:20]!r}"
        return reply(405, {"error": text}, _ALLOW)
    if method == "POST":
        request = parse(parameters(params), len(pipeline.classifier.labels))
        return reply(200, pipeline.answer(request, timings))
    path_options(params)  # there are no other resources
    shown = _page(params) or _description(pipeline.classifier)
    return {**shown, "body": ""} if method == "HEAD" else shown


def reply(status: int, body: Answer | str, headers: dict[str, str] | None = None) -> Answer:
    """A web action's answer, with the headers that all have."""
    return {"statusCode": status, "headers": {**_HEADERS, **(headers or {})}, "body": body}


def logged(params: dict[str, Any], answered: Answer) -> tuple[list[Answer], str]:
    """For the log: the answer of each picture, and the end of the line."""
    method, body = _method(params), answered["body"]
    pictures = body.get("predictions", [body]) if method == "POST" else []
    name = method if method in METHODS else "other"  # a log line is no place for a client's text
    return pictures, f" method={name} status={answered['statusCode']}"


def _method(params: dict[str, Any]) -> str:
    return str(params["__ow_method"]).upper()


def _description(classifier: Classifier) -> Answer:
    """What the function is and takes, which also tells that it is well."""
    from action.picture_cost import MAX_PIXELS
    from action.picture_format import FORMATS

    limits = {
        "payloadBytes": MAX_PAYLOAD,
        "imageBytes": MAX_IMAGE_BYTES,
        "images": MAX_IMAGES,
        "pixels": MAX_PIXELS,
        "formats": list(FORMATS),
    }
    model = {"model": classifier.name, "classes": len(classifier.labels)}
    body = {**model, "version": action.__version__, "limits": limits, "health": "ok"}
    return reply(200, body, {"vary": "accept"})


def _page(params: dict[str, Any]) -> Answer | None:
    """The page, for those who would rather have it than JSON, if it is there."""
    accept = header(params, "accept").lower()
    html, plain = accept.find("text/html"), accept.find("application/json")
    text, policy = _page_file() if html >= 0 and not 0 <= plain < html else ("", "")
    if not text:
        return None
    headers = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "max-age=300",
        "content-security-policy": policy,
        "vary": "accept",
    }
    return reply(200, text, headers)


@cache
def _page_file() -> tuple[str, str]:
    """The page beside this module, if it is there, and the policy that lets just its code run."""
    try:
        # From where this module is: a checkout, or `packed.zip` (PEP 302).
        loader: Any = globals()["__loader__"]
        path = os.path.join(os.path.dirname(__file__), "page.html")
        text = loader.get_data(path).decode()
    except OSError:
        return "", ""
    allowed = "".join(f"{tag}-src {_hashes(text, tag)}; " for tag in ("script", "style"))
    return text, (
        f"default-src 'none'; {allowed}img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(page: str, tag: str) -> str:
    """Sources for a content security policy (CSP 3, section 2.3.1): a hash per inline element."""
    import re
    from base64 import b64encode
    from hashlib import sha256

    inline = re.findall(rf"<{tag}(?:\s[^>]*)?>(.*?)</{tag}>", page, re.DOTALL | re.IGNORECASE)
    digests = [b64encode(sha256(code.encode()).digest()).decode() for code in inline]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
