"""Audit a zip of ours: hold it against its manifest and against what the platform allows."""

import ast
import hashlib
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from builder.artifact import action_files, modules, platform
from builder.artifact.contents import MODEL_SETTINGS
from builder.artifact.libraries import check_libraries
from builder.artifact.licences import LICENCES
from builder.artifact.manifest import MANIFEST, Manifest
from builder.artifact.sbom import SBOM
from builder.base.archive import MODE, PACKED, ZipContents, read_zip
from builder.base.errors import BuildError, escape_controls
from builder.model.settings import ModelSettings

_UNCHECKED_HASH = 1


@dataclass(frozen=True)
class Check:
    """One check of an audit: what it saw, and what is wrong (nothing if it passed)."""

    title: str
    found: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ComponentSize:
    """What a component costs: files, bytes unpacked, bytes in the zip with the headers."""

    name: str
    version: str
    files: int
    unpacked: int
    packed: int


@dataclass
class Audit:
    """A zip and the outcome of its audit; without settings if the model's cannot be read."""

    path: str
    bytes: int
    sha256: str
    contents: ZipContents
    manifest: Manifest
    settings: ModelSettings | None
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, each with the title of its check."""
        return [f"{check.title}: {text}" for check in self.checks for text in check.problems]

    @property
    def components(self) -> list[ComponentSize]:
        """What each component costs; files that none lists count for the first, the function."""
        several = len(self.manifest.pythons) > 1
        versions: dict[str, str] = {}
        owner: dict[str, str] = {}
        for each in self.manifest.components:
            title = each.name + (f" (Python {each.python})" if several and each.python else "")
            title = escape_controls(title)
            versions[title] = escape_controls(each.version)
            owner |= dict.fromkeys(each.files, title)
        function = next(iter(versions), "action")
        files, unpacked, packed = Counter[str](), Counter[str](), Counter[str]()
        for info in self.contents.infos:
            title = owner.get(info.filename, function)
            files[title] += 1
            unpacked[title] += info.file_size
            # Local header 30 bytes, central header 46, the name in both (APPNOTE.TXT 4.3).
            packed[title] += info.compress_size + 76 + 2 * len(info.filename.encode())
        # What is left is the end of each zip, and the entry of the one in the other.
        packed[function] += self.bytes - packed.total()
        return [
            ComponentSize(title, version, files[title], unpacked[title], packed[title])
            for title, version in versions.items()
            if files[title]
        ]

    @property
    def card(self) -> dict[str, str]:
        """A line per question that was decided about the model."""
        card = self.settings.card if self.settings else {}
        lines = card.items() if isinstance(card, dict) else ()
        return {escape_controls(str(title)): escape_controls(str(text)) for title, text in lines}


def audit_zip(path: Path) -> Audit:
    """Check a zip: size, entries, manifest, entry point, code, libraries, model.

    Raises:
        BuildError: the file cannot be read, or is not a complete zip of ours.
    """
    try:
        contents = read_zip(path)
        content = path.read_bytes()
        manifest = _read_manifest(contents.files)
    except OSError as error:
        raise BuildError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BuildError(
            f"{path.name} is not a complete zip of build_zip.py: {escape_controls(str(error))}",
            "build it again: python3 build_zip.py",
        ) from error
    sha256, settings = hashlib.sha256(content).hexdigest(), _read_settings(contents.files)
    audit = Audit(str(path), len(content), sha256, contents, manifest, settings)
    for check in (
        _check_size,
        _check_entries,
        _check_manifest,
        _check_entry_point,
        _check_code,
        _check_libraries,
        _check_model,
    ):
        audit.checks.append(check(audit))
    return audit


def _read_manifest(files: dict[str, bytes]) -> Manifest:
    """Return the zip's manifest; raise ValueError if it is not one of ours."""
    manifest = Manifest.from_json(files.get(MANIFEST, b""))
    supported = platform.pythons()
    if not manifest.pythons or not set(manifest.pythons) <= set(supported):
        found = ", ".join(manifest.pythons) or "none"
        raise ValueError(f"expected Python {', '.join(supported)}, found {found}")
    return manifest


def _read_settings(files: dict[str, bytes]) -> ModelSettings | None:
    try:
        return ModelSettings.from_json(files[MODEL_SETTINGS])
    except (KeyError, ValueError, RecursionError):
        return None


def _check(title: str, found: str, problems: Iterable[str]) -> Check:
    return Check(
        title, escape_controls(found), tuple(escape_controls(problem) for problem in problems)
    )


def _check_size(audit: Audit) -> Check:
    limit, size = platform.zip_limit(), audit.bytes
    problem = f"expected at most {limit} bytes (48 MiB as base64), found {size}"
    return _check("size", f"{size} of {limit} bytes", [problem] if size > limit else [])


def _check_entries(audit: Audit) -> Check:
    """Check that every file is one of this function's, in its place, and that none lacks."""
    contents, precompiled = audit.contents, bool(audit.manifest.execution_env)
    root = {"main__.py", "exec", "exec.env"} if precompiled else {"__main__.py"}
    outside = {*root, *(f"action/{name}" for name in action_files.BOOT_FILES)}
    own = {f"action/{path.name}" for path in action_files.list_files(precompiled)}
    needed = {*root, *(outside & own), LICENCES, SBOM}
    allowed = {*needed, *own, MANIFEST, MODEL_SETTINGS}
    if audit.settings:
        allowed.add(f"model/{audit.settings.file}")
    problems = [f"expected {name}, found none" for name in sorted(needed - contents.files.keys())]
    if not contents.canonical:
        problems.append("expected only what build_zip.py writes, found other bytes")
    for info in contents.infos:
        name, mode = info.filename, info.external_attr >> 16
        cached = re.fullmatch(r"action/__pycache__/(\w+)\.cpython-\d+\.pyc", name)
        source = f"action/{cached[1]}.py" if cached else name
        if source not in allowed and not name.startswith("lib/"):
            problems.append(f"{name}: no file of this function")
        if name in outside and name not in contents.outside:
            problems.append(f"{name}: expected in the zip itself, found in {PACKED}")
        expected = stat.S_IFREG | (0o755 if name == "exec" else MODE)
        if mode != expected:
            problems.append(f"{name}: expected mode {expected:o}, found {mode:o}")
    found = f"{len(contents.outside)} files, {len(contents.infos)} with those in {PACKED}"
    return _check("entries", found, problems)


def _check_manifest(audit: Audit) -> Check:
    files, manifest, listed = audit.contents.files, audit.manifest, audit.manifest.files
    problems = [f"{each.name}: no licence" for each in manifest.components if not each.licence]
    for name, sha256 in listed.items():
        if name not in files:
            problems.append(f"{name}: in the manifest, not in the zip")
        elif hashlib.sha256(files[name]).hexdigest() != sha256:
            problems.append(f"{name}: not the file that the manifest lists")
    extra = files.keys() - listed.keys() - {MANIFEST}
    problems += [f"{name}: not in the manifest" for name in sorted(extra)]
    found = f"{len(manifest.components)} components, {len(listed)} files, Python "
    return _check("manifest", found + ", ".join(manifest.pythons), problems)


def _check_entry_point(audit: Audit) -> Check:
    """Check the files that the runtime reads or starts."""
    files, execution_env = audit.contents.files, audit.manifest.execution_env
    main, found, problems = "__main__.py", "main(params)", []
    if execution_env:
        main, found = "main__.py", f"main(params), precompiled for {execution_env}"
        if not files.get("exec", b"").startswith(b"#!"):
            problems.append("exec: expected a script that begins with #!")
        if (env := files.get("exec.env", b"").decode(errors="replace")) != execution_env:
            problems.append(f"exec.env: expected the image's OW_EXECUTION_ENV, found {env!r}")
    try:
        body = ast.parse(files.get(main, b"")).body
        if "main" not in [each.name for each in body if isinstance(each, ast.FunctionDef)]:
            problems.append(f"{main} defines no main(params)")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problems.append(f"{main} does not parse: {error}")
    return _check("entry point", f"{main}: {found}", problems)


def _check_code(audit: Audit) -> Check:
    """Check that code is of the zip's Python versions, and that an index names all of it."""
    magics = {python: platform.kind_of(python)["magic"] for python in audit.manifest.pythons}
    problems: list[str] = []
    indexed: set[str] = set()
    count = 0
    for python, magic in magics.items():
        try:
            index = modules.read_index(audit.contents.files, python)
        except ValueError as error:
            problems.append(str(error))
            continue
        count += len(index.names)
        folder = modules.library_folder(python)
        indexed |= {folder + modules.INDEX, *index.list_files(folder)}
        found = int.from_bytes(bytes.fromhex(index.magic)[:2], "little")
        if found not in (0, magic):
            problems.append(f"{folder}: not the code of Python {python} (magic {found})")
    for name, content in audit.contents.files.items():
        if name.startswith("lib/") and name not in indexed:
            problems.append(f"{name}: no index names it")
        if name.endswith(".pyc"):
            problems += _check_code_file(name, content, magics)
    how = "byte-compiled" if audit.manifest.bytecode else "as sources"
    return _check("code files", f"{count} modules in {PACKED}, {how}", problems)


def _check_code_file(name: str, content: bytes, magics: dict[str, int]) -> Iterator[str]:
    """Check the header of a byte-compiled file (PEP 552)."""
    magic, flags = int.from_bytes(content[:2], "little"), int.from_bytes(content[4:8], "little")
    tags = {f"cpython-{python.replace('.', '')}": python for python in magics}
    python = tags.get(name.split(".")[-2])
    if python is None:
        yield f"{name}: for none of the zip's Python versions ({', '.join(magics)})"
    elif magic != magics[python]:
        yield f"{name}: not the code of Python {python} (magic {magic})"
    elif flags != _UNCHECKED_HASH:
        yield f"{name}: would be stale after unzipping: not an unchecked-hash code file"


def _check_libraries(audit: Audit) -> Check:
    components = audit.manifest.components
    compiled = {name for each in components if each.compiled for name in each.files}
    files = audit.contents.files
    problems, newest = check_libraries(files, audit.manifest.pythons, compiled)
    count = sum(modules.is_library(name) for name in files)
    needs = ", ".join(f"{family} {newest[family]}" for family in sorted(newest)) or "none"
    summary = f"{count} libraries; newest symbols needed: {needs}"
    return _check("libraries", summary, problems)


def _check_model(audit: Audit) -> Check:
    settings = audit.settings
    if settings is None or f"model/{settings.file}" not in audit.contents.files:
        return _check("model", "", [f"expected {MODEL_SETTINGS} and the model it names"])
    problems = []
    if audit.contents.files[f"model/{settings.file}"][4:8] != b"TFL3":
        problems.append(f"model/{settings.file} is not a TFLite model")
    return _check("model", f"{settings.name}, {len(settings.labels)} classes", problems)
