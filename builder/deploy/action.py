"""Put a finished zip on a platform, invoke it there, and hold its answer against the local one."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.base.console import Console, megabytes
from builder.base.errors import BuildError
from builder.deploy.openwhisk import Info, Name, OpenWhisk, PlatformError, printable

TIMEOUT_MS = 60_000
TOLERANCE = 0.01
"""How far two machines' probabilities may lie apart: their kernels round by other steps."""
LOG_LINES = 20
_NARROWING = {"topK", "threshold"}
"""Parameters that, bound to an action by its owner, make it name fewer classes."""
_TRIES = 4
"""A new web action may be unknown to some of a deployment's controllers for a moment."""


@dataclass(frozen=True)
class Kind:
    """A kind of the platform, and the Python version behind it."""

    name: str
    python: str


@dataclass(frozen=True)
class Web:
    """How the action is to be reached over the web; None: as it is, and by anybody if it is new.

    Attributes:
        export: "true", "raw" (the body comes as it is) or "no".
        secret: what clients have to send as `X-Require-Whisk-Auth`.
    """

    export: str | None = None
    secret: str | None = None


@dataclass(frozen=True)
class Deployment:
    """What is there now.

    Attributes:
        url: where the web action answers; empty if it is none.
        created: whether it is new, not updated.
        version: the platform's count of its updates, as "0.0.3".
        results: the classes of the sample picture, as the platform answered.
        init_ms: how long its cold start took, as the platform measured; None if it did not say.
        agrees: whether that is the local answer; None where there was none to compare with.
    """

    name: str
    namespace: str
    kind: str
    memory: int
    url: str
    created: bool
    version: str
    results: list[dict[str, Any]]
    init_ms: int | None
    agrees: bool | None
    secured: bool = False
    """Whether clients have to send a secret."""


def fitting(info: Info, pythons: Sequence[str], host: str) -> Kind:
    """The first of the host's kinds that runs one of these Python versions, in their order.

    Args:
        info: what the host says of itself.
        pythons: versions as "3.11".
        host: its address, for messages.

    Raises:
        BuildError: it has none; says which it has.
    """
    if info.kinds is None:
        return Kind(f"python:{pythons[0]}", pythons[0])
    for python in pythons:
        if f"python:{python}" in info.kinds:
            return Kind(f"python:{python}", python)
    for name, image in info.kinds.items():  # older names, such as python:3
        version = re.search(r"python-v(\d+\.\d+)", image)
        if version and version[1] in pythons:
            return Kind(name, version[1])
    raise BuildError(
        f"{host} has no kind for Python {' or '.join(pythons)}; it has "
        + (", ".join(sorted(info.kinds)) or "none for Python"),
        "build for one of these with --python X.Y, or ask the platform's operator for the kind",
    )


def deploy(
    platform: OpenWhisk,
    name: Name,
    kind: Kind,
    archive: Path,
    memory: int,
    web: Web,
    console: Console,
) -> tuple[dict[str, Any], bool]:
    """Create the action, or update it: what of an older one we do not set stays.

    Args:
        platform: where.
        name: of the action.
        kind: to run it with.
        archive: the zip.
        memory: the least that it needs, in MB; an older action keeps a higher limit.
        web: how it is to be reached.
        console: shows the progress.

    Returns:
        The action's document without its code, and whether it is new.

    Raises:
        BuildError: the name is taken by something else.
        PlatformError: the platform refused.
    """
    with console.step(f"upload {name}") as details:
        before = platform.action(name)
        document = _document(before, name, kind, archive.read_bytes(), memory, web)
        with console.progress(archive.name) as advance:
            after = platform.put(name, document, advance)
        after.setdefault("limits", document["limits"])
        after.setdefault("annotations", document["annotations"])
        details.append(
            f"{'updated' if before else 'created'} {after.get('namespace', name.namespace)}/"
            f"{name.action}, version {after.get('version', '?')}, {kind.name}, "
            f"{after['limits']['memory']} MB, {megabytes(archive.stat().st_size)}"
        )
    return after, before is None


def _document(
    before: dict[str, Any] | None, name: Name, kind: Kind, content: bytes, memory: int, web: Web
) -> dict[str, Any]:
    """What to put: the platform replaces annotations as a whole, and other fields one by one."""
    annotations: dict[str, Any] = {}
    if before:
        exists = before.get("exec", {}).get("kind", "")
        if not exists.startswith("python:"):
            raise BuildError(
                f"{name} is an action of kind {exists or 'unknown'}, not one of this function's",
                "choose another name (--deploy NAME), or delete it first: --undeploy NAME",
            )
        annotations = {each["key"]: each["value"] for each in before.get("annotations", [])}
        memory = max(memory, before.get("limits", {}).get("memory", 0))
    for computed in ("exec", "binary"):  # the platform's own, made from the code
        annotations.pop(computed, None)
    export = web.export or (None if "web-export" in annotations else "true")
    if export:
        # As 'wsk --web' sets them; parameters that were set for good are no client's to change.
        annotations["web-export"] = export != "no"
        annotations["raw-http"] = export == "raw"
        annotations["final"] = export != "no"
    if web.secret is not None:
        annotations["require-whisk-auth"] = web.secret
    document: dict[str, Any] = {
        "exec": {"kind": kind.name, "code": base64.b64encode(content).decode()},
        "annotations": [{"key": key, "value": value} for key, value in annotations.items()],
        "limits": {"memory": memory},
    }
    if before is None:
        document["limits"]["timeout"] = TIMEOUT_MS
    return document


def invoke(
    platform: OpenWhisk,
    name: Name,
    document: dict[str, Any],
    created: bool,
    sample: Path,
    expected: list[dict[str, Any]] | None,
    console: Console,
) -> Deployment:
    """Classify the sample picture there, and compare with what the zip answered here.

    Args:
        platform: where.
        name: of the action.
        document: the action's, as `deploy` returned it.
        created: whether it is new.
        sample: a JPEG.
        expected: the results that it got locally; None if there are none.
        console: shows the progress.

    Raises:
        PlatformError: it did not answer, or not as here; with the activation's log.
    """
    annotations = {each["key"]: each["value"] for each in document["annotations"]}
    namespace = str(document.get("namespace") or name.namespace).partition("/")[0]
    exported = bool(annotations.get("web-export"))
    url = platform.web_url(name, namespace) if exported else ""
    with console.step(f"invoke {name}") as details:
        secret = annotations.get("require-whisk-auth")
        if exported and secret is not True:  # True: the key of a user of the platform
            answer, activation = _over_the_web(platform, name, f"{url}.http", secret, sample)
        else:
            picture = base64.b64encode(sample.read_bytes()).decode()
            try:
                answer, activation = platform.invoke(name, {"image": picture})
            except PlatformError as error:
                raise _with_log(platform, name, error) from error
        record = platform.record(name, activation) if activation else {}
        results = answer.get("results")
        if not results:
            failed = PlatformError(
                f"{name} answered the sample picture with {str(answer)[:200]}",
                "the log says why",
                activation=activation,
            )
            raise _with_log(platform, name, failed)
        bound = {each["key"] for each in document.get("parameters", [])} & _NARROWING
        agrees = None
        if expected is not None:
            here = expected[: len(results) if bound else None]
            agrees = agree(results, here)
        init = _annotation(record, "initTime")
        best = results[0]
        details.append(f"{sample.name}: {best['className']} ({100 * best['probability']:.0f} %)")
        if init is not None:
            details.append(
                f"cold start: {init} ms of init, {record.get('duration', '?')} ms in all"
            )
        details.append(comparison(agrees))
        if agrees is False:
            raise PlatformError(
                f"{name} answers otherwise than the zip here: {_brief(results)} there, "
                f"{_brief(expected or [])} here",
                "it stays deployed; does another action answer under this name (a cache, a "
                "package's default)? 'wsk activation logs --last' shows its log",
            )
    return Deployment(
        str(name),
        namespace,
        str(document.get("exec", {}).get("kind", "")),
        document["limits"]["memory"],
        url,
        created,
        str(document.get("version", "")),
        results,
        init,
        agrees,
        annotations.get("require-whisk-auth") not in (None, False),
    )


def answer_at(platform: OpenWhisk, name: Name, url: str, sample: Path) -> list[dict[str, Any]]:
    """The classes that an address answers for the sample picture.

    Raises:
        PlatformError: it answers with something else.
    """
    answer, _ = _over_the_web(platform, name, url, None, sample)
    if not answer.get("results"):
        raise PlatformError(f"{url} answered the sample picture with {str(answer)[:200]}")
    results: list[dict[str, Any]] = answer["results"]
    return results


def _over_the_web(
    platform: OpenWhisk, name: Name, url: str, secret: Any, sample: Path
) -> tuple[dict[str, Any], str]:
    headers = {"content-type": "image/jpeg", "accept": "application/json"}
    if secret not in (None, False):
        headers["x-require-whisk-auth"] = str(secret)
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(attempt)
        status, answer, activation = platform.invoke_web(url, sample.read_bytes(), headers)
        if status != 404:
            break
    if status == 200:
        return answer, activation
    said = str(answer.get("error", ""))[:300]
    error = PlatformError(
        f"{url} answered the sample picture with HTTP {status}" + (f": {said}" if said else ""),
        "the log says why" if activation else "check the action: wsk action get " + str(name),
        status,
        activation,
    )
    raise _with_log(platform, name, error)


def _with_log(platform: OpenWhisk, name: Name, error: PlatformError) -> PlatformError:
    """The same error with what the activation that failed has logged."""
    if not error.activation:
        return error
    record = platform.record(name, error.activation)
    lines = [printable(line)[:500] for line in record.get("logs", [])]
    reason = record.get("response", {}).get("result", {})
    reason = reason.get("error", "") if isinstance(reason, dict) else ""
    shown = [f"    {line}" for line in lines[-LOG_LINES:]] or ["    (its log is empty)"]
    text = f"{error}\n  activation {error.activation}" + (
        f": {printable(str(reason))[:500]}" if reason else ""
    )
    return PlatformError("\n".join([text, *shown]), error.hint, error.status, error.activation)


def agree(there: Sequence[dict[str, Any]], here: Sequence[dict[str, Any]]) -> bool:
    """Whether two answers name the same classes, with probabilities as good as equal.

    In the same order, but for classes whose probabilities the tolerance lets change places.
    """
    if len(there) != len(here):
        return False
    return all(
        abs(one["probability"] - other["probability"]) <= TOLERANCE
        for one, other in zip(there, here, strict=True)
    ) and {each["className"] for each in there} == {each["className"] for each in here}


def comparison(agrees: bool | None) -> str:
    """What came of comparing with the local answer, in words; None if there was none."""
    if agrees is None:
        return "not compared: the zip was not invoked on this machine"
    return "as the zip answered on this machine" if agrees else "not as on this machine"


def _brief(results: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{each['className']} {each['probability']:.3f}" for each in results[:3])


def _annotation(record: dict[str, Any], key: str) -> int | None:
    for each in record.get("annotations", []):
        if each.get("key") == key and isinstance(each.get("value"), int):
            value: int = each["value"]
            return value
    return None
