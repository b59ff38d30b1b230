"""Upload a zip as an action: create it or update it; put the earlier one back if that was wrong."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.base.console import Console, megabytes
from builder.base.errors import BuildError
from builder.deploy.openwhisk import Name, OpenWhisk

# Of a new action, where the platform allows so much.
TIMEOUT_MS = 60_000
_SECRET = "require-whisk-auth"


@dataclass(frozen=True)
class ActionSettings:
    """Settings of the action; what is None stays, or gets its default if the action is new.

    Attributes:
        memory: limit in MB.
        timeout: limit in ms.
        parameters: to bind, beside those that are bound.
        web: "true" (anybody may invoke it over the web), "raw" (the body is passed unparsed), "no".
        secret: what web clients must send as `X-Require-Whisk-Auth`; "true" for a random number,
            "false" for none.
    """

    memory: int | None = None
    timeout: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    web: str | None = None
    secret: str | None = None


def upload_action(
    client: OpenWhisk,
    name: Name,
    before: dict[str, Any] | None,
    document: dict[str, Any],
    archive: Path,
    console: Console,
) -> dict[str, Any]:
    """Create or update the action with a zip's code; return its document without the code.

    Args:
        client: the connection to the platform.
        name: of the action.
        before: the action's earlier document; None if it is new.
        document: as `describe_action` makes it.
        archive: the zip.
        console: shows the progress.

    Raises:
        PlatformError: the platform refused.
    """
    code = base64.b64encode(archive.read_bytes()).decode()
    with console.step(f"upload {name}") as details:
        with console.progress(archive.name) as advance:
            client.put(name, {**document, "exec": {**document["exec"], "code": code}}, advance)
        after = client.action(name)
        if after is None:
            raise BuildError(f"{client.host.url} took {name}, but does not have it")
        details.append(
            f"{'updated' if before else 'created'} {after.get('namespace', name.namespace)}/"
            f"{name.action}, version {after.get('version', '?')}, {after['exec']['kind']}, "
            f"{after['limits']['memory']} MB, {megabytes(archive.stat().st_size)}"
        )
    return after


def check_kind(name: Name, before: dict[str, Any] | None) -> None:
    """Raise BuildError if the name is taken by an action of another language."""
    exists = before.get("exec", {}).get("kind", "") if before else "python:"
    if not exists.startswith("python:"):
        raise BuildError(
            f"{name} is an action of kind {exists or 'unknown'}, not one of this function's",
            "choose another name with --name, or delete it first: undeploy NAME",
        )


def describe_action(
    before: dict[str, Any] | None,
    package: list[dict[str, Any]],
    kind: str,
    memory: int,
    timeout: int,
    settings: ActionSettings,
) -> dict[str, Any]:
    """Return the document to put, without the code.

    Args:
        before: the action's earlier document; None if it is new.
        package: the parameters that its package binds.
        kind: to run it with.
        memory: what the zip needs, in MB; a higher limit of an earlier action stays.
        timeout: of a new action, in ms.
        settings: what the user asks for.
    """
    limits = before["limits"] if before else {}
    annotations = _values(before["annotations"]) if before else {}
    for computed in ("exec", "binary"):  # the platform makes these from the code
        annotations.pop(computed, None)
    web = settings.web or (None if "web-export" in annotations else "true")
    if web:
        # As 'wsk --web' sets them; "final" keeps clients from changing bound parameters.
        annotations |= {"web-export": web != "no", "raw-http": web == "raw", "final": web != "no"}
    removed = []
    if settings.secret == "false":
        removed = [_SECRET] if annotations.pop(_SECRET, None) is not None else []
    elif settings.secret is not None:
        drawn = secrets.randbelow(2**53)  # a number as 'wsk --web-secure true' draws
        annotations[_SECRET] = drawn if settings.secret == "true" else settings.secret
    document: dict[str, Any] = {
        "exec": {"kind": kind},
        "annotations": _pairs(annotations),
        "delAnnotations": removed,
        "limits": {"memory": settings.memory or max(memory, limits.get("memory", 0))},
    }
    if settings.timeout or not before:
        document["limits"]["timeout"] = settings.timeout or timeout
    if limits.get("concurrency", 1) > 1:  # the runtime answers one activation at a time
        document["limits"]["concurrency"] = 1
    if settings.parameters:
        own = [each for each in (before or {}).get("parameters", []) if each not in package]
        document["parameters"] = _pairs({**_values(own), **settings.parameters})
    return document


def put_back(
    client: OpenWhisk,
    name: Name,
    before: dict[str, Any] | None,
    package: list[dict[str, Any]],
    failed: dict[str, Any],
    console: Console,
) -> None:
    """Undo an upload whose check failed: put the earlier action, or delete a new one.

    Args:
        client: the connection to the platform.
        name: of the action.
        before: the earlier document with its code; None if there was none.
        package: the parameters that its package binds.
        failed: the document of the failed version.
        console: shows the warning.

    Raises:
        PlatformError: the platform refused.
    """
    if before is None:
        client.delete(name)
        console.warn(f"{name} failed its check and was deleted; --keep-broken would leave it")
        return
    annotations = _values(before["annotations"])
    new = _values(failed["annotations"]).keys() - annotations.keys()
    annotations.pop("exec", None)
    execution = {key: before["exec"][key] for key in ("kind", "code", "main", "binary")
                 if key in before["exec"]}  # fmt: skip
    document = {
        "exec": execution,
        "annotations": _pairs(annotations),
        "delAnnotations": sorted(new),
        "limits": before["limits"],
        "parameters": [each for each in before.get("parameters", []) if each not in package],
    }
    client.put(name, document, lambda done, total: None)
    version = before.get("version", "?")
    console.warn(
        f"{name} failed its check: version {version} was put back; --keep-broken leaves the new one"
    )


def _values(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in pairs}


def _pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]
