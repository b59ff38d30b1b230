"""Audit a zip of ours: hold it against its manifest and against what the platform allows."""

import hashlib
import re
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from builder.artifact import action_files, modules, platform
from builder.artifact.contents import MODEL_SETTINGS
from builder.artifact.libraries import check_libraries
from builder.artifact.manifest import MANIFEST, Manifest
from builder.base.archive import MODE, PACKED, ZipContents, read_zip
from builder.base.errors import BuildError, escape_controls
from builder.model.settings import ModelSettings


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
    """A zip and the outcome of its audit."""

    path: str
    bytes: int
    sha256: str
    contents: ZipContents
    manifest: Manifest
    settings: ModelSettings
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
        card = self.settings.card
        lines = card.items() if isinstance(card, dict) else ()
        return {escape_controls(str(title)): escape_controls(str(text)) for title, text in lines}


def audit_zip(path: Path) -> Audit:
    """Check a zip: size, entries, manifest, code, libraries, model.

    Raises:
        BuildError: the file cannot be read, or is not a complete zip of ours.
    """
    try:
        contents = read_zip(path)
        content = path.read_bytes()
        manifest = Manifest.from_json(contents.files.get(MANIFEST, b""))
        settings = ModelSettings.from_json(contents.files.get(MODEL_SETTINGS, b""))
        if not manifest.pythons or not set(manifest.pythons) <= set(platform.pythons()):
            expected, found = ", ".join(platform.pythons()), ", ".join(manifest.pythons) or "none"
            raise ValueError(f"expected Python {expected}, found {found}")
    except OSError as error:
        raise BuildError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BuildError(
            f"{path.name} is not a complete zip of build_zip.py: {escape_controls(str(error))}",
            "build it again: python3 build_zip.py",
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    audit = Audit(str(path), len(content), sha256, contents, manifest, settings)
    checks = (_check_size, _check_entries, _check_manifest, _check_code, _check_libraries)
    audit.checks += [check(audit) for check in (*checks, _check_model)]
    return audit


def _check(title: str, found: str, problems: Iterable[str]) -> Check:
    return Check(
        title, escape_controls(found), tuple(escape_controls(problem) for problem in problems)
    )


def _check_size(audit: Audit) -> Check:
    limit, size = platform.zip_limit(), audit.bytes
    problem = f"expected at most {limit} bytes (48 MiB as base64), found {size}"
    return _check("size", f"{size} of {limit} bytes", [problem] if size > limit else [])


def _check_entries(audit: Audit) -> Check:
    """Check that what the platform unpacks is this function's, as a build writes it."""
    contents, precompiled = audit.contents, bool(audit.manifest.execution_env)
    sources = {path.name for path in action_files.list_files(precompiled)}
    expected = {"main__.py", "exec", "exec.env"} if precompiled else {"__main__.py"}
    expected |= {f"action/{name}" for name in sources.intersection(action_files.BOOT_FILES)}
    problems = [f"expected {name}, found none" for name in expected.difference(contents.outside)]
    for name in contents.outside:
        source = re.sub(r"__pycache__/(\w+)\.cpython-\d+\.pyc$", r"\1.py", name)
        if source not in {*expected, PACKED}:
            problems.append(f"{name}: no file of this function")
    if not contents.canonical:
        problems.append("expected only what build_zip.py writes, found other bytes")
    for info in contents.infos:
        name, mode = info.filename, info.external_attr >> 16
        allowed = stat.S_IFREG | (0o755 if name == "exec" else MODE)
        if mode != allowed:
            problems.append(f"{name}: expected mode {allowed:o}, found {mode:o}")
    found = f"{len(contents.outside)} files, {len(contents.infos)} with those in {PACKED}"
    return _check("entries", found, sorted(problems))


def _check_manifest(audit: Audit) -> Check:
    manifest, listed = audit.manifest, audit.manifest.files
    hashes = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in audit.contents.files.items()
        if name != MANIFEST
    }
    problems = [f"{name}: not in the manifest" for name in sorted(hashes.keys() - listed.keys())]
    for name, sha256 in listed.items():
        if name not in hashes:
            problems.append(f"{name}: in the manifest, not in the zip")
        elif hashes[name] != sha256:
            problems.append(f"{name}: not the file that the manifest lists")
    found = f"{len(manifest.components)} components, {len(listed)} files, Python "
    return _check("manifest", found + ", ".join(manifest.pythons), problems)


def _check_code(audit: Audit) -> Check:
    """Check that the modules are for the zip's Python versions."""
    problems, count = [], 0
    for python in audit.manifest.pythons:
        try:
            index = modules.read_index(audit.contents.files, python)
            count += len(index.names)
            magic = int.from_bytes(bytes.fromhex(index.magic)[:2], "little")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            problems.append(f"the index of Python {python} cannot be read: {error!r}")
            continue
        if magic not in (0, platform.kind_of(python)["magic"]):
            problems.append(f"not the code of Python {python} (magic {magic})")
    how = "byte-compiled" if audit.manifest.bytecode else "as sources"
    return _check("code files", f"{count} modules in {PACKED}, {how}", problems)


def _check_libraries(audit: Audit) -> Check:
    components = audit.manifest.components
    compiled = {name for each in components if each.compiled for name in each.files}
    files = audit.contents.files
    problems = check_libraries(files, audit.manifest.pythons, compiled)
    return _check("libraries", f"{sum(map(modules.is_library, files))} libraries", problems)


def _check_model(audit: Audit) -> Check:
    file = f"model/{audit.settings.file}"
    problems = [] if file in audit.contents.files else [f"expected {file}, found none"]
    return _check("model", f"{audit.settings.name}", problems)
