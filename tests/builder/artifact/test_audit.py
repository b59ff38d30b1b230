"""The audit: a good zip passes, each fault is found and named, and nothing foreign passes.

Every zip here is ours with something changed; each is refused, or has a problem.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.artifact import modules, platform
from builder.artifact.audit import audit_zip
from builder.artifact.libraries import check_libraries
from builder.artifact.manifest import MANIFEST
from builder.base.archive import Entry, read_zip, write_zip
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from tests.conftest import HERE, PYTHONS
from tests.support.zips import Files, with_manifest, write

LIB = modules.library_folder(HERE)
INDEX = LIB + modules.INDEX
SETTINGS = "model/model.json"
REFUSED = "is not a complete zip of build_zip.py: "
OTHER = next(platform.kind_of(python)["magic"] for python in PYTHONS if python != HERE)


def without_libraries(path: Path) -> Files:
    """Return the files of a zip that passes without its libraries, with a model of a few bytes."""
    files = {
        name: content[:2000] if name.endswith(".tflite") else content
        for name, content in read_zip(path).files.items()
        if not modules.is_library(name)
    }
    return with_manifest(files)


@pytest.fixture(scope="module")
def good(zip_path: Path) -> Files:
    return without_libraries(zip_path)


@pytest.fixture(scope="module")
def precompiled(precompiled_path: Path) -> Files:
    return without_libraries(precompiled_path)


@pytest.fixture(scope="module")
def wheel_library(wheels_path: Path) -> tuple[str, bytes]:
    """Return a library of Pillow's wheel, which needs another one."""
    files = read_zip(wheels_path).files
    name = next(each for each in files if each.startswith(f"{LIB}PIL/_webp") and ".so" in each)
    return name, files[name]


def audited(path: Path) -> str:
    """Return an audit's problems, a line each; the message, if it refuses the file."""
    try:
        return "\n".join(audit_zip(path).problems)
    except BuildError as error:
        assert REFUSED in str(error)
        return str(error)


def test_components_add_up_to_the_zip(wheels_path: Path) -> None:
    audit = audit_zip(wheels_path)
    assert audit.bytes == sum(component.packed for component in audit.components)
    names = {component.name for component in audit.components}
    assert names >= {"action", "numpy", "pillow", "ai-edge-litert"}


def foreign_code(index: bytes) -> bytes:
    return re.sub(b"[0-9a-f]{8}", struct.pack("<H", OTHER).hex().encode() + b"0d0a", index, count=1)


@pytest.mark.parametrize(
    ("kind", "name", "change", "problem"),
    [
        ("good", "nothing", None, ""),
        ("good", "__main__.py", None, "entries: expected __main__.py, found none"),
        ("good", "action/bootstrap.py", None, "entries: expected action/bootstrap.py, found none"),
        ("good", "exec", b"#!", "entries: exec: no file of this function"),
        ("good", INDEX, None, f"code files: the index of Python {HERE} cannot be read"),
        ("good", INDEX, b'{"magic": 5}', f"code files: the index of Python {HERE} cannot be read"),
        ("good", INDEX, foreign_code, f"code files: not the code of Python {HERE} (magic {OTHER})"),
        ("good", f"{LIB}x.so", b"\x7fELF", f"libraries: {LIB}x.so: not an ELF library"),
        ("good", SETTINGS, None, REFUSED),
        ("good", SETTINGS, b'{"labels": 5}', f"{REFUSED}not the settings of a model"),
        ("good", SETTINGS, lambda old: old.replace(b'.tflite"', b'"'), "model: expected model/"),
        ("good", "large", bytes(platform.zip_limit()), "size: expected at most 37748736 bytes"),
        ("precompiled", "nothing", None, ""),
        ("precompiled", "exec", None, "entries: expected exec, found none"),
        ("precompiled", "action/launcher.py", None, "entries: expected action/launcher.py, found"),
        ("precompiled", "main__.py", None, "entries: expected main__.py, found none"),
    ],
)  # fmt: skip
def test_faults_of_a_zip_are_found(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    name: str,
    change: bytes | Callable[[bytes], bytes] | None,
    problem: str,
) -> None:
    """Change the content of one file, or leave it out, with a manifest that lists the others."""
    files = dict(request.getfixturevalue(kind))
    before = files.pop(name, b"")
    if change is not None:
        files[name] = change if isinstance(change, bytes) else change(before)
    found = audited(write(with_manifest(files), tmp_path / "a.zip"))
    assert problem in found and bool(problem) == bool(found)


@pytest.mark.parametrize("mode", [0o120777, 0o100600])
def test_links_and_odd_modes_are_found(good: Files, tmp_path: Path, mode: int) -> None:
    found = audited(write(good, tmp_path / "a.zip", mode))
    assert f"entries: __main__.py: expected mode 100644, found {mode:o}" in found


def test_files_are_held_against_the_manifest(good: Files, tmp_path: Path) -> None:
    less = {name: content for name, content in good.items() if name != "LICENSES.txt"}
    for files, problem in (
        ({**good, SETTINGS: good[SETTINGS] + b" "}, "not the file that the manifest lists"),
        ({**good, "action/more.py": b""}, "manifest: action/more.py: not in the manifest"),
        (less, "manifest: LICENSES.txt: in the manifest, not in the zip"),
    ):
        assert problem in audited(write(files, tmp_path / "a.zip"))


@pytest.mark.parametrize(
    "name",
    [
        *("=evil.py", "evil.py", "json.py", "sitecustomize.py", "✓ size", "x" * 300),
        *("\x1b[2Jevil.py", "a\nb.py", "\u202eyp.live", "a\\b.py", "./evil.py", "C:evil.py"),
        *("../escape.py", "/etc/passwd", "Manifest.json", "x/", " ", ".", "PACKED.ZIP"),
        *("action/__pycache__/evil.cpython-311.pyc", "packed.zip/x", "main__.py"),
        *("requirements.txt", "virtualenv/bin/activate_this.py"),
    ],
)
def test_added_file_is_found_and_printable(good: Files, tmp_path: Path, name: str) -> None:
    """Find what the platform would unpack even if the manifest lists it; show it without harm."""
    found = audited(write(with_manifest({**good, name: b"evil"}), tmp_path / "a.zip"))
    assert found
    assert found.replace("\n", "").isprintable()


def test_name_in_both_zips_is_refused(tmp_path: Path) -> None:
    """The platform would run one of the files, and the audit check the other."""
    both = [Entry("__main__.py", b"", "", outside=outside) for outside in (True, False)]
    write_zip(both, tmp_path / "a.zip")
    assert "__main__.py is there twice" in audited(tmp_path / "a.zip")


def test_damaged_bytes_are_noticed(good: Files, tmp_path: Path) -> None:
    """Turn bits, overwrite, cut out, insert and repeat bytes, also in the zips' directories."""
    path = write(good, tmp_path / "a.zip")
    content = path.read_bytes()
    rng = random.Random(5)
    end = len(content)
    inner = content.rfind(b"PK\5\6", 0, end - 22)
    places = [rng.randrange(end) for _ in range(60)]
    places += [end - 1 - rng.randrange(2500) for _ in range(40)]
    places += [inner + 21 - rng.randrange(2500) for _ in range(40)]
    for at in places:
        before, some, after = content[:at], content[at : at + rng.randint(1, 30)], content[at:]
        changed = rng.choice(
            (
                before + bytes([after[0] ^ 1 << rng.randrange(8)]) + after[1:],
                before + after[len(some) :],
                before + rng.randbytes(len(some)) + after,
                before + some + after,
            )
        )
        path.write_bytes(changed)
        assert changed == content or audited(path), at
    for changed in (b"#!/bin/sh\n" + content, content + b"\n", content * 2, content[:-1], b""):
        path.write_bytes(changed)
        assert audited(path)


@pytest.mark.parametrize(
    "changes",
    [
        *({"python": each} for each in ("3.11", [["3.11"]], ["2.7"], [HERE, "9.9"], [])),
        *({"memory": each} for each in ("128", True)),
        *({"executionEnv": None}, {"more": 1}, {"schema": 1}, {"parts": [{}]}),
        *(b'{"parts": [], "parts": []}', b"[" * 100_000, b'"\\ud800"'),
    ],
)
def test_manifest_of_another_form_is_refused(good: Files, tmp_path: Path, changes: Any) -> None:
    content = changes
    if isinstance(changes, dict):
        manifest = {**json.loads(good[MANIFEST]), **changes}
        content = json.dumps(manifest, separators=(",", ":")).encode()
    assert REFUSED in audited(write({**good, MANIFEST: content}, tmp_path / "a.zip"))


@pytest.mark.parametrize(
    ("files", "size", "method", "reason"),
    [
        (6, 100 << 20, zipfile.ZIP_DEFLATED, "more than 2000 files or 536870912 bytes"),
        (70_000, 0, zipfile.ZIP_STORED, "more than 2000 files or 536870912 bytes"),
        (1, 2000, zipfile.ZIP_LZMA, f"compression method {zipfile.ZIP_LZMA}"),
    ],
)
def test_zip_of_another_kind_is_refused(
    tmp_path: Path, files: int, size: int, method: int, reason: str
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for number in range(files):
            archive.writestr(f"{number}", bytes(size))
    assert reason in audited(path)


def test_libraries_that_the_runtime_cannot_load_are_found(
    wheel_library: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = wheel_library
    renamed = name.replace(f"cpython-{HERE.replace('.', '')}", "cpython-39")
    arm = content[:18] + struct.pack("<H", 183) + content[20:]
    monkeypatch.setitem(platform.kind_of(HERE)["symbols"], "GLIBC", "2.2")
    for path, changed, problem in (
        (name, content, "needs libwebp-"),
        (name, content, "has GLIBC_2.2"),
        (renamed, content, "built for cpython-39"),
        (name, arm, "expected x86_64, found EM_AARCH64"),
        (name, content[:1000], "not an ELF library"),
    ):
        assert problem in "\n".join(check_libraries({path: changed}, [HERE], compiled=()))


def test_compiled_libraries_are_held_to_more(
    good: Files, wheel_library: tuple[str, bytes], tmp_path: Path
) -> None:
    name, content = wheel_library
    files = with_manifest({**good, name: content}, compiled=True)
    problems = audited(write(files, tmp_path / "a.zip"))
    assert "needs libpthread.so.0: expected no more than" in problems
    assert "exports ImagingSectionEnter: expected only PyInit_*" in problems


C_SOURCE = """
#include <assert.h>
int PyInit_it(int n) { assert(n); return n; }
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc on this machine")
@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("-Wl,-rpath,/opt/lib", "looks for libraries in /opt/lib: expected no RPATH"),
        ("-Wl,-z,execstack", "asks for an executable stack"),
        ("-Wl,-z,norelro", "its relocated data stays writable: expected RELRO"),
        ("-Dother=1", "contains the path /"),
        ("-ffile-prefix-map={folder}=.", ""),
    ],
)
def test_faults_of_compiling_are_found(tmp_path: Path, flag: str, problem: str) -> None:
    source, target = tmp_path / "it.c", tmp_path / "it.so"
    source.write_text(C_SOURCE)
    command = ["gcc", "-shared", "-fPIC", "-Wl,-z,relro", flag.format(folder=tmp_path)]
    subprocess.run([*command, str(source), "-o", str(target)], check=True, cwd=tmp_path)
    path = f"{LIB}it.so"
    problems = "\n".join(check_libraries({path: target.read_bytes()}, [HERE], compiled={path}))
    assert problems.startswith(f"{path}: {problem}" if problem else "")
    assert bool(problem) == bool(problems)


@pytest.mark.parametrize("option", ["", "--quiet", "--json"])
def test_failed_check_exits_with_1_and_names_the_fault(
    good: Files, tmp_path: Path, option: str
) -> None:
    bad = write(with_manifest({**good, "requirements.txt": b""}), tmp_path / "bad.zip")
    command = [sys.executable, "build_zip.py", "check", str(bad), *option.split()]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "requirements.txt: no file of this function" in failed.stderr + failed.stdout
