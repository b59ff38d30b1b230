"""Write zips like ours with something else in them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from builder.artifact import modules
from builder.artifact.action_files import BOOT_FILES
from builder.artifact.manifest import MANIFEST, Manifest
from builder.base.archive import Entry, write_zip

Files = dict[str, bytes]
_OUTSIDE = {f"action/{name}" for name in BOOT_FILES}
_INSIDE = ("LICENSES.txt", "sbom.cdx.json", MANIFEST)


def without_libraries(files: Files) -> Files:
    """Return a zip's files without its shared libraries, which makes it quick to write."""
    kept = {name: content for name, content in files.items() if not modules.is_library(name)}
    for name in [name for name in kept if name.endswith(modules.INDEX)]:
        index = json.loads(kept[name])
        index["libraries"] = {}
        index["ahead"] = [path for path in index["ahead"] if path in kept]
        kept[name] = json.dumps(index).encode()
    return with_manifest(kept)


def with_manifest(files: Files, compiled: bool = False) -> Files:
    """Return files with a manifest that lists all of them, as parts of the function."""
    manifest = Manifest.from_json(files[MANIFEST])
    rest = {name: content for name, content in files.items() if name != MANIFEST}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in rest.items()}
    function, *others = (dataclasses.replace(each, files={}) for each in manifest.components)
    components = (dataclasses.replace(function, files=hashes, compiled=compiled), *others)
    return {**rest, MANIFEST: dataclasses.replace(manifest, components=components).to_json()}


def write(
    files: Files,
    path: Path,
    mode: int = 0o100644,
    executable: int = 0,
    places: Mapping[str, str] | None = None,
) -> Path:
    """Write a zip with most of its files in `packed.zip`.

    Args:
        files: path -> content.
        path: the zip.
        mode: of all files.
        executable: another mode for `exec`.
        places: name -> "inside" or "outside" of `packed.zip`, where that is not the usual place.
    """
    entries = []
    for name, content in files.items():
        usual = "inside" if _is_inside(name) else "outside"
        outside = (places or {}).get(name, usual) == "outside"
        own = executable if name == "exec" and executable else mode
        entries.append(Entry(name, content, "", mode=own, outside=outside))
    write_zip(entries, path)
    return path


def _is_inside(name: str) -> bool:
    own = name.startswith("action/") and name not in _OUTSIDE and "__pycache__" not in name
    return own or name.startswith(("lib/", "model/")) or name in _INSIDE
