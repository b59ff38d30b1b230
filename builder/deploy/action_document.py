"""Write the document that describes an action: its kind, annotations, limits and parameters."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_SECRET = "require-whisk-auth"
# Annotations that the platform derives from the code.
_DERIVED = ("exec", "binary")

Document = dict[str, Any]


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


def values_of(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the annotations or parameters of a document as key -> value."""
    return {each["key"]: each["value"] for each in pairs}


def _pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def describe_action(
    before: Document | None, kind: str, memory: int, timeout: int, settings: ActionSettings
) -> Document:
    """Return the document to put, without the code.

    The zip needs `memory` MB; a higher limit of the action `before` stays. A new one gets `timeout`
    ms.
    """
    limits = before["limits"] if before else {}
    annotations = values_of(before["annotations"]) if before else {}
    web = settings.web or (None if "web-export" in annotations else "true")
    if web:
        # As 'wsk --web' sets them; "final" keeps clients from changing bound parameters.
        annotations |= {"web-export": web != "no", "raw-http": web == "raw", "final": web != "no"}
    removed = [_SECRET] if settings.secret == "false" and annotations.pop(_SECRET, None) else []
    if settings.secret not in (None, "false"):
        drawn = secrets.randbelow(2**53)  # a number as 'wsk --web-secure true' draws
        annotations[_SECRET] = drawn if settings.secret == "true" else settings.secret
    document: Document = {
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
        bound = values_of(before["parameters"]) if before else {}
        document["parameters"] = _pairs({**bound, **settings.parameters})
    return document


def describe_earlier(document: Document, package: list[dict[str, Any]]) -> Document:
    """Return what can be put of an action's document, to have the same action again.

    The platform itself merges in the parameters of the package and makes some annotations.
    """
    code, parameters = document["exec"], document.get("parameters", [])
    return {
        "exec": {key: code[key] for key in ("kind", "code", "main", "binary") if key in code},
        "annotations": [each for each in document["annotations"] if each["key"] not in _DERIVED],
        "limits": document["limits"],
        "parameters": [each for each in parameters if each not in package],
    }


def describe_restored(
    earlier: Document, package: list[dict[str, Any]], failed: Document
) -> Document:
    """Return the document that puts the earlier action back; `failed` is that of its update."""
    added = values_of(failed["annotations"]).keys() - values_of(earlier["annotations"]).keys()
    return {**describe_earlier(earlier, package), "delAnnotations": sorted(added)}
