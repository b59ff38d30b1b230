"""Hold a finished zip against its manifest and against what the platform allows."""

import ast
import hashlib
import json
import re
import stat
import zipfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.artifact import action_files, elf, modules, platform
from builder.artifact.contents import FIRST, MODEL_SETTINGS
from builder.artifact.provenance import LICENCES, MANIFEST, SBOM, SCHEMA
from builder.base import archive
from builder.base.archive import DATE, MODE, PACKED
from builder.base.errors import BuildError

_UNCHECKED_HASH = 1
_FORBIDDEN = {
    "requirements.txt": "the runtime would run pip at every cold start",
    "virtualenv/": "the runtime would try to activate it",
    "exec__.py": "the runtime writes its own",
}
_AT_THE_ROOT = ("__main__.py", "main__.py", "exec", "exec.env", MANIFEST, LICENCES, SBOM)
_PRECOMPILED = {
    "exec": "the runtime would start it in place of Python",
    "main__.py": "the runtime makes it from __main__.py",
}


_MANIFEST: dict[str, type] = {
    "python": list,
    "bytecode": bool,
    "executionEnv": str,
    "memory": int,
    "parts": list,
}
_PART: dict[str, type] = {
    **dict.fromkeys(("name", "version", "source", "sha256", "licence", "python"), str),
    "compiled": bool,
    "files": dict,
}

Problems = Generator[str, None, str]
"""A check: it yields problems, and returns what it saw."""


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, and what is wrong with it (nothing if it passed)."""

    title: str
    found: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ComponentSize:
    """What one part costs: files, bytes unpacked, bytes in the zip (headers included)."""

    name: str
    version: str
    files: int
    unpacked: int
    packed: int


@dataclass
class Audit:
    """The outcome of an audit."""

    path: str
    bytes: int
    sha256: str
    pythons: list[str] = field(default_factory=list)
    bytecode: bool = False
    execution_env: str = ""
    memory: int = 0
    """What the action needs, in MB, as its manifest says; 0 if it does not."""
    card: dict[str, str] = field(default_factory=dict)
    """What was decided about the model, and why: a line per question."""
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


def audit_zip(path: Path) -> Audit:
    """Check a zip: integrity, manifest, limits, entries, code files, native parts, model.

    Raises:
        BuildError: the file cannot be read, or is not a complete zip.
    """
    try:
        content = path.read_bytes()
        contents = archive.read_zip(path)
    except OSError as error:
        raise BuildError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BuildError(
            f"{path.name} is not a complete zip of {len(content)} bytes: {error}",
            "build it again: python build_zip.py",
        ) from error
    files = contents.files
    report = Audit(str(path), len(content), hashlib.sha256(content).hexdigest())
    manifest = _manifest(files)
    report.pythons = manifest["python"]
    report.bytecode = manifest["bytecode"]
    report.execution_env = manifest["executionEnv"]
    report.memory = manifest["memory"]
    known = [python for python in report.pythons if python in platform.pythons()]
    report.card = _card(files)
    for title, look in (
        ("size", lambda: _size(len(content))),
        ("form", lambda: _form(contents)),
        ("entries", lambda: _entries(contents, bool(report.execution_env))),
        ("manifest", lambda: _against_manifest(files, manifest)),
        ("entry point", lambda: _entry_point(files, contents.infos, report.execution_env)),
        ("code files", lambda: _code_files(files, known)),
        ("native parts", lambda: _native_parts(files, manifest, known)),
        ("model", lambda: _model(files)),
    ):
        report.checks.append(_check(title, look))
    report.components = _sizes(contents, manifest, len(content))
    return report


def _check(title: str, look: Callable[[], Problems]) -> Check:
    """Run one check: it yields problems, and returns what it saw, "" if it cannot say."""
    problems: list[str] = []
    lines = look()
    while True:
        try:
            problems.append(_printable(next(lines)))
        except StopIteration as end:
            return Check(title, _printable(end.value), tuple(problems))


def _printable(text: str) -> str:
    """Text without what a terminal would obey, and without what is no character."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _manifest(files: dict[str, bytes]) -> dict[str, Any]:
    """The zip's manifest; an empty one if it has none, or one that is not of our form."""
    empty = {"python": [], "bytecode": False, "executionEnv": "", "memory": 0, "parts": []}
    try:
        found = json.loads(files[MANIFEST], object_pairs_hook=_unique)
        if found["schema"] != SCHEMA:
            return empty
        manifest = {**empty, **found}
        _expect(manifest, {**_MANIFEST, "schema": int})
        for text in manifest["python"]:
            if type(text) is not str:
                return empty
        for part in manifest["parts"]:
            _expect(part, _PART)
            _expect(part["files"], dict.fromkeys(part["files"], str))
    except (KeyError, ValueError, TypeError, RecursionError):
        return empty
    return manifest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises ValueError if a key is there twice: readers differ about it."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _expect(found: Any, types: dict[str, type]) -> None:
    """Raise TypeError unless an object has exactly these keys, with values of exactly these types.

    "python" may be left out.
    """
    if type(found) is not dict or not types.keys() - {"python"} <= found.keys() <= types.keys():
        raise TypeError(found)
    if any(type(value) is not types[key] for key, value in found.items()):
        raise TypeError(found)


def _size(size: int) -> Problems:
    limit = platform.zip_limit()
    if size > limit:
        yield f"expected at most {limit} bytes (48 MiB as base64), found {size}"
    return f"{size} of {limit} bytes"


def _form(contents: archive.ZipContents) -> Problems:
    """Whether there is nothing but entries, written as we write them, and no entry but ours."""
    yield from contents.foreign
    settings = _settings(contents.files)
    own = {f"action/{path.name}" for path in action_files.list_files(precompiled=True)}
    allowed = {*own, *_AT_THE_ROOT, MODEL_SETTINGS, f"model/{settings.get('file')}"}
    for name in contents.files:
        cached = re.fullmatch(r"action/__pycache__/(\w+)\.cpython-\d+\.pyc", name)
        expected = f"action/{cached[1]}.py" if cached else name
        if expected not in allowed and not name.startswith("lib/"):
            yield f"{name}: no file of this function"
    return "nothing but entries" if not contents.foreign else ""


def _entries(contents: archive.ZipContents, precompiled: bool) -> Problems:
    names = [info.filename for info in contents.infos]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: more than once"
    for info in contents.infos:
        name, mode = info.filename, info.external_attr >> 16
        if stat.S_ISLNK(mode):
            yield f"{name}: a symbolic link"
        elif name.startswith(("/", "\\")) or ".." in name.split("/") or ":" in name:
            yield f"{name}: a path that leaves the folder"
        elif name.endswith("/"):
            yield f"{name}: an entry for a folder"
        else:
            expected = 0o100755 if precompiled and name == "exec" else 0o100000 | MODE
            if mode != expected:
                yield f"{name}: expected mode {expected:o}, found {mode:o}"
        if info.date_time != DATE:
            yield f"{name}: expected the date {DATE[0]}-01-01, found {info.date_time}"
        if name not in contents.outside and _belongs_outside(name):
            yield f"{name}: expected in the zip itself, found in {PACKED}"
        if info.extra or info.comment:
            yield f"{name}: expected neither extra fields nor a comment"
    for name, why in (_FORBIDDEN if precompiled else {**_FORBIDDEN, **_PRECOMPILED}).items():
        if any(entry == name or (name[-1] == "/" and entry.startswith(name)) for entry in names):
            yield f"{name}: must not be there ({why})"
    return f"{len(contents.outside)} files, {len(names)} with those in {PACKED}"


def _belongs_outside(name: str) -> bool:
    """Whether the platform reads a file, or Python before it can read others."""
    first = {f"action/{each}" for each in FIRST}
    return ("/" not in name and name in {"__main__.py", *_PRECOMPILED, "exec.env"}) or name in first


def _against_manifest(files: dict[str, bytes], manifest: dict[str, Any]) -> Problems:
    if MANIFEST not in files:
        yield f"expected {MANIFEST}, found none: this zip is not from build_zip.py"
        return ""
    if not manifest["parts"]:
        yield f"{MANIFEST}: expected a manifest of schema {SCHEMA}, found {files[MANIFEST][:40]!r}"
        return ""
    listed: dict[str, str] = {}
    for part in manifest["parts"]:
        listed |= part["files"]
        if not part["licence"]:
            yield f"{part['name']}: no licence"
    for name, digest in listed.items():
        if name not in files:
            yield f"{name}: in the manifest, not in the zip"
        elif hashlib.sha256(files[name]).hexdigest() != digest:
            yield f"{name}: not the file that the manifest lists"
    for name in files.keys() - listed.keys() - {MANIFEST}:
        yield f"{name}: not in the manifest"
    if LICENCES not in files:
        yield f"no {LICENCES}"
    supported = platform.pythons()
    for python in manifest["python"]:
        if python not in supported:
            yield f"expected Python {', '.join(supported)}, found {python}"
        elif not any(name.startswith(modules.library_folder(python)) for name in files):
            yield f"no packages for Python {python}"
    return f"{len(manifest['parts'])} parts, {len(listed)} files, Python " + ", ".join(
        manifest["python"]
    )


def _entry_point(
    files: dict[str, bytes], infos: list[zipfile.ZipInfo], execution_env: str
) -> Problems:
    main, found = "__main__.py", "main(params)"
    if execution_env:
        main, found = "main__.py", f"main(params), precompiled for {execution_env}"
        env = files.get("exec.env", b"").decode(errors="replace")
        mode = max((i.external_attr >> 16 for i in infos if i.filename == "exec"), default=0)
        if not files.get("exec", b"").startswith(b"#!") or not mode & 0o111:
            yield "exec: expected an executable file that begins with #!"
        if env != execution_env or env != env.strip():
            yield f"exec.env: expected the image's OW_EXECUTION_ENV, found {env!r}"
        if "action/launcher.py" not in files:
            yield "exec: expected its launcher, action/launcher.py, found none"
    if main not in files:
        yield f"expected {main} at the root, found none"
        return ""
    try:
        tree = ast.parse(files[main])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        yield f"{main} does not parse: {error}"
        return ""
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if "main" not in names:
        yield f"{main} defines no main(params)"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{main}: a relative import fails on the platform"
    return f"{main}: {found}"


def _code_files(files: dict[str, bytes], pythons: list[str]) -> Problems:
    magics = {python: platform.table()["kinds"][f"python:{python}"]["magic"] for python in pythons}
    total = 0
    compiled = False
    for python in pythons:
        try:
            magic, names = modules.read_index(files, python)
        except ValueError as error:
            yield str(error)
            continue
        total += len(names)
        compiled |= bool(magic)
        if magic not in (0, magics[python]):
            folder = modules.library_folder(python)
            yield f"{folder}: not the code of Python {python} (magic number {magic})"
    named = {path for python in pythons for path in modules.list_indexed_files(files, python)}
    for name in sorted(name for name in files.keys() - named if name.startswith("lib/")):
        yield f"{name}: no index names it"
    for name, content in files.items():
        if name.startswith("lib/") and _python_of(name, pythons) is None:
            yield f"{name}: for none of the zip's Python versions ({', '.join(pythons)})"
        if not name.endswith(".pyc"):
            continue
        python_of_code = _python_of(name, pythons)
        magic, flags = int.from_bytes(content[:2], "little"), int.from_bytes(content[4:8], "little")
        if python_of_code is None:
            yield f"{name}: for none of the zip's Python versions ({', '.join(pythons)})"
        elif magic != magics[python_of_code]:
            yield f"{name}: not the code of Python {python_of_code} (magic number {magic})"
        elif flags != _UNCHECKED_HASH:
            yield f"{name}: would be stale after unzipping: not an unchecked-hash code file"
    return f"{total} modules in {PACKED}, " + ("byte-compiled" if compiled else "as sources")


def _python_of(name: str, pythons: list[str]) -> str | None:
    for python in pythons:
        if name.startswith(modules.library_folder(python)) or name.endswith(
            f".{_cached(python)}.pyc"
        ):
            return python
    return None


def _cached(python: str) -> str:
    """How CPython names a version in files: "3.11" -> "cpython-311"."""
    return "cpython-" + python.replace(".", "")


def _native_parts(
    files: dict[str, bytes], manifest: dict[str, Any], pythons: list[str]
) -> Problems:
    ours = {name for part in manifest["parts"] if part["compiled"] for name in part["files"]}
    binaries = [name for name in files if modules.is_library(name)]
    newest: dict[str, str] = {}
    for name in binaries:
        python = _python_of(name, pythons)
        if python is None:
            yield f"{name}: for none of the zip's Python versions ({', '.join(pythons)})"
            continue
        tag = re.search(r"\.(cpython-\d+|abi3|cp\d+)[.-]", name)
        if tag and tag[1] not in ("abi3", _cached(python)):
            yield f"{name}: built for {tag[1]}, in the folder of Python {python}"
        try:
            library = elf.read_library(files[name], whole=name in ours)
        except ValueError as error:
            yield f"{name}: not an ELF library: {error}"
            continue
        beside = {other.rpartition("/")[2] for other in binaries if _python_of(other, [python])}
        for problem in _loads(library, python, beside, newest):
            yield f"{name}: {problem}"
        for problem in _built_well(library) if name in ours else ():
            yield f"{name}: {problem}"
    needs = ", ".join(f"{family} {newest[family]}" for family in sorted(newest))
    return f"{len(binaries)} libraries; newest symbols needed: {needs or 'none'}"


def _loads(
    library: elf.SharedLibrary, python: str, beside: set[str], newest: dict[str, str]
) -> Iterator[str]:
    """Whether the runtime of `python` can load a library; notes the newest versions it needs."""
    if library.machine != "EM_X86_64":
        yield f"expected x86_64, found {library.machine}"
    system = set(platform.table()["libraries"]["system"])
    for name in sorted(library.needed - system - beside):
        yield f"needs {name}, which neither the zip nor the runtime has"
    ceilings = platform.table()["kinds"][f"python:{python}"]["symbols"]
    for version in sorted(library.versions):
        family, _, number = version.partition("_")
        if family not in ceilings or not number[:1].isdigit():
            continue
        if not _at_most(number, ceilings[family]):
            yield f"needs {version}, python:{python} has {family}_{ceilings[family]}"
        if _at_most(newest.get(family, "0"), number):
            newest[family] = number


def _built_well(library: elf.SharedLibrary) -> Iterator[str]:
    """The gates for what is compiled here, as opposed to taken from a wheel."""
    compiled = set(platform.table()["libraries"]["compiled"])
    for name in sorted(library.needed - compiled):
        yield f"needs {name}: expected no more than {', '.join(sorted(compiled))}"
    for name in sorted(name for name in library.exports if not name.startswith("PyInit_")):
        yield f"exports {name}: expected only PyInit_*"
    for path in sorted(library.search_paths):
        yield f"looks for libraries in {path}: expected no RPATH"
    if library.executable_stack:
        yield "asks for an executable stack"
    if not library.relro:
        yield "its relocated data stays writable: expected RELRO"
    for path in sorted(library.source_paths):
        yield f"holds the path {path} of the machine that compiled it"


def _at_most(version: str, ceiling: str) -> bool:
    def numbers(text: str) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", text)]

    return numbers(version) <= numbers(ceiling)


def _settings(files: dict[str, bytes]) -> dict[str, Any]:
    """What `model.json` says; empty if there is none that reads."""
    try:
        settings = json.loads(files[MODEL_SETTINGS])
    except (KeyError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _model(files: dict[str, bytes]) -> Problems:
    settings = _settings(files)
    try:
        model = files[f"model/{settings['file']}"]
        classes = len(settings["labels"])
    except (KeyError, ValueError, TypeError) as error:
        yield f"expected {MODEL_SETTINGS} and the model it names: {type(error).__name__} {error}"
        return ""
    if model[4:8] != b"TFL3":
        yield f"model/{settings['file']} is not a TFLite model"
    return f"{settings.get('name')}, {classes} classes"


def _card(files: dict[str, bytes]) -> dict[str, str]:
    """The model's card; empty if the zip has none."""
    card = _settings(files).get("card")
    if not isinstance(card, dict):
        return {}
    return {_printable(str(title)): _printable(str(text)) for title, text in card.items()}


def _sizes(
    contents: archive.ZipContents, manifest: dict[str, Any], size: int
) -> list[ComponentSize]:
    """What each part costs; the zips' directories count with the entries that they list."""
    owner: dict[str, str] = {}
    titles: dict[str, str] = {}
    for part in manifest["parts"]:
        title = (
            f"{part['name']} (Python {part['python']})"
            if len(manifest["python"]) > 1 and part.get("python")
            else part["name"]
        )
        titles[title] = part["version"]
        owner |= dict.fromkeys(part["files"], title)
    totals: dict[str, list[int]] = {title: [0, 0, 0] for title in titles}
    for info in contents.infos:
        default = "action" if info.filename == MANIFEST else "not in the manifest"
        total = totals.setdefault(owner.get(info.filename, default), [0, 0, 0])
        # Local header 30 bytes, central header 46, the name in both (APPNOTE.TXT 4.3).
        headers = 76 + 2 * len(info.filename.encode())
        for position, value in enumerate((1, info.file_size, info.compress_size + headers)):
            total[position] += value
    # What is left is the end of each zip, and the entry of the one in the other.
    totals.setdefault("action", [0, 0, 0])[2] += size - sum(total[2] for total in totals.values())
    return [
        ComponentSize(_printable(title), _printable(titles.get(title, "")), *total)
        for title, total in totals.items()
        if total[0]
    ]
