"""Upload a zip as an action: choose its kind, create the action or update it."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.base.console import Console, megabytes
from builder.base.errors import BuildError
from builder.deploy.openwhisk import Name, OpenWhisk, PlatformInfo

TIMEOUT_MS = 60_000


@dataclass(frozen=True)
class Kind:
    """A kind of the platform, and the Python version behind it."""

    name: str
    python: str


@dataclass(frozen=True)
class WebAccess:
    """Who may invoke the action over the web; None: unchanged, and anybody if it is new.

    Attributes:
        export: "true", "raw" (the body is passed unparsed) or "no".
        secret: what clients must send as `X-Require-Whisk-Auth`.
    """

    export: str | None = None
    secret: str | None = None


def match_kind(info: PlatformInfo, pythons: Sequence[str], host: str) -> Kind:
    """Return the first of the host's kinds that runs one of these Python versions, in their order.

    Raises:
        BuildError: it has none; the message names those it has.
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


def upload_action(
    client: OpenWhisk,
    name: Name,
    kind: Kind,
    archive: Path,
    memory: int,
    web: WebAccess,
    console: Console,
) -> tuple[dict[str, Any], bool]:
    """Create the action, or update it; return its document without the code, and if it is new.

    The settings of an older action that are not given stay. So does a higher limit than `memory`,
    which is in MB.

    Raises:
        BuildError: the name is taken by another function's action.
        PlatformError: the platform refused.
    """
    with console.step(f"upload {name}") as details:
        before = client.action(name)
        document = _document(before, name, kind, archive.read_bytes(), memory, web)
        with console.progress(archive.name) as advance:
            after = client.put(name, document, advance)
        after.setdefault("limits", document["limits"])
        after.setdefault("annotations", document["annotations"])
        details.append(
            f"{'updated' if before else 'created'} {after.get('namespace', name.namespace)}/"
            f"{name.action}, version {after.get('version', '?')}, {kind.name}, "
            f"{after['limits']['memory']} MB, {megabytes(archive.stat().st_size)}"
        )
    return after, before is None


def _document(
    before: dict[str, Any] | None,
    name: Name,
    kind: Kind,
    content: bytes,
    memory: int,
    web: WebAccess,
) -> dict[str, Any]:
    """Return the document to put; the platform replaces all annotations at once."""
    annotations: dict[str, Any] = {}
    if before:
        exists = before.get("exec", {}).get("kind", "")
        if not exists.startswith("python:"):
            raise BuildError(
                f"{name} is an action of kind {exists or 'unknown'}, not one of this function's",
                "choose another name with --name, or delete it first: undeploy NAME",
            )
        annotations = {each["key"]: each["value"] for each in before.get("annotations", [])}
        memory = max(memory, before.get("limits", {}).get("memory", 0))
    for computed in ("exec", "binary"):  # the platform makes these from the code
        annotations.pop(computed, None)
    export = web.export or (None if "web-export" in annotations else "true")
    if export:
        # As 'wsk --web' sets them; "final" keeps clients from changing bound parameters.
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
