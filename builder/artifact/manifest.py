"""The manifest: which file of the zip is of which component, with its sha256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from builder.base.archive import Entry
from builder.packages import Component

MANIFEST = "manifest.json"
SCHEMA = 2

_TYPES = {
    "schema": int,
    "python": list,
    "bytecode": bool,
    "executionEnv": str,
    "memory": int,
    "parts": list,
}
_COMPONENT_TYPES = {
    "name": str,
    "version": str,
    "source": str,
    "sha256": str,
    "licence": str,
    "compiled": bool,
    "files": dict,
}


@dataclass(frozen=True)
class ListedComponent:
    """A component as the manifest lists it.

    Attributes:
        name: unique in the zip together with `python`.
        version: empty if it has none.
        python: the Python version that it is for; empty for all versions.
        source: the file or address that it was made from.
        sha256: of that source; empty if there is none.
        licence: its licence as an SPDX expression.
        compiled: whether this project compiled it.
        files: path -> sha256.
    """

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
        """Read a manifest file.

        Raises:
            ValueError: it is not of this schema.
        """
        try:
            values = json.loads(content, object_pairs_hook=_reject_duplicate_keys)
            _check_types(values, _TYPES)
            if values["schema"] != SCHEMA or any(
                type(each) is not str for each in values["python"]
            ):
                raise ValueError("another schema")
            components = tuple(_read_component(component) for component in values["parts"])
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"not a manifest of schema {SCHEMA}: {error}") from error
        return cls(
            pythons=tuple(values["python"]),
            bytecode=values["bytecode"],
            execution_env=values["executionEnv"],
            memory=values["memory"],
            components=components,
        )

    @property
    def files(self) -> dict[str, str]:
        """Path -> sha256, of all components."""
        return {path: sha256 for each in self.components for path, sha256 in each.files.items()}


def list_components(
    components: Sequence[Component], entries: Sequence[Entry]
) -> tuple[ListedComponent, ...]:
    """Return the components with their files for a manifest."""
    ordered = sorted(entries, key=lambda entry: entry.path)
    return tuple(
        ListedComponent(
            name=component.name,
            version=component.version,
            python=component.python,
            source=component.source,
            sha256=component.sha256,
            licence=component.licence,
            compiled=component.compiled,
            files={
                entry.path: hashlib.sha256(entry.content).hexdigest()
                for entry in ordered
                if (entry.component, entry.python) == (component.name, component.python)
            },
        )
        for component in components
    )


def _read_component(values: dict[str, Any]) -> ListedComponent:
    python = values.pop("python", "") if isinstance(values, dict) else ""
    _check_types({"python": python}, {"python": str})
    _check_types(values, _COMPONENT_TYPES)
    _check_types(values["files"], dict.fromkeys(values["files"], str))
    return ListedComponent(python=python, **values)


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; raises ValueError for a repeated key, on which readers differ."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is there twice")
    return values


def _check_types(values: Any, types: Mapping[str, type]) -> None:
    """Raise TypeError unless an object has exactly these keys, with values of these types."""
    if type(values) is not dict or values.keys() != types.keys():
        raise TypeError(f"expected an object with {', '.join(types)}")
    for key, value in values.items():
        if type(value) is not types[key]:
            raise TypeError(f"expected {key} as {types[key].__name__}")
