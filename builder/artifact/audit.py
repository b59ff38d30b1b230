"""Audit a zip of ours: hold it against its manifest and against what the platform allows."""

import ast
import hashlib
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.artifact import action_files, modules, platform
from builder.artifact.contents import BOOT_FILES, MODEL_SETTINGS
from builder.artifact.libraries import check_libraries
from builder.artifact.licences import LICENCES
from builder.artifact.manifest import MANIFEST, Manifest
from builder.artifact.sbom import SBOM
from builder.base.archive import MODE, PACKED, ZipContents, read_zip
from builder.base.errors import BuildError, escape_controls
from builder.model.settings import ModelSettings

_PORTABLE_FILES = {"__main__.py"}
_PRECOMPILED_FILES = {"main__.py", "exec", "exec.env"}
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
    """The outcome of an audit; `card` has a line per question that was decided about the model."""

    path: str
    bytes: int
    sha256: str
    manifest: Manifest
    card: dict[str, str]
    checks: list[Check]
    components: list[ComponentSize]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, each with the title of its check."""
        return [f"{check.title}: {text}" for check in self.checks for text in check.problems]


@dataclass(frozen=True)
class _Subject:
    """The zip under audit; without settings if the model's cannot be read."""

    size: int
    contents: ZipContents
    files: dict[str, bytes]
    manifest: Manifest
    settings: ModelSettings | None


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
    settings = _read_settings(contents.files)
    subject = _Subject(len(content), contents, contents.files, manifest, settings)
    checks = (
        _check_size,
        _check_entries,
        _check_manifest,
        _check_entry_point,
        _check_code,
        _check_libraries,
        _check_model,
    )
    card = settings.card if settings and isinstance(settings.card, dict) else {}
    return Audit(
        path=str(path),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        manifest=manifest,
        card={
            escape_controls(str(title)): escape_controls(str(text)) for title, text in card.items()
        },
        checks=[check(subject) for check in checks],
        components=_measure_components(subject),
    )


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


def _check_size(subject: _Subject) -> Check:
    limit = platform.zip_limit()
    problems = []
    if subject.size > limit:
        problems.append(f"expected at most {limit} bytes (48 MiB as base64), found {subject.size}")
    return _check("size", f"{subject.size} of {limit} bytes", problems)


def _check_entries(subject: _Subject) -> Check:
    """Check that every file is one of this function's, in its place, and that there is no more."""
    problems = []
    if not subject.contents.canonical:
        problems.append("expected only what build_zip.py writes, found other bytes")
    precompiled = bool(subject.manifest.execution_env)
    root = _PRECOMPILED_FILES if precompiled else _PORTABLE_FILES
    own = {f"action/{path.name}" for path in action_files.list_files(precompiled)}
    allowed = {*root, *own, MANIFEST, LICENCES, SBOM, MODEL_SETTINGS}
    if subject.settings:
        allowed.add(f"model/{subject.settings.file}")
    outside = {*root, *(f"action/{name}" for name in BOOT_FILES)}
    for info in subject.contents.infos:
        name, mode = info.filename, info.external_attr >> 16
        cached = re.fullmatch(r"action/__pycache__/(\w+)\.cpython-\d+\.pyc", name)
        source = f"action/{cached[1]}.py" if cached else name
        if source not in allowed and not name.startswith("lib/"):
            problems.append(f"{name}: no file of this function")
        if name in outside and name not in subject.contents.outside:
            problems.append(f"{name}: expected in the zip itself, found in {PACKED}")
        expected = stat.S_IFREG | (0o755 if name == "exec" else MODE)
        if mode != expected:
            problems.append(f"{name}: expected mode {expected:o}, found {mode:o}")
    files = len(subject.contents.outside), len(subject.contents.infos)
    found = f"{files[0]} files, {files[1]} with those in {PACKED}"
    return _check("entries", found, problems)


def _check_manifest(subject: _Subject) -> Check:
    files, manifest, listed = subject.files, subject.manifest, subject.manifest.files
    problems = [f"{each.name}: no licence" for each in manifest.components if not each.licence]
    for name, sha256 in listed.items():
        if name not in files:
            problems.append(f"{name}: in the manifest, not in the zip")
        elif hashlib.sha256(files[name]).hexdigest() != sha256:
            problems.append(f"{name}: not the file that the manifest lists")
    extra = files.keys() - listed.keys() - {MANIFEST}
    problems += [f"{name}: not in the manifest" for name in sorted(extra)]
    problems += [f"no {name}" for name in (LICENCES, SBOM) if name not in files]
    found = f"{len(manifest.components)} components, {len(listed)} files, Python "
    return _check("manifest", found + ", ".join(manifest.pythons), problems)


def _check_entry_point(subject: _Subject) -> Check:
    """Check the files that the runtime reads or starts."""
    files, execution_env = subject.files, subject.manifest.execution_env
    main, found, problems = "__main__.py", "main(params)", []
    if execution_env:
        main, found = "main__.py", f"main(params), precompiled for {execution_env}"
        if not files.get("exec", b"").startswith(b"#!"):
            problems.append("exec: expected a script that begins with #!")
        if (env := files.get("exec.env", b"").decode(errors="replace")) != execution_env:
            problems.append(f"exec.env: expected the image's OW_EXECUTION_ENV, found {env!r}")
        if (launcher := f"action/{action_files.LAUNCHER}") not in files:
            problems.append(f"exec: expected its launcher, {launcher}, found none")
    try:
        functions = [
            each for each in ast.parse(files[main]).body if isinstance(each, ast.FunctionDef)
        ]
        if not any(function.name == "main" for function in functions):
            problems.append(f"{main} defines no main(params)")
    except KeyError:
        problems.append(f"expected {main} at the root, found none")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problems.append(f"{main} does not parse: {error}")
    return _check("entry point", f"{main}: {found}", problems)


def _check_code(subject: _Subject) -> Check:
    """Check that code is of the zip's Python versions, and that an index names all of it."""
    kinds = platform.table()["kinds"]
    magics = {python: kinds[f"python:{python}"]["magic"] for python in subject.manifest.pythons}
    problems: list[str] = []
    indexed: set[str] = set()
    count = 0
    for python, magic in magics.items():
        try:
            index = modules.read_index(subject.files, python)
        except ValueError as error:
            problems.append(str(error))
            continue
        count += len(index.modules)
        indexed |= index.paths
        if index.magic not in (0, magic):
            folder = modules.library_folder(python)
            problems.append(f"{folder}: not the code of Python {python} (magic {index.magic})")
    for name, content in subject.files.items():
        if name.startswith("lib/") and name not in indexed:
            problems.append(f"{name}: no index names it")
        if name.endswith(".pyc"):
            problems += _check_code_file(name, content, magics)
    how = "byte-compiled" if subject.manifest.bytecode else "as sources"
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


def _check_libraries(subject: _Subject) -> Check:
    components = subject.manifest.components
    compiled = {name for each in components if each.compiled for name in each.files}
    problems: list[str] = []
    newest: dict[str, str] = {}
    for python in subject.manifest.pythons:
        found, versions = check_libraries(subject.files, python, compiled)
        problems += found
        newest |= versions
    count = sum(modules.is_library(name) for name in subject.files)
    needs = ", ".join(f"{family} {newest[family]}" for family in sorted(newest)) or "none"
    summary = f"{count} libraries; newest symbols needed: {needs}"
    return _check("libraries", summary, problems)


def _check_model(subject: _Subject) -> Check:
    settings = subject.settings
    if settings is None or f"model/{settings.file}" not in subject.files:
        return _check("model", "", [f"expected {MODEL_SETTINGS} and the model it names"])
    problems = []
    if subject.files[f"model/{settings.file}"][4:8] != b"TFL3":
        problems.append(f"model/{settings.file} is not a TFLite model")
    return _check("model", f"{settings.name}, {len(settings.labels)} classes", problems)


def _measure_components(subject: _Subject) -> list[ComponentSize]:
    """Return what each component costs; files that none lists count for the first, the function."""
    several = len(subject.manifest.pythons) > 1
    versions: dict[str, str] = {}
    owner: dict[str, str] = {}
    for each in subject.manifest.components:
        title = each.name + (f" (Python {each.python})" if several and each.python else "")
        versions[title] = each.version
        owner |= dict.fromkeys(each.files, title)
    function = next(iter(versions), "action")
    files, unpacked, packed = Counter[str](), Counter[str](), Counter[str]()
    for info in subject.contents.infos:
        title = owner.get(info.filename, function)
        files[title] += 1
        unpacked[title] += info.file_size
        # Local header 30 bytes, central header 46, the name in both (APPNOTE.TXT 4.3).
        packed[title] += info.compress_size + 76 + 2 * len(info.filename.encode())
    # What is left is the end of each zip, and the entry of the one in the other.
    packed[function] += subject.size - packed.total()
    return [
        ComponentSize(
            escape_controls(title),
            escape_controls(version),
            files[title],
            unpacked[title],
            packed[title],
        )
        for title, version in versions.items()
        if files[title]
    ]
