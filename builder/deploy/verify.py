"""Verify a deployed action: invoke it with the sample picture and compare its answer."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.base.console import Console
from builder.deploy.openwhisk import Name, OpenWhisk, PlatformError, printable

# How far two machines' probabilities may differ: their kernels round in other steps.
TOLERANCE = 0.01
# Parameters that, bound to an action by its owner, change the number of its classes.
_NARROWING = {"topK", "threshold"}
# What the platform says of an action that did not start.
_REFUSED = "Cannot start action"
# Some of a deployment's controllers do not know a new web action for a moment.
_TRIES = 4

Results = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Deployment:
    """A deployed action.

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
    bound: tuple[str, ...] = ()
    secured: bool = False


def verify_action(
    client: OpenWhisk,
    name: Name,
    document: dict[str, Any],
    sample: Path,
    expected: Results | None,
    console: Console,
) -> Deployment:
    """Invoke the action with a JPEG, and compare with the zip's results on this machine, if any.

    `document` is the action's. Raise PlatformError, with the activation's log, if it did not
    answer, or not as here.
    """
    annotations = {each["key"]: each["value"] for each in document["annotations"]}
    namespace = str(document.get("namespace") or name.namespace).partition("/")[0]
    url = client.web_url(name, namespace) if annotations.get("web-export") else ""
    secret = annotations.get("require-whisk-auth", False)
    bound = tuple(each["key"] for each in document.get("parameters", []))
    with console.step(f"invoke {name}") as details:
        try:
            if url and secret is not True:  # True: clients need a key of the platform
                answer, activation = _invoke_over_web(client, name, url, secret, sample, console)
            else:
                picture = base64.b64encode(sample.read_bytes()).decode()
                status, answer, activation = client.invoke(name, {"image": picture})
                if status == 202:
                    answer = client.wait(name, activation, console.status)
            results = answer.get("results")
            if not results and not (results == [] and "threshold" in bound):
                text = f"{name} answered the sample picture with {str(answer)[:200]}"
                raise PlatformError(text, "the log says why", activation=activation)
        except PlatformError as error:
            raise _with_log(client, name, error) from error
        record = client.record(name, activation) if activation else {}
        measured = {each.get("key"): each.get("value") for each in record.get("annotations", [])}
        init_ms = measured.get("initTime")
        agrees = _compare(name, results, expected, not _NARROWING.isdisjoint(bound))
        best = [f"{each['className']} ({100 * each['probability']:.0f} %)" for each in results[:1]]
        details.append(f"{sample.name}: {', '.join(best) or 'no class above the threshold'}")
        if init_ms is not None:
            details.append(f"cold start: {init_ms} ms of init, {record.get('duration')} ms in all")
        details.append(
            "not compared: the zip was not invoked on this machine"
            if agrees is None
            else "as the zip answered on this machine"
        )
    return Deployment(
        name=str(name),
        namespace=namespace,
        kind=str(document.get("exec", {}).get("kind", "")),
        memory=document["limits"]["memory"],
        url=url,
        created=False,
        version=str(document.get("version", "")),
        results=results,
        init_ms=init_ms,
        agrees=agrees,
        bound=bound,
        secured=secret is not False,
    )


def _invoke_over_web(
    client: OpenWhisk, name: Name, url: str, secret: Any, sample: Path, console: Console
) -> tuple[dict[str, Any], str]:
    headers = {"content-type": "image/jpeg", "accept": "application/json"}
    if secret is not False:
        headers["x-require-whisk-auth"] = str(secret)
    for attempt in range(_TRIES):
        time.sleep(attempt)
        status, answer, activation = client.invoke_web(f"{url}.http", sample.read_bytes(), headers)
        if status != 404:
            break
    if status == 202:
        result = client.wait(name, activation, console.status)
        status, body = result.get("statusCode", 400), result.get("body", result)
        answer = body if isinstance(body, dict) else json.loads(body)
    if status == 200:
        return answer, activation
    reason = str(answer.get("error", ""))[:300]
    raise PlatformError(
        f"{url} answered the sample picture with HTTP {status}" + (f": {reason}" if reason else ""),
        "the log says why" if activation else f"check the action: wsk action get {name}",
        status,
        activation,
    )


def _with_log(client: OpenWhisk, name: Name, error: PlatformError) -> PlatformError:
    """Return the same error with the log of the activation that failed."""
    if not error.activation:
        return error
    record = client.record(name, error.activation)
    lines = [printable(line)[:500] for line in record.get("logs", [])]
    reason = record.get("response", {}).get("result", {})
    reason = reason.get("error", "") if isinstance(reason, dict) else ""
    shown = [f"    {line}" for line in lines[-20:]] or ["    (its log is empty)"]
    text = f"{error}\n  activation {error.activation}" + (
        f": {printable(str(reason))[:500]}" if reason else ""
    )
    failure = PlatformError("\n".join([text, *shown]), error.hint, error.status, error.activation)
    failure.at_init = _REFUSED in str(reason)
    return failure


def _compare(name: Name, results: Results, expected: Results | None, narrowed: bool) -> bool | None:
    """Return True if the results are the zip's own, None if that is not known; raise if not.

    A narrowed action, which binds topK or threshold, returns fewer classes, or more.
    """
    if expected is None:
        return None
    count = min(len(results), len(expected)) if narrowed else None
    if _agree(results[:count], expected[:count]):
        return True
    raise PlatformError(
        f"{name} answers differently from the zip here: {_best(results)} there, "
        f"{_best(expected)} here",
        "does another action answer under this name (a cache, a package's default)? "
        "'wsk activation logs --last' shows its log",
    )


def _agree(there: Results, here: Results) -> bool:
    """Return whether two answers name the same classes, within TOLERANCE in any order."""
    return (
        len(there) == len(here)
        and {each["className"] for each in there} == {each["className"] for each in here}
        and all(
            abs(one["probability"] - other["probability"]) <= TOLERANCE
            for one, other in zip(there, here, strict=True)
        )
    )


def _best(results: Results) -> str:
    return ", ".join(f"{each['className']} {each['probability']:.3f}" for each in results[:3])
