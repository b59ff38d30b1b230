"""Describe an action, upload a zip as its code, and put the earlier action back if that failed."""

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

_SECRET = "require-whisk-auth"


@dataclass(frozen=True)
class ActionSettings:
    """Settings of the action; what is None stays, or gets its default if the action is new.

    Attributes:
        memory: limit in MB.
        timeout: limit in ms.
        parameters: to bind, besides those that are bound.
        web: "true" (anybody may invoke it over the web), "raw" (the body is passed unparsed), "no".
        secret: what web clients must send as `X-Require-Whisk-Auth`; "true" for a random number,
            "false" for none.
    """

    memory: int | None = None
    timeout: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    web: str | None = None
    secret: str | None = None


@dataclass(frozen=True)
class EarlierAction:
    """An action before its update.

    Attributes:
        document: with its code; None if the action is new.
        package: the parameters that its package binds.
    """

    document: dict[str, Any] | None
    package: list[dict[str, Any]]

    @property
    def annotations(self) -> dict[str, Any]:
        """Those that can be put; the platform makes the others from the code."""
        values = _values(self.document["annotations"]) if self.document else {}
        return {key: value for key, value in values.items() if key not in ("exec", "binary")}

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """The action's own; a document also has those of the package."""
        listed = self.document.get("parameters", []) if self.document else []
        return [each for each in listed if each not in self.package]


def describe_action(
    before: EarlierAction, kind: str, memory: int, timeout: int, settings: ActionSettings
) -> dict[str, Any]:
    """Return the document to put, without the code.

    The zip needs `memory` MB; a higher limit from before stays. A new action gets `timeout` ms.
    """
    limits = before.document["limits"] if before.document else {}
    annotations = before.annotations
    web = settings.web or (None if "web-export" in annotations else "true")
    if web:
        # As 'wsk --web' sets them; "final" keeps clients from changing bound parameters.
        annotations |= {"web-export": web != "no", "raw-http": web == "raw", "final": web != "no"}
    removed = [_SECRET] if settings.secret == "false" and annotations.pop(_SECRET, None) else []
    if settings.secret not in (None, "false"):
        drawn = secrets.randbelow(2**53)  # a number as 'wsk --web-secure true' draws
        annotations[_SECRET] = drawn if settings.secret == "true" else settings.secret
    document: dict[str, Any] = {
        "exec": {"kind": kind},
        "annotations": _pairs(annotations),
        "delAnnotations": removed,
        "limits": {"memory": settings.memory or max(memory, limits.get("memory", 0))},
    }
    if settings.timeout or not limits:
        document["limits"]["timeout"] = settings.timeout or timeout
    if limits.get("concurrency", 1) > 1:  # the runtime answers one activation at a time
        document["limits"]["concurrency"] = 1
    if settings.parameters:
        document["parameters"] = _pairs({**_values(before.parameters), **settings.parameters})
    return document


def upload_action(
    client: OpenWhisk, name: Name, document: dict[str, Any], archive: Path, console: Console
) -> dict[str, Any]:
    """Put the described action with a zip's code; return its new document without the code."""
    code = base64.b64encode(archive.read_bytes()).decode()
    with console.step(f"upload {name}") as details:
        with console.progress(archive.name) as advance:
            client.put(name, {**document, "exec": {**document["exec"], "code": code}}, advance)
        after = client.action(name)  # some hosts answer PUT without it
        if after is None:
            raise BuildError(f"{client.host.url} took {name}, but does not have it")
        details.append(
            f"{after.get('namespace', name.namespace)}/{name.action}, "
            f"version {after.get('version', '?')}, {after['exec']['kind']}, "
            f"{after['limits']['memory']} MB, {megabytes(archive.stat().st_size)}"
        )
    return after


def put_back(
    client: OpenWhisk, name: Name, before: EarlierAction, failed: dict[str, Any], console: Console
) -> None:
    """Undo an upload whose check failed: put the earlier action, or delete a new one."""
    if before.document is None:
        client.delete(name)
        console.warn(f"{name} failed its check and was deleted (see --keep-broken)")
        return
    new = _values(failed["annotations"]).keys() - _values(before.document["annotations"]).keys()
    parts = before.document["exec"]
    document = {
        "exec": {key: parts[key] for key in ("kind", "code", "main", "binary") if key in parts},
        "annotations": _pairs(before.annotations),
        "delAnnotations": sorted(new),
        "limits": before.document["limits"],
        "parameters": before.parameters,
    }
    client.put(name, document, lambda done, total: None)
    version = before.document.get("version", "?")
    console.warn(f"{name} failed its check: version {version} was put back (see --keep-broken)")


def _values(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in pairs}


def _pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]
