"""Verify a deployed action: invoke it with the sample picture and compare its answer."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from builder.base.console import Console
from builder.base.paths import SAMPLE
from builder.deploy.action_document import Document, values_of
from builder.deploy.rest_api import Answer, Name, PlatformError, RestApi

# How far two machines' probabilities may differ: their kernels round in other steps.
TOLERANCE = 0.01
# HTTP status -> how long to wait before the one other try: some of a deployment's controllers do
# not know a new web action for a moment; activations are counted by the calendar minute.
RETRY_SECONDS = {404: 3.0, 429: 60.0}
# Parameters that, bound to an action by its owner, change the number of its classes.
_NARROWING = {"topK", "threshold"}
# What the platform says of an action that did not start.
_REFUSED = "Cannot start action"

Results = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class DeployedAction:
    """A deployed action that was verified.

    Attributes:
        url: where the web action answers; empty if it is none.
        created: whether it is new, not updated.
        version: the platform's count of its updates, as "0.0.3".
        results: the classes of the sample picture, as the platform answered.
        init_ms: the time of its cold start, as the platform measured it; None if it did not.
        agrees: whether that is the zip's own answer; None where there was none to compare with.
        bound: names of the parameters that the action or its package binds.
        secured: whether clients must send a secret.
    """

    name: str
    namespace: str
    kind: str
    memory: int
    url: str
    created: bool
    version: str
    results: Results
    init_ms: int | None
    agrees: bool | None
    bound: tuple[str, ...]
    secured: bool


def verify_action(
    api: RestApi,
    name: Name,
    document: Document,
    created: bool,
    expected: Results | None,
    console: Console,
) -> DeployedAction:
    """Invoke the action with the sample, and compare with the zip's results here, if any.

    `document` is the action's. Raise PlatformError, with the activation's log, if it did not
    answer, or not as here.
    """
    annotations = values_of(document["annotations"])
    namespace = str(document.get("namespace") or name.namespace).partition("/")[0]
    url = api.web_url(name, namespace) if annotations.get("web-export") else ""
    secret = annotations.get("require-whisk-auth", False)
    bound = tuple(values_of(document.get("parameters", [])))
    with console.step(f"invoke {name}") as details:
        status, answer, activation = _invoke(api, name, url, secret, console)
        record = api.record(name, activation) if activation else {}
        results = answer.get("results")
        if not results and not (results == [] and "threshold" in bound):
            text = f"{url or name} answered the sample picture with HTTP {status}: "
            raise _failure(text + str(answer.get("error", answer))[:300], activation, record)
        if expected is not None:
            _compare(name, results, expected, not _NARROWING.isdisjoint(bound))
        init_ms = values_of(record.get("annotations", [])).get("initTime")
        best = [f"{each['className']} ({100 * each['probability']:.0f} %)" for each in results[:1]]
        details.append(f"{SAMPLE.name}: {', '.join(best) or 'no class above the threshold'}")
        if init_ms is not None:
            details.append(f"cold start: {init_ms} ms of init, {record.get('duration')} ms in all")
        details.append(
            "not compared: the zip was not invoked on this machine"
            if expected is None
            else "as the zip answered on this machine"
        )
    return DeployedAction(
        name=str(name),
        namespace=namespace,
        kind=str(document.get("exec", {}).get("kind", "")),
        memory=document["limits"]["memory"],
        url=url,
        created=created,
        version=str(document.get("version", "")),
        results=results,
        init_ms=init_ms,
        agrees=None if expected is None else True,
        bound=bound,
        secured=secret is not False,
    )


def _invoke(api: RestApi, name: Name, url: str, secret: Any, console: Console) -> Answer:
    """Invoke the action, over the web if it has an address there and clients need no key."""
    picture = SAMPLE.read_bytes()
    if url and secret is not True:
        headers = {"content-type": "image/jpeg", "accept": "application/json"}
        if secret is not False:
            headers["x-require-whisk-auth"] = str(secret)
        invoke = partial(api.invoke_web, f"{url}.http", picture, headers)
    else:
        invoke = partial(api.invoke, name, {"image": base64.b64encode(picture).decode()})
    answer = invoke()
    if seconds := RETRY_SECONDS.get(answer.status):
        console.status(f"HTTP {answer.status}; trying again in {seconds:.0f} s")
        time.sleep(seconds)
        answer = invoke()
    if answer.status == 202:
        result = api.wait(name, answer.activation, console.status)
        body = result.get("body", result)
        answer = answer._replace(document=body if isinstance(body, dict) else {"error": body})
    return answer


def _failure(what: str, activation: str, record: dict[str, Any]) -> PlatformError:
    """Return the error for an answer without results, with the activation's log."""
    if not activation:
        return PlatformError(what, "check the action: wsk action get NAME")
    result = record.get("response", {}).get("result", {})
    reason = str(result.get("error", ""))[:500] if isinstance(result, dict) else ""
    logs = [line[:500] for line in record.get("logs", [])[-20:]] or ["(its log is empty)"]
    text = "\n    ".join([f"{what}\n  activation {activation}: {reason}", *logs])
    failure = PlatformError(text, "the log says why")
    failure.at_init = _REFUSED in reason
    return failure


def _compare(name: Name, results: Results, expected: Results, narrowed: bool) -> None:
    """Raise PlatformError unless the results are the zip's own, within TOLERANCE in any order.

    A narrowed action, which binds topK or threshold, returns fewer classes, or more.
    """
    count = min(len(results), len(expected)) if narrowed else None
    there, here = results[:count], expected[:count]
    classes = [{each["className"] for each in answer} for answer in (there, here)]
    if len(there) == len(here) and classes[0] == classes[1]:
        pairs = zip(there, here, strict=True)
        if all(abs(one["probability"] - two["probability"]) <= TOLERANCE for one, two in pairs):
            return
    best = [
        ", ".join(f"{each['className']} {each['probability']:.3f}" for each in answer[:3])
        for answer in (results, expected)
    ]
    raise PlatformError(
        f"{name} answers differently from the zip here: {best[0]} there, {best[1]} here",
        "does another action answer under this name (a cache, a package's default)? "
        "'wsk activation logs --last' shows its log",
    )
