"""Write zips like ours with something else in them."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from builder.artifact.action_files import BOOT_FILES
from builder.artifact.manifest import MANIFEST, Manifest
from builder.base.archive import Entry, write_zip

Files = dict[str, bytes]
_OUTSIDE = {f"action/{name}" for name in BOOT_FILES}
_INSIDE = ("LICENSES.txt", "sbom.cdx.json", MANIFEST)


def with_manifest(files: Files, compiled: bool = False) -> Files:
    """Return files with a manifest that lists all of them, as parts of the function."""
    manifest = Manifest.from_json(files[MANIFEST])
    rest = {name: content for name, content in files.items() if name != MANIFEST}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in rest.items()}
    function, *others = (dataclasses.replace(each, files={}) for each in manifest.components)
    components = (dataclasses.replace(function, files=hashes, compiled=compiled), *others)
    return {**rest, MANIFEST: dataclasses.replace(manifest, components=components).to_json()}


def write(files: Files, path: Path, mode: int = 0o100644) -> Path:
    """Write a zip whose files are in `packed.zip` where a build has them there; `exec` can run."""
    entries = [
        Entry(
            name,
            content,
            "",
            mode=0o100755 if name == "exec" else mode,
            outside=not _is_inside(name),
        )
        for name, content in files.items()
    ]
    write_zip(entries, path)
    return path


def _is_inside(name: str) -> bool:
    own = name.startswith("action/") and name not in _OUTSIDE and "__pycache__" not in name
    return own or name.startswith(("lib/", "model/")) or name in _INSIDE
