"""Compiled packages that somebody else compiled: a file of a release, in place of a compiler.

`export` makes such a file of a finished runtime, byte for byte the same wherever it was compiled;
`provide` takes one, from the address that `prebuilt.toml` pins for a Python version, or from where
`--runtime-from` says. It has to be of this checkout's recipe: the key inside says so. What came
over a network has to have a known sha256, pinned or at the end of the address: `...#sha256=HEX`.
The zip is the same, byte for byte, as with packages that were compiled here.
"""

from __future__ import annotations

import json
import zipfile
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urldefrag

from builder.base.archive import Entry, write_zip
from builder.base.console import Console
from builder.base.download import download_file
from builder.base.errors import BuildError
from builder.base.files import atomic_write, sha256_of
from builder.base.paths import DOWNLOADS
from builder.base.toml import read_toml
from builder.packages import Runtime, RuntimeOptions, compiled

SCHEMA = 1
FACTS = "runtime.json"
"""In the file: schema, Python, operators and the recipe's key."""

_HOW = "or compile the same (--runtime container, --runtime local), or take --runtime wheels"


@cache
def published() -> dict[str, Any]:
    """Return the compiled packages that a release has published, per Python: `prebuilt.toml`."""
    return read_toml(Path(__file__).with_name("prebuilt.toml"))


def export(python: str, options: RuntimeOptions, target: Path, console: Console) -> str:
    """Write the compiled runtime of a Python version to one file.

    Args:
        python: the version.
        options: which operators.
        target: the file.
        console: shows the progress.

    Returns:
        The file's sha256.

    Raises:
        BuildError: it was not compiled yet, or the file cannot be written.
    """
    if not compiled.is_cached(python, options):
        raise BuildError(
            f"--export-runtime: expected compiled packages for Python {python} with "
            f"--ops {options.ops}, found none of this recipe",
            f"compile them first: build_zip.py --python {python} --runtime container (or local)",
        )
    folder = compiled.cache_folder(python, options)
    facts = {"schema": SCHEMA, "python": python, "ops": options.ops, "key": compiled.recipe_key()}
    entries = [Entry(FACTS, (json.dumps(facts, indent=1) + "\n").encode(), "", outside=True)]
    entries += [
        Entry(path.relative_to(folder).as_posix(), path.read_bytes(), "", outside=True)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != compiled.ORIGIN
    ]
    with atomic_write(target) as part, console.progress(target.name) as advance:
        write_zip(entries, lambda entry: True, part, advance)
    return sha256_of(target)


def provide(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """A runtime from a file of a release.

    Raises:
        BuildError: there is none, it is another recipe's, or not what was pinned.
    """
    pin = published().get(python, {}) if options.ops == "classifier" else {}
    source = options.prebuilt or (f"{pin['url']}#sha256={pin['sha256']}" if pin else "")
    if not source:
        raise BuildError(
            f"--runtime prebuilt: no release has compiled packages for Python {python} "
            f"with --ops {options.ops} yet",
            f"take a file that --export-runtime made (--runtime-from FILE), {_HOW}",
        )
    if not options.prebuilt and pin["key"] != compiled.recipe_key():
        raise BuildError(
            f"--runtime prebuilt: the release's packages are of recipe {pin['key']}, this "
            f"checkout's is {compiled.recipe_key()}",
            f"check out the release's tag, {_HOW}",
        )
    if options.prebuilt or not compiled.is_cached(python, options):
        archive, origin = _have(source, console)
        compiled.store(python, options, _contents(archive, python, options), origin, console)
    return compiled.load(python, options)


def _have(source: str, console: Console) -> tuple[Path, str]:
    """The file that `source` names, and what to say of it."""
    if "://" not in source:
        path = Path(source)
        if not path.is_file():
            raise BuildError(
                f"--runtime-from: expected a file or an address, found {source!r}",
                "a path is taken from the current folder",
            )
        sha256 = sha256_of(path)
        console.note(f"{path.name}: sha256 {sha256}; no pin to hold it against, since it is a file")
        return path, f"prebuilt, from {path.name} (sha256 {sha256})"
    url, fragment = urldefrag(source)
    name, _, sha256 = fragment.partition("=")
    if name != "sha256" or len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise BuildError(
            "--runtime-from: expected an address that ends in #sha256=HEX (64 digits), found none",
            "the release's SHA256SUMS has it; nothing is downloaded that is not pinned",
        )
    target = DOWNLOADS / f"{sha256[:12]}-{PurePosixPath(url).name or 'runtime.zip'}"
    return download_file([url], sha256, target, console), f"prebuilt, from {url} (sha256 {sha256})"


def _contents(archive: Path, python: str, options: RuntimeOptions) -> dict[str, bytes]:
    """The runtime's files in a file of a release, if it is the one that is wanted."""
    what = f"--runtime-from: {archive.name}"
    try:
        with zipfile.ZipFile(archive) as packed:
            contents = {info.filename: packed.read(info) for info in packed.infolist()}
        facts: Any = json.loads(contents.pop(FACTS))
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, NotImplementedError) as error:
        raise BuildError(
            f"{what}: expected a file that --export-runtime made, found something else ({error})"
        ) from error
    expected = {"schema": SCHEMA, "python": python, "ops": options.ops}
    expected["key"] = compiled.recipe_key()
    if facts != expected:
        found = facts if isinstance(facts, dict) else {}
        wrong = [f"{k} {found.get(k)!r}" for k, v in expected.items() if found.get(k) != v]
        wanted = [f"{k} {v!r}" for k, v in expected.items() if found.get(k) != v]
        raise BuildError(
            f"{what}: expected {', '.join(wanted) or expected}, found {', '.join(wrong) or facts}",
            f"take the file of this checkout's own release and of this Python, {_HOW}",
        )
    for name in contents:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            raise BuildError(f"{what}: its entry {name!r} would be unpacked outside its folder")
    if "recipe.json" not in contents:
        raise BuildError(f"{what}: expected recipe.json in it, found none: it is not complete")
    return contents
