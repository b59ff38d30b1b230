"""The audit: a good zip passes, each fault is found and named, and nothing foreign passes.

Every zip here is ours with something changed; each is refused, or has a problem.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.artifact import modules, platform
from builder.artifact.audit import audit_zip
from builder.artifact.libraries import check_libraries
from builder.artifact.manifest import MANIFEST
from builder.base.archive import read_zip
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from tests.conftest import EACH_PYTHON, HERE, IMAGE, PYTHONS, interpreter
from tests.support.zips import Files, with_manifest, without_libraries, write

LIB = modules.library_folder(HERE)
INDEX = LIB + modules.INDEX
STREAM = f"{LIB}numpy.code"
PYC = f"action/__pycache__/bootstrap.cpython-{HERE.replace('.', '')}.pyc"
MAGIC = {python: platform.kind_of(python)["magic"] for python in PYTHONS}
OTHER = next(MAGIC[python] for python in PYTHONS if python != HERE)
FOREIGN = struct.pack("<H", OTHER)
NOT_OURS = f"not the code of Python {HERE} (magic {OTHER})"
ENVIRONMENT = "exec.env: expected the image's OW_EXECUTION_ENV"
SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def good(zip_path: Path) -> Files:
    """Return the files of a zip that passes, without libraries and with a model of a few bytes."""
    files = without_libraries(read_zip(zip_path).files)
    model = next(name for name in files if name.endswith(".tflite"))
    return with_manifest({**files, model: files[model][:2000]})


@pytest.fixture(scope="module")
def good_path(good: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(good, tmp_path_factory.mktemp("good") / "a.zip")


@pytest.fixture(scope="module")
def precompiled(precompiled_path: Path) -> Files:
    """Return the files of a precompiled zip that passes, without its libraries."""
    return without_libraries(read_zip(precompiled_path).files)


@pytest.fixture(scope="module")
def wheel_library(wheels_path: Path) -> tuple[str, bytes]:
    """Return a library of Pillow's wheel, which needs another one."""
    files = read_zip(wheels_path).files
    name = next(each for each in files if each.startswith(f"{LIB}PIL/_webp") and ".so" in each)
    return name, files[name]


def problems(path: Path) -> list[str]:
    """Return an audit's problems; the message, if it refuses the file."""
    try:
        return audit_zip(path).problems
    except BuildError as error:
        assert "is not a complete zip of build_zip.py" in str(error)
        return [str(error)]


def audited(files: Files, tmp_path: Path) -> str:
    """Return all problems of a zip with these files, a line each."""
    return "\n".join(problems(write(files, tmp_path / "a.zip")))


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_zip_of_wheels_passes(
    make_zip: Callable[..., Path], imagenet_model: str, python: str
) -> None:
    audit = audit_zip(make_zip(python, imagenet_model, provider="wheels"))
    assert audit.problems == []
    assert audit.manifest.pythons == (python,)
    assert audit.bytes == sum(component.packed for component in audit.components)
    names = {component.name for component in audit.components}
    assert names >= {"action", "numpy", "pillow", "ai-edge-litert"}


def test_zip_without_libraries_passes(good_path: Path) -> None:
    assert problems(good_path) == []


def test_precompiled_zip_passes(precompiled: Files, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    audit = audit_zip(write(precompiled, path, executable=0o100755))
    assert audit.problems == []
    assert audit.manifest.execution_env == IMAGE
    assert problems(write(precompiled, path)) == [
        "entries: exec: expected mode 100755, found 100644"
    ]


@pytest.mark.parametrize("python", PYTHONS)
def test_magic_numbers_are_those_of_the_interpreters(python: str) -> None:
    code = "import importlib.util; print(importlib.util.MAGIC_NUMBER[:2].hex())"
    done = subprocess.run([interpreter(python), "-c", code], capture_output=True, text=True)
    assert int.from_bytes(bytes.fromhex(done.stdout.strip()), "little") == MAGIC[python]


@pytest.mark.parametrize("mode", [0o120777, 0o100600])
def test_links_and_odd_modes_are_found(good: Files, tmp_path: Path, mode: int) -> None:
    found = problems(write(good, tmp_path / "a.zip", mode))
    assert f"entries: __main__.py: expected mode 100644, found {mode:o}" in found


def test_files_are_held_against_the_manifest(good: Files, tmp_path: Path) -> None:
    changed = {**good, "model/model.json": good["model/model.json"] + b" "}
    assert "model/model.json: not the file that the manifest lists" in audited(changed, tmp_path)
    assert "manifest: more.py: not in the manifest" in audited({**good, "more.py": b""}, tmp_path)
    less = {name: content for name, content in good.items() if name != "LICENSES.txt"}
    assert "manifest: LICENSES.txt: in the manifest, not in the zip" in audited(less, tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("__main__.py", b"def main(params:", "entry point: __main__.py does not parse"),
        ("__main__.py", b"def run(p): ...", "entry point: __main__.py defines no main(params)"),
        ("__main__.py", None, "entries: expected __main__.py, found none"),
        ("LICENSES.txt", None, "entries: expected LICENSES.txt, found none"),
        ("lib/2.7/a.code", b"", "code files: lib/2.7/a.code: no index names it"),
        (STREAM, None, f"code files: {INDEX} names {STREAM}, which is missing"),
        (STREAM, lambda old: b"", f"code files: {STREAM} is truncated"),
        (STREAM, lambda old: old[:100], f"code files: {STREAM} is truncated"),
        (INDEX, lambda old: b"", f"code files: {INDEX} cannot be read"),
        (INDEX, lambda old: old[:100], f"code files: {INDEX} cannot be read"),
        (INDEX, lambda old: re.sub(b"[0-9a-f]{8}", FOREIGN.hex().encode() + b"0d0a", old, count=1),
         f"code files: {LIB}: {NOT_OURS}"),
        (PYC, lambda old: FOREIGN + old[2:], f"code files: {PYC}: {NOT_OURS}"),
        (PYC, lambda old: old[:4] + bytes(12) + old[16:], f"{PYC}: would be stale after unzipping"),
        (PYC.replace(".cpython-", ".cpython-2"), b"", "for none of the zip's Python versions"),
        ("model/model.json", None, "model: expected model/model.json and the model it names"),
        ("model/model.json", b"{", "model: expected model/model.json and the model it names"),
        ("exec", b"import sys", "entry point: exec: expected a script that begins with #!"),
        ("exec", None, "entries: expected exec, found none"),
        ("exec.env", None, f"entry point: {ENVIRONMENT}, found ''"),
        ("exec.env", b"other", f"entry point: {ENVIRONMENT}, found 'other'"),
        ("action/launcher.py", None, "entries: expected action/launcher.py, found none"),
        ("main__.py", None, "entries: expected main__.py, found none"),
    ],
)  # fmt: skip
def test_faults_of_a_zip_are_found(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, change: Any, problem: str
) -> None:
    """Change the content of one file, or leave it out, with a manifest that lists the others."""
    only_precompiled = {"exec", "exec.env", "main__.py", "action/launcher.py"}
    files = request.getfixturevalue("precompiled" if name in only_precompiled else "good")
    content = change(files[name]) if callable(change) else change
    others = {each: files[each] for each in files if each != name}
    changed = others if content is None else {**others, name: content}
    assert problem in audited(with_manifest(changed), tmp_path)


def test_zip_over_the_limit_is_found(good: Files, tmp_path: Path) -> None:
    large = with_manifest({**good, "large": os.urandom(platform.zip_limit())})
    assert "size: expected at most 37748736 bytes" in audited(large, tmp_path)


def test_libraries_that_the_runtime_cannot_load_are_found(
    good: Files, wheel_library: tuple[str, bytes], tmp_path: Path
) -> None:
    name, content = wheel_library
    renamed = name.replace(f"cpython-{HERE.replace('.', '')}", "cpython-39")
    arm = content[:18] + struct.pack("<H", 183) + content[20:]
    for path, changed, problem in (
        (name, content, "needs libwebp-"),
        (renamed, content, "built for cpython-39"),
        (name, arm, "expected x86_64, found EM_AARCH64"),
        (name, content[:1000], "not an ELF library"),
    ):
        assert problem in audited(with_manifest({**good, path: changed}), tmp_path)


def test_symbols_newer_than_the_platform_are_found(
    wheels_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(platform.kind_of(HERE)["symbols"], "GLIBC", "2.2")
    assert any("has GLIBC_2.2" in problem for problem in audit_zip(wheels_path).problems)


def test_compiled_libraries_are_held_to_more(
    good: Files, wheel_library: tuple[str, bytes], tmp_path: Path
) -> None:
    name, content = wheel_library
    problems = audited(with_manifest({**good, name: content}, compiled=True), tmp_path)
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
    problems, _ = check_libraries({path: target.read_bytes()}, [HERE], compiled={path})
    if problem:
        assert any(each.startswith(f"{path}: {problem}") for each in problems), problems
    else:
        assert problems == []


def test_damaged_bytes_are_noticed(good_path: Path, tmp_path: Path) -> None:
    """Turn bits, overwrite, cut out, insert and repeat bytes, also in the zips' directories."""
    content = good_path.read_bytes()
    rng = random.Random(5)
    path = tmp_path / "a.zip"
    end = len(content)
    inner = content.rfind(b"PK\5\6", 0, end - 22)
    places = [rng.randrange(end) for _ in range(100)]
    places += [end - 1 - rng.randrange(2500) for _ in range(80)]
    places += [inner + 21 - rng.randrange(2500) for _ in range(80)]
    for at in places:
        some = content[at : at + rng.choice((1, 2, 4, 30))]
        changed = rng.choice(
            (
                content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
                content[:at] + rng.randbytes(4) + content[at + 4 :],
                content[:at] + content[at + len(some) :],
                content[:at] + rng.randbytes(len(some)) + content[at:],
                content[:at] + some + content[at:],
            )
        )
        path.write_bytes(changed)
        assert changed == content or problems(path), at


def test_missing_bytes_and_bytes_around_the_entries_are_noticed(
    good_path: Path, tmp_path: Path
) -> None:
    content = good_path.read_bytes()
    path = tmp_path / "a.zip"
    start = struct.unpack("<L", content[-6:-2])[0]
    for changed in (
        b"#!/bin/sh\nrm -rf /\n" + content,
        content + b"\n",
        content[:-2] + struct.pack("<H", 5) + b"hello",
        content[:start] + b"hidden" + content[start:-6] + struct.pack("<LH", start + 6, 0),
        content + content,
        *(content[: len(content) * tenths // 10] for tenths in (0, 3, 7)),
        content[:-1],
    ):
        path.write_bytes(changed)
        assert problems(path)


@pytest.mark.parametrize("place", ["outside", "inside"])
@pytest.mark.parametrize(
    "name",
    [
        *("=evil.py", "evil.py", "json.py", "sitecustomize.py", "✓ size", "é.py", "x" * 300),
        *("\x1b[2Jevil.py", "a\nb.py", "\u202eyp.live", "a\\b.py", "./evil.py", "a//b.py"),
        *("C:evil.py", "../escape.py", "/etc/passwd", "action/../evil.py", "action/evil.py"),
        *("lib/evil.py", "lib/9.9/x.py", "model/evil.py", "Manifest.json", "x/", " ", "."),
        *("action/__pycache__/evil.cpython-311.pyc", "PACKED.ZIP", "packed.zip/x", "exec"),
        *("main__.py", "requirements.txt", "virtualenv/bin/activate_this.py"),
    ],
)
def test_added_file_is_found_and_printable(
    good: Files, tmp_path: Path, name: str, place: str
) -> None:
    """Find a file more even if the manifest lists it; show its name without harm."""
    more = with_manifest({**good, name: b"print('evil')\n"})
    found = problems(write(more, tmp_path / "a.zip", places={name: place}))
    assert found
    assert all(line.isprintable() for line in found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@settings(max_examples=100, **SLOW)  # type: ignore[arg-type]
@given(data=st.data())
def test_any_manifest_is_read_or_refused(
    good: Files, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    """Put anything in place of values, keys and lists; a file more is always found."""
    manifest = json.loads(good[MANIFEST])
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(list(_list_places(manifest))))
        change = data.draw(st.sampled_from(["set", "delete", "rename"]))
        if change == "set":
            holder[key] = data.draw(JSON)
        elif change == "delete":
            del holder[key]
        elif isinstance(holder, dict):
            holder[data.draw(st.text(max_size=8))] = holder.pop(key)
        if not isinstance(manifest, dict) or not list(_list_places(manifest)):
            break
    content = json.dumps(manifest, separators=(",", ":")).encode()
    changed = {**good, MANIFEST: content, "action/evil.py": b""}
    assert problems(write(changed, tmp_path_factory.mktemp("manifests") / "a.zip"))


def _list_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (holder, key) of values in JSON, but few of the many files."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for number, (key, inner) in enumerate(list(items)):
        if number < 12:
            yield value, key
        if isinstance(inner, (dict, list)) and number < 4:
            yield from _list_places(inner)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({"python": each}, "not a manifest of schema 2") for each in ("3.11", [["3.11"]])),
        *(({"memory": each}, "not a manifest of schema 2") for each in ("128", True)),
        ({"executionEnv": None}, "not a manifest of schema 2"),
        ({"more": 1}, "not a manifest of schema 2"),
        ({"schema": 1}, "not a manifest of schema 2"),
        ({"parts": [{}]}, "not a manifest of schema 2"),
        ({"python": ["2.7"]}, r"expected Python 3\.10, .*, found 2\.7"),
        ({"python": [HERE, "9.9"]}, r"expected Python 3\.10, .*, found \d"),
        ({"python": []}, r"expected Python 3\.10, .*, found none"),
    ],
)
def test_manifest_of_another_form_is_refused(
    good: Files, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    manifest = {**json.loads(good[MANIFEST]), **changes}
    content = json.dumps(manifest, separators=(",", ":")).encode()
    with pytest.raises(BuildError, match=reason):
        audit_zip(write({**good, MANIFEST: content}, tmp_path / "a.zip"))


def test_json_that_readers_take_differently_is_refused(good: Files, tmp_path: Path) -> None:
    text = good[MANIFEST].decode()
    for changed in (
        text.replace('"parts"', '"parts": [], "parts"', 1),
        "[" * 100_000,
        '{"schema": ' + "1" * 5000 + "}",
        text.replace('"python"', '"py\\ud800thon"', 1),
    ):
        with pytest.raises(BuildError, match="not a manifest of schema 2"):
            audit_zip(write({**good, MANIFEST: changed.encode()}, tmp_path / "a.zip"))


@pytest.mark.parametrize(
    ("files", "size", "method", "reason"),
    [
        (6, 100 << 20, zipfile.ZIP_DEFLATED, "more than 2000 files or 536870912 bytes"),
        (70_000, 0, zipfile.ZIP_STORED, "more than 2000 files or 536870912 bytes"),
        (1, 2000, zipfile.ZIP_BZIP2, f"compression method {zipfile.ZIP_BZIP2}"),
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
    with pytest.raises(BuildError, match=reason):
        audit_zip(path)


def test_libraries_and_settings_of_any_bytes_are_found(good: Files, tmp_path: Path) -> None:
    rng = random.Random(6)
    for number in range(60):
        junk = rng.choice([b"\x7fELF", b"", b"{", b"[1", b'{"labels": 5}', b"[]", b"null", b'"x"'])
        junk += rng.randbytes(rng.choice((0, 0, 5, 200)))
        name = rng.choice(["model/model.json", f"lib/{HERE}/x.so", f"lib/{HERE}/index.json"])
        path = write(with_manifest({**good, name: junk}), tmp_path / f"{number}.zip")
        assert problems(path), (name, junk)


@pytest.mark.parametrize("option", ["", "--quiet", "--json"])
def test_failed_check_exits_with_1_and_names_the_fault(
    good: Files, tmp_path: Path, option: str
) -> None:
    bad = write(with_manifest({**good, "requirements.txt": b""}), tmp_path / "bad.zip")
    command = [sys.executable, "build_zip.py", "check", str(bad), *option.split()]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "requirements.txt: no file of this function" in failed.stderr + failed.stdout
