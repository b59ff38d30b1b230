"""Put the zip together: choose files, byte-compile, write them in a fixed form, with a manifest."""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import deflate

from action import __version__
from builder import interpreters
from builder.console import Advance
from builder.errors import BuildError
from builder.files import is_there, replacing
from builder.model import Model
from builder.paths import ACTION, BUILDER, DEFLATED, ROOT
from builder.runtime import Part, Runtime, package_tag
from builder.sbom import sbom

SCHEMA = 1
MANIFEST = "manifest.json"
LICENCES = "LICENSES.txt"
SBOM = "sbom.cdx.json"
MODEL_SETTINGS = "model/model.json"
MODULES = ".modules"
"""What the archives of modules end in; `action/packages.py` says what is in them."""
DATE = (1980, 1, 1, 0, 0, 0)
MODE = 0o644
LEVEL = 12
"""libdeflate's best; a pinned version of it gives the same bytes on every host."""

OPTIMIZE = {"size": 1.0, "balanced": 0.5, "cold": 0.1}
"""What a file must shrink to, as a share of its size, to be deflated; the others are stored.

At a cold start OpenWhisk takes 10 ms per MB of zip and 9 ms more per MB to inflate: a file that
shrinks to more than a tenth starts faster stored. But each MB of zip is some 3.5 MB of the action's
memory, and has to be sent to each host. "balanced" stores the model only, which shrinks by a third:
25 ms for 1.6 MB of zip. All else shrinks by half and more, and would bring 22 ms for 3 MB.
"""

_COMPRESSOR = f"deflate-{version('deflate')}-{LEVEL}"
_KEEP_FROM = 1 << 18
_CODE = 16
"""Where the code begins in a code file (PEP 552)."""

_PRECOMPILED = ("launcher.py",)
"""Of `action/`: what stands for the runtime's own launcher in a precompiled zip."""
_FIRST = ("__init__.py", "packages.py")
"""Of `action/`: what is imported before there are archives to import from."""

EXEC = """\
#!/usr/local/bin/python -ISB
import sys

sys.path.insert(0, __file__.rpartition("/")[0])

from main__ import main

from action.launcher import serve

serve(main)
"""
"""What OpenWhisk's proxy starts: Python without `site` and what depends on the environment."""


@dataclass(frozen=True)
class Entry:
    """One file of the zip: its path, content, and the part that it belongs to."""

    path: str
    content: bytes
    part: str
    mode: int = MODE


@dataclass(frozen=True)
class Target:
    """Packages for one Python version, and a CPython of it to byte-compile with.

    Without one the modules ship as sources: correct, but slower to start.
    """

    runtime: Runtime
    interpreter: interpreters.Interpreter | None


def collect(targets: Sequence[Target], model: Model, execution_env: str = "") -> list[Entry]:
    """Everything that goes into the zip, manifest included, sorted by path.

    Args:
        targets: one per Python version; the function chooses when it starts.
        model: the model with its settings.
        execution_env: OW_EXECUTION_ENV of the image that a precompiled zip is for; empty for a
            portable one.

    Raises:
        BuildError: something does not compile.
    """
    targets = [_tagged(target) for target in targets] if len(targets) > 1 else targets
    packages = [part for target in targets for part in target.runtime.parts]
    parts = [_own_part(), *packages, model.part, model.labels_part]
    settings = json.dumps(model.settings, ensure_ascii=False, separators=(",", ":"))
    entries = [
        *_action_files(execution_env),
        *(entry for target in targets for entry in _package_files(target, bool(execution_env))),
        Entry(f"model/{model.settings['file']}", model.path.read_bytes(), model.part.name),
        Entry(MODEL_SETTINGS, settings.encode(), "labels"),
        Entry(LICENCES, _licences(parts).encode(), "action"),
        Entry(SBOM, sbom(parts, DATE), "action"),
    ]
    entries.append(Entry(MANIFEST, _manifest(targets, parts, entries, execution_env), "action"))
    return sorted(entries, key=lambda entry: entry.path)


def _tagged(target: Target) -> Target:
    """The same with the Python version in the names of its parts, which tells them apart."""
    runtime = target.runtime
    tag = package_tag(runtime.python)
    parts = tuple(replace(part, name=f"{part.name} {tag}") for part in runtime.parts)
    owner = {path: f"{part} {tag}" for path, part in runtime.owner.items()}
    return replace(target, runtime=replace(runtime, parts=parts, owner=owner))


def with_memory(entries: Sequence[Entry], megabytes: int) -> list[Entry]:
    """The same entries with the memory that the action needs, in MB, in their manifest."""
    changed = []
    for entry in entries:
        if entry.path == MANIFEST:
            manifest = {**json.loads(entry.content), "memory": megabytes}
            # Before the parts, which are long.
            manifest["parts"] = manifest.pop("parts")
            content = (json.dumps(manifest, indent=1) + "\n").encode()
            entry = replace(entry, content=content)
        changed.append(entry)
    return changed


def write(
    entries: Sequence[Entry], target: Path, advance: Advance, optimize: str = "balanced"
) -> None:
    """Write the zip: same entries, same bytes, on any host and at any time.

    Order, dates, modes and compression are fixed; a file that does not shrink enough is stored.

    Args:
        entries: the files, in order.
        target: the file to write.
        advance: told the bytes done and the total.
        optimize: a key of OPTIMIZE: how much is enough.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    total = sum(len(entry.content) for entry in entries)
    done = 0
    with target.open("wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            for entry in entries:
                _add(archive, entry, OPTIMIZE[optimize])
                done += len(entry.content)
                advance(done, total)
        file.flush()
        os.fsync(file.fileno())


class _Packed:
    """Data that is compressed already, in the place of zlib's compressor in `zipfile`."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def compress(self, data: bytes) -> bytes:
        return b""

    def flush(self) -> bytes:
        return self._packed


def _add(archive: zipfile.ZipFile, entry: Entry, share: float) -> None:
    info = zipfile.ZipInfo(entry.path, DATE)
    info.create_system = 3  # Unix, so that the modes count, on Windows too
    info.external_attr = (0o100000 | entry.mode) << 16
    info.file_size = len(entry.content)
    packed = _deflated(entry.content)
    if len(packed) < share * len(entry.content):
        info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w") as file:
        if info.compress_type == zipfile.ZIP_DEFLATED:
            # zipfile has no public way to choose the compressor; the audit reads every byte back.
            file._compressor = _Packed(packed)  # type: ignore[attr-defined]
        file.write(entry.content)


def _deflated(content: bytes) -> bytes:
    """The content compressed; that of large files is kept, since most builds change none."""
    if len(content) < _KEEP_FROM:
        return cast(bytes, deflate.deflate_compress(content, LEVEL))
    kept = DEFLATED / f"{hashlib.sha256(content).hexdigest()}-{_COMPRESSOR}"
    if not is_there(kept):
        with replacing(kept) as part:
            part.write_bytes(deflate.deflate_compress(content, LEVEL))
    return kept.read_bytes()


def _shipped(precompiled: bool) -> list[Path]:
    """The files of `action/` that ship."""
    left_out = () if precompiled else _PRECOMPILED
    files = sorted(path for path in ACTION.iterdir() if path.is_file() and path.suffix != ".pyc")
    return [path for path in files if path.name not in left_out]


def _action_files(execution_env: str) -> list[Entry]:
    """Our sources as they are; for a precompiled zip, what the runtime would make of them."""
    main = "main__.py" if execution_env else "__main__.py"
    entries = [
        Entry(
            main if path.name == "__main__.py" else f"action/{path.name}",
            path.read_bytes(),
            "action",
        )
        for path in _shipped(bool(execution_env))
    ]
    if execution_env:
        entries.append(Entry("exec", EXEC.encode(), "action", 0o755))
        entries.append(Entry("exec.env", execution_env.encode(), "action"))
    return entries


def _package_files(target: Target, precompiled: bool) -> list[Entry]:
    """Packages and our own modules for one Python: modules in archives, the other files as is.

    Without an interpreter to compile with, the packages' sources.
    """
    runtime = target.runtime
    tag = package_tag(runtime.python)
    lib = f"lib/{tag}/"
    sources = {path for path in runtime.owner if path.endswith(".py") and target.interpreter}
    entries = [
        Entry(lib + path, (runtime.folder / path).read_bytes(), part)
        for path, part in sorted(runtime.owner.items())
        if path not in sources
    ]
    if not target.interpreter:
        return entries
    own = [path for path in _shipped(precompiled) if path.suffix == ".py"]
    work = [(path, f"action/{path.name}") for path in own if path.name != "__main__.py"]
    work += [(runtime.folder / path, lib + path) for path in sorted(sources)]
    codes = _compile(target.interpreter, work)
    for name in _FIRST:
        stem = name.removesuffix(".py")
        cached = f"action/__pycache__/{stem}.{tag.replace('cp', 'cpython-')}.pyc"
        entries.append(Entry(cached, codes.pop(f"action/{name}"), "action"))
    for part in dict.fromkeys(["action", *runtime.owner.values()]):
        mine = {
            shown.removeprefix(lib): (shown, code)
            for shown, code in codes.items()
            if runtime.owner.get(shown.removeprefix(lib), "action") == part
        }
        natives = [path for path, owner in runtime.owner.items() if owner == part]
        natives = [path for path in natives if path.endswith(".so")]
        name = re.sub(r"[^\w.-]", "-", part.removesuffix(f" {tag}"))
        entries.append(Entry(f"{lib}{name}{MODULES}", _archive(mine, natives), part))
    return entries


def _archive(modules: dict[str, tuple[str, bytes]], natives: list[str]) -> bytes:
    """Modules as `action/packages.py` reads them.

    Args:
        modules: path from the import root -> (name in tracebacks, content of the code file).
        natives: paths of extension modules.
    """
    index: dict[str, Any] = {}
    codes = b""
    for path, (shown, content) in sorted(modules.items()):
        name = path.removesuffix(".py").replace("/", ".")
        package = name.endswith(".__init__")
        code = content[_CODE:]
        index[name.removesuffix(".__init__")] = [package, shown, len(codes), len(code)]
        codes += code
    for path in sorted(natives):
        folder, _, file = path.rpartition("/")
        index[f"{folder}/{file.partition('.')[0]}".replace("/", ".").lstrip(".")] = path
    packed = json.dumps(index, separators=(",", ":")).encode()
    magic = next(iter(modules.values()))[1][:4]
    return magic + len(packed).to_bytes(4, "little") + packed + codes


def _compile(
    interpreter: interpreters.Interpreter, files: list[tuple[Path, str]]
) -> dict[str, bytes]:
    """Byte-compile (source, its name in tracebacks); returns the code file of each name."""
    with tempfile.TemporaryDirectory() as scratch:
        targets = [Path(scratch) / f"{number}.pyc" for number in range(len(files))]
        work = [
            [str(source), str(target), shown]
            for (source, shown), target in zip(files, targets, strict=True)
        ]
        script = (BUILDER / "compile_all.py").read_text("utf-8")
        done = subprocess.run(
            # Tracebacks name the line, not the columns: their tables are a sixth of all code.
            [interpreter.path, "-s", "-S", "-X", "no_debug_ranges", "-c", script],
            input=json.dumps(work),
            # Python 3.10 writes a set of strings in hash order. Not with -I, which would ignore
            # the seed; nothing else is in the environment, nor in the folder.
            env={"PYTHONHASHSEED": "0"},
            cwd=scratch,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BuildError(f"byte-compiling failed: {done.stderr.strip()}")
        return {
            shown: target.read_bytes() for (_, shown), target in zip(files, targets, strict=True)
        }


def _own_part() -> Part:
    licence = (ROOT / "LICENSE").read_text("utf-8")
    return Part("action", __version__, "this project", "", "Apache-2.0", (("action", licence),))


def _licences(parts: list[Part]) -> str:
    """All licence texts, each once, under the titles that it applies to."""
    titles: dict[str, list[str]] = {}
    for part in parts:
        for title, text in [text for each in (part, *part.linked) for text in each.licence_texts]:
            titles.setdefault(text.strip(), []).append(title)
    summary = "".join(
        f"{each.name} {each.version}".strip() + f": {each.licence}\n"
        for part in parts
        for each in (part, *part.linked)
    )
    rule = "=" * 79
    texts = (f"\n{rule}\n{', '.join(names)}\n{rule}\n\n{text}\n" for text, names in titles.items())
    return summary + "".join(texts)


def _manifest(
    targets: Sequence[Target], parts: list[Part], entries: list[Entry], execution_env: str
) -> bytes:
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "python": [target.runtime.python for target in targets],
        "bytecode": all(target.interpreter for target in targets),
        "executionEnv": execution_env,
        "parts": [
            {
                "name": part.name,
                "version": part.version,
                "source": part.source,
                "sha256": part.sha256,
                "licence": part.licence,
                "compiled": part.compiled,
                "files": {
                    entry.path: hashlib.sha256(entry.content).hexdigest()
                    for entry in sorted(entries, key=lambda entry: entry.path)
                    if entry.part == part.name
                },
            }
            for part in parts
        ],
    }
    return (json.dumps(manifest, indent=1) + "\n").encode()
