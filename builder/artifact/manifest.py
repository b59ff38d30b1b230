"""The manifest: which file of the zip is of which component, with its sha256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from builder.base.archive import Entry
from builder.packages import Component

MANIFEST = "manifest.json"
SCHEMA = 2
_TEXTS = ("name", "version", "source", "sha256", "licence")


@dataclass(frozen=True)
class ListedComponent:
    """A component as the manifest lists it: as a `Component`, and the sha256 of each file."""

    name: str
    version: str
    python: str
    source: str
    sha256: str
    licence: str
    compiled: bool
    files: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json.

    Attributes:
        pythons: Python versions that the zip is for.
        bytecode: whether its modules are byte-compiled.
        execution_env: OW_EXECUTION_ENV of the image that a precompiled zip is for; else empty.
        memory: memory limit that the action needs, in MB.
        components: all files by component.
    """

    pythons: tuple[str, ...]
    bytecode: bool
    execution_env: str
    memory: int
    components: tuple[ListedComponent, ...]

    @property
    def files(self) -> dict[str, str]:
        """Path -> sha256, of all components."""
        return {path: sha256 for each in self.components for path, sha256 in each.files.items()}

    def to_json(self) -> bytes:
        """Return the manifest as the file that ships."""
        components = [asdict(component) for component in self.components]
        for component in components:
            if not component["python"]:
                del component["python"]
        values = {
            "schema": SCHEMA,
            "python": list(self.pythons),
            "bytecode": self.bytecode,
            "executionEnv": self.execution_env,
            "memory": self.memory,
            "parts": components,
        }
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """Read a manifest file; raise ValueError if `to_json` did not write it."""
        try:
            values = json.loads(content)
            manifest = cls(
                pythons=tuple(str(python) for python in values["python"]),
                bytecode=bool(values["bytecode"]),
                execution_env=str(values["executionEnv"]),
                memory=int(values["memory"]),
                components=tuple(_read_component(each) for each in values["parts"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a manifest of schema {SCHEMA}: {error!r}") from error
        # Other types, keys or repeated keys, on which readers differ, are not written this way.
        if manifest.to_json() != content:
            raise ValueError(f"not a manifest of schema {SCHEMA}")
        return manifest


def list_components(
    components: Sequence[Component], entries: Sequence[Entry]
) -> tuple[ListedComponent, ...]:
    """Return the components with their files for a manifest."""
    ordered = sorted(entries, key=lambda entry: entry.path)
    return tuple(
        ListedComponent(
            **{name: getattr(component, name) for name in (*_TEXTS, "python", "compiled")},
            files={
                entry.path: hashlib.sha256(entry.content).hexdigest()
                for entry in ordered
                if (entry.component, entry.python) == (component.name, component.python)
            },
        )
        for component in components
    )


def _read_component(values: dict[str, Any]) -> ListedComponent:
    return ListedComponent(
        **{name: str(values[name]) for name in _TEXTS},
        python=str(values.get("python", "")),
        compiled=bool(values["compiled"]),
        files={str(path): str(sha256) for path, sha256 in values["files"].items()},
    )
