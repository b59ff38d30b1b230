"""Where everything in the zip is from: the manifest, the licences, the parts that are our own."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from builder.artifact import action_files
from builder.base.archive import Entry
from builder.base.paths import ROOT
from builder.packages import Component

SCHEMA = 2
MANIFEST = "manifest.json"
LICENCES = "LICENSES.txt"
SBOM = "sbom.cdx.json"


def own_part() -> Component:
    """The function itself."""
    licence = (ROOT / "LICENSE").read_text("utf-8")
    version = action_files.read_constant("__init__.py", "__version__")
    return Component("action", version, "this project", "", "Apache-2.0", (("action", licence),))


def licences(parts: Sequence[Component]) -> str:
    """All licence texts, each once, under the titles that it applies to."""
    titles: dict[str, list[str]] = {}
    for part in parts:
        for title, text in [text for each in (part, *part.linked) for text in each.licence_texts]:
            of = titles.setdefault(text.strip(), [])
            of += [title] if title not in of else []
    summary = dict.fromkeys(
        f"{each.name} {each.version}".strip() + f": {each.licence}\n"
        for part in parts
        for each in (part, *part.linked)
    )
    rule = "=" * 79
    texts = (f"\n{rule}\n{', '.join(names)}\n{rule}\n\n{text}\n" for text, names in titles.items())
    return "".join(summary) + "".join(texts)


def manifest(
    pythons: Sequence[str],
    bytecode: bool,
    parts: Sequence[Component],
    entries: Sequence[Entry],
    execution_env: str,
) -> bytes:
    """What is in the zip, for the audit: each file's part and sha256.

    Args:
        pythons: versions that the zip is for.
        bytecode: whether the modules are byte-compiled.
        parts: of the zip.
        entries: its files.
        execution_env: OW_EXECUTION_ENV of the image that a precompiled zip is for, or empty.
    """
    described: dict[str, Any] = {
        "schema": SCHEMA,
        "python": list(pythons),
        "bytecode": bytecode,
        "executionEnv": execution_env,
        "parts": [
            {
                "name": part.name,
                "version": part.version,
                **({"python": part.python} if part.python else {}),
                "source": part.source,
                "sha256": part.sha256,
                "licence": part.licence,
                "compiled": part.compiled,
                "files": {
                    entry.path: hashlib.sha256(entry.content).hexdigest()
                    for entry in sorted(entries, key=lambda entry: entry.path)
                    if (entry.component, entry.python) == (part.name, part.python)
                },
            }
            for part in parts
        ],
    }
    return _packed(described)


def with_memory(entries: Sequence[Entry], megabytes: int) -> list[Entry]:
    """The same entries with the memory that the action needs, in MB, in their manifest."""
    changed = []
    for entry in entries:
        if entry.path == MANIFEST:
            described = {**json.loads(entry.content), "memory": megabytes}
            entry = replace(entry, content=_packed(described))
        changed.append(entry)
    return changed


def _packed(described: dict[str, Any]) -> bytes:
    # The parts last, which are long.
    ordered = sorted(described.items(), key=lambda item: item[0] == "parts")
    return json.dumps(dict(ordered), separators=(",", ":")).encode()
