"""Audit a zip of ours: hold it against its manifest and against what the platform allows."""

import ast
import hashlib
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from builder.artifact import action_files, modules, platform
from builder.artifact.contents import BOOT_FILES, MODEL_SETTINGS
from builder.artifact.libraries import check_libraries
from builder.artifact.licences import LICENCES
from builder.artifact.manifest import MANIFEST, Manifest
from builder.artifact.sbom import SBOM
from builder.base.archive import MODE, PACKED, ZipContents, read_zip
from builder.base.errors import BuildError
from builder.model.settings import ModelSettings

_FORBIDDEN = {
    "requirements.txt": "the runtime would run pip at every cold start",
    "virtualenv/": "the runtime would try to activate it",
    "exec__.py": "the runtime writes its own",
}
_FORBIDDEN_UNLESS_PRECOMPILED = {
    "exec": "the runtime would start it in place of Python",
    "main__.py": "the runtime makes it from __main__.py",
}
# Files of the zip itself: the platform reads them, or Python before it can read `packed.zip`.
_OUTSIDE = {"__main__.py", "main__.py", "exec", "exec.env", *(f"action/{n}" for n in BOOT_FILES)}
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
    """The outcome of an audit.

    Attributes:
        path: of the zip.
        bytes: its size.
        sha256: its hash.
        pythons: Python versions that it is for.
        bytecode: whether its modules are byte-compiled.
        execution_env: OW_EXECUTION_ENV of the image that it is precompiled for, or empty.
        memory: memory limit that the action needs, in MB.
        card: what was decided about the model, and why: a line per question.
        checks: all checks.
        components: what each component costs.
    """

    path: str
    bytes: int
    sha256: str
    pythons: list[str]
    bytecode: bool
    execution_env: str
    memory: int
    card: dict[str, str]
    checks: list[Check] = field(default_factory=list)
    components: list[ComponentSize] = field(default_factory=list)

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
    """The zip under audit.

    Attributes:
        size: bytes of the zip.
        contents: its files.
        manifest: what it says of them.
        settings: of the model; None if they cannot be read.
        pythons: those of its Python versions that we know.
    """

    size: int
    contents: ZipContents
    manifest: Manifest
    settings: ModelSettings | None
    pythons: tuple[str, ...]

    @property
    def files(self) -> dict[str, bytes]:
        return self.contents.files

    def find_python(self, path: str) -> str | None:
        """Return the Python version that a code file is for, by its name."""
        return next((each for each in self.pythons if path.endswith(f".{_tag(each)}.pyc")), None)


def audit_zip(path: Path) -> Audit:
    """Check a zip: size, entries, manifest, entry point, code, libraries, model.

    Raises:
        BuildError: the file cannot be read, or is not a complete zip of ours.
    """
    subject, sha256 = _open_zip(path)
    manifest = subject.manifest
    card = subject.settings.card if subject.settings else {}
    checks = (
        _check_size,
        _check_entries,
        _check_manifest,
        _check_entry_point,
        _check_code,
        _check_native_parts,
        _check_model,
    )
    return Audit(
        path=str(path),
        bytes=subject.size,
        sha256=sha256,
        pythons=list(manifest.pythons),
        bytecode=manifest.bytecode,
        execution_env=manifest.execution_env,
        memory=manifest.memory,
        card={_escape(title): _escape(text) for title, text in card.items()},
        checks=[_make_printable(check(subject)) for check in checks],
        components=_measure_components(subject),
    )


def _open_zip(path: Path) -> tuple[_Subject, str]:
    """Read a zip; returns it and its sha256.

    Raises:
        BuildError: it cannot be read, or is not one of ours.
    """
    try:
        contents = read_zip(path)
        content = path.read_bytes()
        manifest = Manifest.from_json(contents.files.get(MANIFEST, b""))
    except OSError as error:
        raise BuildError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BuildError(
            f"{path.name} is not a complete zip of build_zip.py: {_escape(str(error))}",
            "build it again: python3 build_zip.py",
        ) from error
    known = tuple(python for python in manifest.pythons if python in platform.pythons())
    settings = _read_settings(contents.files)
    subject = _Subject(len(content), contents, manifest, settings, known)
    return subject, hashlib.sha256(content).hexdigest()


def _make_printable(check: Check) -> Check:
    problems = tuple(_escape(problem) for problem in check.problems)
    return replace(check, found=_escape(check.found), problems=problems)


def _escape(text: str) -> str:
    """Return text without what a terminal would obey."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _tag(python: str) -> str:
    """Return CPython's tag of a version in file names: "3.11" -> "cpython-311"."""
    return "cpython-" + python.replace(".", "")


def _check_size(subject: _Subject) -> Check:
    limit = platform.zip_limit()
    problems = []
    if subject.size > limit:
        problems.append(f"expected at most {limit} bytes (48 MiB as base64), found {subject.size}")
    return Check("size", f"{subject.size} of {limit} bytes", tuple(problems))


def _check_entries(subject: _Subject) -> Check:
    contents, outside = subject.contents, set(subject.contents.outside)
    problems = [*_check_names(subject)]
    if not contents.canonical:
        problems.append("expected only what build_zip.py writes, found other bytes")
    for info in contents.infos:
        name, mode = info.filename, info.external_attr >> 16
        executable = bool(subject.manifest.execution_env) and name == "exec"
        expected = stat.S_IFREG | (0o755 if executable else MODE)
        if mode != expected:
            problems.append(f"{name}: expected mode {expected:o}, found {mode:o}")
        if name in _OUTSIDE and name not in outside:
            problems.append(f"{name}: expected in the zip itself, found in {PACKED}")
    found = f"{len(outside)} files, {len(contents.infos)} with those in {PACKED}"
    return Check("entries", found, tuple(problems))


def _check_names(subject: _Subject) -> Iterator[str]:
    """Yield what is no file of this function, and what the runtime would stumble over."""
    precompiled = bool(subject.manifest.execution_env)
    own = {f"action/{path.name}" for path in action_files.list_files(precompiled=True)}
    model = f"model/{subject.settings.file}" if subject.settings else MODEL_SETTINGS
    allowed = {*own, *_OUTSIDE, MANIFEST, LICENCES, SBOM, MODEL_SETTINGS, model}
    for name in subject.files:
        cached = re.fullmatch(r"action/__pycache__/(\w+)\.cpython-\d+\.pyc", name)
        source = f"action/{cached[1]}.py" if cached else name
        if source not in allowed and not name.startswith("lib/"):
            yield f"{name}: no file of this function"
    forbidden = _FORBIDDEN if precompiled else {**_FORBIDDEN, **_FORBIDDEN_UNLESS_PRECOMPILED}
    for name, reason in forbidden.items():
        if any(
            path == name or (name[-1] == "/" and path.startswith(name)) for path in subject.files
        ):
            yield f"{name}: must not be there ({reason})"


def _check_manifest(subject: _Subject) -> Check:
    files, manifest = subject.files, subject.manifest
    listed = manifest.files
    problems = [f"{each.name}: no licence" for each in manifest.components if not each.licence]
    for name, sha256 in listed.items():
        if name not in files:
            problems.append(f"{name}: in the manifest, not in the zip")
        elif hashlib.sha256(files[name]).hexdigest() != sha256:
            problems.append(f"{name}: not the file that the manifest lists")
    extra = files.keys() - listed.keys() - {MANIFEST}
    problems += [f"{name}: not in the manifest" for name in sorted(extra)]
    if LICENCES not in files:
        problems.append(f"no {LICENCES}")
    supported = platform.pythons()
    if not manifest.pythons:
        problems.append("for no Python version")
    for python in manifest.pythons:
        if python not in supported:
            problems.append(f"expected Python {', '.join(supported)}, found {python}")
    found = f"{len(manifest.components)} parts, {len(listed)} files, Python "
    return Check("manifest", found + ", ".join(manifest.pythons), tuple(problems))


def _check_entry_point(subject: _Subject) -> Check:
    execution_env = subject.manifest.execution_env
    main, found = "__main__.py", "main(params)"
    problems: list[str] = []
    if execution_env:
        main, found = "main__.py", f"main(params), precompiled for {execution_env}"
        problems += _check_exec(subject)
    if main not in subject.files:
        return Check("entry point", "", (*problems, f"expected {main} at the root, found none"))
    try:
        tree = ast.parse(subject.files[main])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Check("entry point", "", (*problems, f"{main} does not parse: {error}"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if "main" not in functions:
        problems.append(f"{main} defines no main(params)")
    if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree)):
        problems.append(f"{main}: a relative import fails on the platform")
    return Check("entry point", f"{main}: {found}", tuple(problems))


def _check_exec(subject: _Subject) -> Iterator[str]:
    """Check what the runtime starts in a precompiled zip."""
    files, expected = subject.files, subject.manifest.execution_env
    if not files.get("exec", b"").startswith(b"#!"):
        yield "exec: expected an executable file that begins with #!"
    found = files.get("exec.env", b"").decode(errors="replace")
    if found != expected or found != found.strip():
        yield f"exec.env: expected the image's OW_EXECUTION_ENV, found {found!r}"
    if f"action/{action_files.LAUNCHER}" not in files:
        yield f"exec: expected its launcher, action/{action_files.LAUNCHER}, found none"


def _check_code(subject: _Subject) -> Check:
    kinds = platform.table()["kinds"]
    magics = {python: kinds[f"python:{python}"]["magic"] for python in subject.pythons}
    problems = []
    module_count, compiled = 0, False
    indexed: set[str] = set()
    for python in subject.pythons:
        try:
            index = modules.read_index(subject.files, python)
        except ValueError as error:
            problems.append(str(error))
            continue
        module_count += len(index.modules)
        indexed |= index.paths
        compiled |= bool(index.magic)
        if index.magic not in (0, magics[python]):
            folder = modules.library_folder(python)
            problems.append(_foreign_code(folder, python, index.magic))
    for name, content in subject.files.items():
        if name.startswith("lib/") and name not in indexed:
            problems.append(f"{name}: no index names it")
        if name.endswith(".pyc"):
            problems += _check_code_file(name, content, subject.find_python(name), magics)
    how = "byte-compiled" if compiled else "as sources"
    return Check("code files", f"{module_count} modules in {PACKED}, {how}", tuple(problems))


def _check_code_file(
    name: str, content: bytes, python: str | None, magics: dict[str, int]
) -> Iterator[str]:
    """Check the header (PEP 552) of a byte-compiled file of the zip itself."""
    magic, flags = int.from_bytes(content[:2], "little"), int.from_bytes(content[4:8], "little")
    if python is None:
        yield f"{name}: for none of the zip's Python versions ({', '.join(magics)})"
    elif magic != magics[python]:
        yield _foreign_code(name, python, magic)
    elif flags != _UNCHECKED_HASH:
        yield f"{name}: would be stale after unzipping: not an unchecked-hash code file"


def _foreign_code(name: str, python: str, magic: int) -> str:
    return f"{name}: not the code of Python {python} (magic number {magic})"


def _check_native_parts(subject: _Subject) -> Check:
    compiled = {
        name for each in subject.manifest.components if each.compiled for name in each.files
    }
    problems: list[str] = []
    newest: dict[str, str] = {}
    for python in subject.pythons:
        found, versions = check_libraries(subject.files, python, compiled)
        problems += found
        newest |= versions
    libraries = sum(modules.is_library(name) for name in subject.files)
    needs = ", ".join(f"{family} {newest[family]}" for family in sorted(newest)) or "none"
    text = f"{libraries} libraries; newest symbols needed: {needs}"
    return Check("native parts", text, tuple(problems))


def _read_settings(files: dict[str, bytes]) -> ModelSettings | None:
    """Return the model's settings; None if they cannot be read."""
    try:
        return ModelSettings.from_json(files[MODEL_SETTINGS])
    except (KeyError, ValueError, RecursionError):
        return None


def _check_model(subject: _Subject) -> Check:
    settings = subject.settings
    if settings is None or f"model/{settings.file}" not in subject.files:
        return Check("model", "", (f"expected {MODEL_SETTINGS} and the model it names",))
    problems = []
    if subject.files[f"model/{settings.file}"][4:8] != b"TFL3":
        problems.append(f"model/{settings.file} is not a TFLite model")
    return Check("model", f"{settings.name}, {len(settings.labels)} classes", tuple(problems))


def _measure_components(subject: _Subject) -> list[ComponentSize]:
    """Return what each component costs; files that none lists count for the function."""
    several = len(subject.manifest.pythons) > 1
    function = subject.manifest.components[0].name if subject.manifest.components else ""
    versions: dict[str, str] = {}
    owner: dict[str, str] = {}
    for component in subject.manifest.components:
        python = f" (Python {component.python})" if several and component.python else ""
        versions[component.name + python] = component.version
        owner |= dict.fromkeys(component.files, component.name + python)
    totals = {title: [0, 0, 0] for title in versions or [function]}
    for info in subject.contents.infos:
        total = totals[owner.get(info.filename, function)]
        # Local header 30 bytes, central header 46, the name in both (APPNOTE.TXT 4.3).
        headers = 76 + 2 * len(info.filename.encode())
        for position, value in enumerate((1, info.file_size, info.compress_size + headers)):
            total[position] += value
    # What is left is the end of each zip, and the entry of the one in the other.
    totals[function][2] += subject.size - sum(total[2] for total in totals.values())
    return [
        ComponentSize(_escape(title), _escape(versions.get(title, "")), *total)
        for title, total in totals.items()
        if total[0]
    ]
