"""Compiled packages from a file that another machine exported, or from a release.

The file has the same bytes wherever it was exported, and the key of its recipe, which has to be
this checkout's. A download needs a known sha256: from `prebuilt.toml` for a release's file, or at
the end of the address as `#sha256=HEX`.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urldefrag

from builder.base.archive import Entry, compress, read_zip, write_zip
from builder.base.console import Console
from builder.base.download import download_file
from builder.base.errors import BuildError
from builder.base.files import atomic_write, sha256_of
from builder.base.paths import DOWNLOADS
from builder.base.toml import read_toml
from builder.native import OPS
from builder.packages import Runtime, RuntimeOptions, compiled

SCHEMA = 1
# The file's entry with schema, Python, operators and the recipe's key.
FACTS = "runtime.json"


@cache
def published() -> dict[str, Any]:
    """Return the compiled packages that a release has published, per Python: `prebuilt.toml`."""
    return read_toml(Path(__file__).with_name("prebuilt.toml"))


def export(python: str, options: RuntimeOptions, destination: Path) -> str:
    """Write compiled packages to a file; return its sha256; raise BuildError if there are none."""
    if not compiled.is_cached(python, options):
        raise BuildError(
            f"runtime export: expected compiled packages for Python {python} with "
            f"--ops {options.ops}, found none of this recipe",
            f"compile them first: --python {python} --runtime container, or --runtime local",
        )
    facts = {"schema": SCHEMA, "python": python, "ops": options.ops, "key": compiled.recipe_key()}
    contents = {FACTS: (json.dumps(facts, indent=1) + "\n").encode()}
    contents |= compiled.read_files(python, options)
    entries = [
        Entry(path, content, "", outside=True, compressed=compress(content))
        for path, content in contents.items()
    ]
    with atomic_write(destination) as part:
        write_zip(entries, part)
    return sha256_of(destination)


def provide(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Return the compiled packages that a release has published, downloading them if needed.

    Raises:
        BuildError: there are none, they are another recipe's, or not what was pinned.
    """
    pin = published().get(python, {}) if options.ops == "classifier" else {}
    if not pin:
        raise BuildError(
            f"--runtime prebuilt: no release has compiled packages for Python {python} "
            f"with --ops {options.ops} yet",
            f"import a file first (runtime import FILE), {compiled.RETRY}",
        )
    if pin["key"] != compiled.recipe_key():
        raise BuildError(
            f"--runtime prebuilt: the release's packages are of recipe {pin['key']}, this "
            f"checkout's is {compiled.recipe_key()}",
            f"check out the release's tag, {compiled.RETRY}",
        )
    if not compiled.is_cached(python, options):
        import_packages(f"{pin['url']}#sha256={pin['sha256']}", console)
    return compiled.load(python, options)


def import_packages(source: str, console: Console) -> Runtime:
    """Store the compiled packages of an exported file in the cache, where builds find them.

    Args:
        source: the file, or its address with `#sha256=HEX` at the end.
        console: shows the progress.

    Raises:
        BuildError: it cannot be downloaded, is another recipe's, or no exported file.
    """
    archive, origin = _locate(source, console)
    facts, contents = _read_export(archive)
    for name, expected in (("schema", SCHEMA), ("key", compiled.recipe_key())):
        if facts[name] != expected:
            raise BuildError(
                f"{archive.name}: expected {name} {expected!r}, found {facts[name]!r}",
                f"take the file of this checkout's own release, {compiled.RETRY}",
            )
    options = RuntimeOptions(facts["ops"])
    compiled.store(facts["python"], options, contents, origin, console)
    return compiled.load(facts["python"], options)


def _locate(source: str, console: Console) -> tuple[Path, str]:
    """Return the exported file, downloaded if needed, and a line about its origin."""
    if "://" not in source:
        path = Path(source)
        if not path.is_file():
            raise BuildError(
                f"runtime import: expected a file or an address, found {source!r}",
                "a path is relative to the current folder",
            )
        sha256 = sha256_of(path)
        console.note(f"{path.name}: sha256 {sha256}; a local file has no pin to compare it with")
        return path, f"prebuilt, from {path.name} (sha256 {sha256})"
    url, fragment = urldefrag(source)
    pin = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
    if pin is None:
        raise BuildError(
            "runtime import: expected an address that ends in #sha256=HEX (64 digits), found none",
            "the release's SHA256SUMS has it; nothing is downloaded that is not pinned",
        )
    sha256 = pin[1]
    target = DOWNLOADS / f"{sha256[:12]}-{PurePosixPath(url).name or 'runtime.zip'}"
    return download_file(url, sha256, target, console), f"prebuilt, from {url} (sha256 {sha256})"


def _read_export(archive: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the facts and the files of an exported file; raise if it is damaged or another."""
    try:
        contents = read_zip(archive).files
        facts = json.loads(contents.pop(FACTS))
        known = {name: facts[name] for name in ("schema", "python", "ops", "key")}
        if not re.fullmatch(r"3\.\d+", known["python"]) or known["ops"] not in OPS:
            raise ValueError(f"Python {known['python']!r}, operators {known['ops']!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise BuildError(
            f"{archive.name}: expected a file that 'runtime export' wrote, found another, or a "
            f"truncated one ({error})"
        ) from error
    paths = [PurePosixPath(name) for name in contents]
    if any(path.is_absolute() or ".." in path.parts or "\\" in str(path) for path in paths):
        raise BuildError(f"{archive.name}: an entry would be unpacked outside its folder")
    return known, contents
