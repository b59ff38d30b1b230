"""The zip as a file: deterministic, small enough, complete, and never half-written."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

from action.bootstrap import PackedZip, run_in_background
from builder import build
from builder.artifact import actionloop, bytecode, modules
from builder.artifact.bytecode import compile_modules
from builder.base import archive, cpython, files
from builder.base.archive import DATE, Entry
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.paths import ACTION, ROOT
from builder.base.toml import read_toml
from builder.packages.prune import PRUNE, apply_rules
from builder.packages.wheels import read_pins
from tests.conftest import EACH_PYTHON, HERE, IMAGE, PYTHONS, at_hand, clone
from tests.support.models import ColourModel

CACHED = f"cpython-{HERE.replace('.', '')}"
LARGE = bytes(range(256)) * 4000
ENTRIES = [
    Entry("noise", bytes((i * i * 7919 >> 7) % 256 for i in range(5000)), "action"),
    Entry("__main__.py", b"def main(params): return params\n", "action", outside=True),
    Entry("empty", b"", "action", outside=True),
    Entry("large", LARGE, "action", compressed=archive.compress(LARGE)),
]


def write(entries: list[Entry], target: Path) -> None:
    archive.write_zip(entries, target)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    write(ENTRIES, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as outer:
        assert outer.testzip() is None
        assert outer.namelist() == ["__main__.py", "empty", "packed.zip"]
        assert outer.getinfo("packed.zip").compress_type == zipfile.ZIP_STORED
    contents = archive.read_zip(tmp_path / "a.zip")
    assert contents.files == {entry.path: entry.content for entry in ENTRIES}
    assert contents.outside == ["__main__.py", "empty", "packed.zip"]
    infos = {info.filename: info for info in contents.infos}
    assert infos.keys() == contents.files.keys()
    assert infos["large"].compress_size < 5000
    for info in contents.infos:
        how = zipfile.ZIP_DEFLATED if info.filename == "large" else zipfile.ZIP_STORED
        assert info.compress_type == how
        assert info.date_time == DATE
        assert stat.S_IMODE(info.external_attr >> 16) == 0o644
    if not shutil.which("unzip"):
        return
    listed = subprocess.run(["unzip", "-tq", str(tmp_path / "a.zip")], capture_output=True)
    assert listed.returncode == 0, listed.stdout


def test_the_function_reads_what_is_written(tmp_path: Path) -> None:
    """By its own few lines; as files, too, whether a thread writes them or not."""
    write(ENTRIES, tmp_path / "a.zip")
    shutil.unpack_archive(tmp_path / "a.zip", tmp_path)
    packed = PackedZip(str(tmp_path))
    contents = {entry.path: entry.content for entry in ENTRIES if not entry.outside}
    assert packed.members.keys() == contents.keys()
    assert {name: packed.read(name) for name in contents} == contents
    run_in_background(packed.extract, ["large", "nothing", "noise"])
    assert Path(packed.extract("noise")).read_bytes() == contents["noise"]
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"nothing is not in packed\.zip"):
            packed.extract("nothing")
        assert Path(packed.extract("large")).read_bytes() == contents["large"]
    (tmp_path / "large").write_bytes(b"half of it")
    assert Path(packed.extract("large")).read_bytes() == contents["large"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "__main__.py", "a.zip", "empty", "large", "noise", "packed.zip",
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.9, 0.999])
def test_a_packed_zip_that_is_cut_short(tmp_path: Path, share: float) -> None:
    write(ENTRIES, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as outer:
        content = outer.read("packed.zip")
    (tmp_path / "packed.zip").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="truncated"):
        PackedZip(str(tmp_path))


def test_same_bytes_whatever_the_time_and_umask(tmp_path: Path) -> None:
    first = tmp_path / "first.zip"
    write(ENTRIES, first)
    old = os.umask(0o077)
    try:
        time.sleep(2.1)  # zip dates count in steps of two seconds
        write(ENTRIES[::-1], tmp_path / "second.zip")
    finally:
        os.umask(old)
    assert first.read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.zip"
    with files.atomic_write(target) as part:
        part.write_bytes(b"old")
    with pytest.raises(RuntimeError), files.atomic_write(target) as part:
        part.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_full_disk(small_disk: Path, tmp_path: Path, colour_labels: Path) -> None:
    """The whole tool: a clear error, nothing left, and the next run succeeds."""
    model = ColourModel("uint8").write(tmp_path / "m.tflite")
    command = [sys.executable, "build_zip.py", "--model", str(model), "--quiet"]
    command += [
        "--labels",
        str(colour_labels),
        "--no-smoke",
        "--no-keep",
        "--runtime",
        "wheels",
        "--output",
    ]
    full = subprocess.run(
        [*command, str(small_disk / "dist" / "a.zip")], cwd=ROOT, capture_output=True, text=True
    )
    assert full.returncode == 1
    assert "a.zip: No space left on device" in full.stderr
    assert "free some space" in full.stderr
    assert not list(small_disk.rglob("*.*"))
    again = subprocess.run([*command, str(tmp_path / "a.zip")], cwd=ROOT, capture_output=True)
    assert again.returncode == 0, again.stderr
    assert zipfile.is_zipfile(tmp_path / "a.zip")


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BuildError, match="cannot write .*a.zip"):
        with files.atomic_write(tmp_path / "file" / "a.zip"):
            pass


def test_what_is_in(wheels_path: Path) -> None:
    assert wheels_path.stat().st_size <= 31_000_000
    contents = archive.read_zip(wheels_path)
    names = [info.filename for info in contents.infos]
    manifest = json.loads(contents.files["manifest.json"])
    licences = contents.files["LICENSES.txt"].decode()
    assert contents.outside == sorted(contents.outside)
    assert set(contents.outside) == {
        *("__main__.py", "packed.zip"),
        *(f"action/{name}.py" for name in FIRST),
        *(f"action/__pycache__/{name}.{CACHED}.pyc" for name in FIRST),
    }
    assert not [name for name in names if "/cli." in name or "tests/" in name or "f2py" in name]
    assert set(names) - set(contents.outside) == {
        *(name for name in names if name.startswith(("lib/", "model/"))),
        *("manifest.json", "LICENSES.txt", "sbom.cdx.json"),
        *(f"action/{name}.py" for name in own_modules()),
        *(f"action/{path.name}" for path in ACTION.glob("*.html")),
    }
    parts = {part["name"]: part for part in manifest["parts"]}
    for name in ("ai-edge-litert", "numpy", "pillow"):
        assert parts[name]["version"]
        assert parts[name]["python"] == HERE
        assert re.fullmatch("[0-9a-f]{64}", parts[name]["sha256"])
        assert parts[name]["licence"] in licences
    for text in ("Apache License", "OpenBLAS", "LIBJPEG", "Permission is hereby granted"):
        assert text in licences


FIRST = {"__init__", "bootstrap"}
"""Modules of `action/` that are imported before others can be, and ship beside `packed.zip`."""


def own_modules() -> set[str]:
    """The modules of `action/` that may ship in `packed.zip`."""
    return {path.stem for path in ACTION.glob("*.py")} - {"__main__", "launcher"} - FIRST


def test_what_is_in_a_precompiled_zip(zip_path: Path, precompiled_path: Path) -> None:
    """What the portable zip has, with what the runtime would have made of it."""
    one, other = archive.read_zip(zip_path), archive.read_zip(precompiled_path)
    names, more = one.files.keys(), other.files.keys()
    assert names - more == {"__main__.py"}
    launcher = {"action/launcher.py", f"action/__pycache__/launcher.{CACHED}.pyc"}
    assert more - names == {"main__.py", "exec", "exec.env"} | launcher
    assert launcher < set(other.outside)
    assert other.files["main__.py"] == one.files["__main__.py"]
    differing = {n for n in names & more if one.files[n] != other.files[n]}
    assert differing == {"manifest.json"}
    assert other.files["exec.env"] == IMAGE.encode()
    assert json.loads(other.files["manifest.json"])["executionEnv"] == IMAGE
    own = {
        name for name in modules.read_index(other.files, HERE).modules if name.startswith("action.")
    }
    assert own == {f"action.{name}" for name in own_modules()}


def test_modules_ship_as_code(wheels_path: Path) -> None:
    """All of each package's; and nothing that Python would compile again."""
    contents = archive.read_zip(wheels_path).files
    lib = modules.library_folder(HERE)
    names = set(modules.read_index(contents, HERE).modules)
    assert {"numpy", "numpy._core.multiarray", "numpy._core._multiarray_umath"} <= names
    assert {"PIL", "PIL.JpegImagePlugin", "PIL._imaging", "action.activation"} <= names
    streams = {name.removeprefix(lib) for name in contents if name.endswith(".code")}
    packages = ("action", "ai-edge-litert", "numpy", "pillow")
    assert {stream.partition(".")[0] for stream in streams} == set(packages)
    assert [
        name for name in contents if name.startswith(lib) and name.endswith((".py", ".pyc"))
    ] == []


def test_bill_of_materials(zip_path: Path) -> None:
    """The maintained library reads it back, with the manifest's parts, versions and hashes."""
    contents = archive.read_zip(zip_path).files
    manifest = json.loads(contents["manifest.json"])
    bom = Bom.from_json(json.loads(contents["sbom.cdx.json"]))  # type: ignore[attr-defined]
    found = {c.name: (c.version or "", {h.content for h in c.hashes}) for c in bom.components}
    assert found == {
        part["name"]: (part["version"], {part["sha256"]}) for part in manifest["parts"][1:]
    }
    assert bom.metadata.component.name == "action"


@pytest.mark.parametrize("kind", ["zip_path", "wheels_path"])
def test_no_path_of_this_machine(request: pytest.FixtureRequest, kind: str) -> None:
    """The code files name files as they are in the zip."""
    home = str(ROOT).encode()
    for name, content in archive.read_zip(request.getfixturevalue(kind)).files.items():
        if not name.endswith((".so", ".tflite")) and ".so." not in name:
            assert home not in content, name
            assert b"/tmp/" not in content or name.startswith("lib/"), name


def test_the_removal_lists_are_alive() -> None:
    """Each pattern removes or keeps something from a wheel of some Python; each has a reason."""
    from builder.base.paths import DOWNLOADS

    rules = read_toml(PRUNE)
    for package in read_pins()["wheels"]["package"]:
        wheels = [DOWNLOADS / pin["file"] for pin in package["files"].values()]
        names = {
            name for wheel in wheels if wheel.exists() for name in zipfile.ZipFile(wheel).namelist()
        }
        everywhere = all(wheel.exists() for wheel in wheels)
        for kind in ("keep", "drop"):
            for rule in rules[package["name"]][kind]:
                assert len(rule["reason"]) > 5
                for pattern in rule["paths"] if everywhere else ():
                    alone = {"keep": [{"paths": [pattern]}], "drop": []}
                    assert apply_rules(alone, names), (
                        f"{package['name']}: {pattern} matches nothing"
                    )


@pytest.mark.parametrize(
    ("python", "execution_env", "provider"),
    [
        *(pytest.param(*each.values, "", "", marks=each.marks) for each in EACH_PYTHON),
        *(pytest.param(*each.values, IMAGE, "", marks=each.marks) for each in EACH_PYTHON),
        (HERE, "", "wheels"),
    ],
)
def test_code_files_are_the_same_each_time(
    make_zip: Callable[..., Path],
    imagenet_model: str,
    python: str,
    execution_env: str,
    provider: str,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each Python compiles to the same bytes again, with sets and all."""
    monkeypatch.setattr(bytecode, "CODES", tmp_path / "codes")  # not what the first build kept
    provider = provider or at_hand([python])
    first = make_zip(python, imagenet_model, provider=provider, execution_env=execution_env)
    config = build.BuildConfig(
        (python,),
        tmp_path / "again.zip",
        imagenet_model,
        provider=provider,
        execution_env=execution_env,
        smoke=False,
        keep=False,
    )
    build.build(config, console)
    one, other = archive.read_zip(first).files, archive.read_zip(tmp_path / "again.zip").files
    assert [name for name in one if one[name] != other[name]] == []
    assert (tmp_path / "again.zip").read_bytes() == first.read_bytes()


def test_two_builds_in_two_folders(
    zip_path: Path, precompiled_path: Path, imagenet_model: str, tmp_path: Path
) -> None:
    """Another checkout, another time, the real command: the same bytes."""
    checkout = clone(tmp_path / "elsewhere" / "checkout")
    model = str((ROOT / imagenet_model).resolve()) if "/" in imagenet_model else imagenet_model
    command = [sys.executable, "build_zip.py", "--model", model, "--python", HERE, "--json"]
    command += ["--quiet", "--runtime", at_hand()]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (checkout / "dist" / "classify.zip").read_bytes() == zip_path.read_bytes()
    command += ["--precompiled", "--execution-env", IMAGE, "--output", "p.zip", "--no-keep"]
    again = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert (checkout / "p.zip").read_bytes() == precompiled_path.read_bytes()
    report = json.loads(done.stdout)
    assert report["smoke"][HERE]["results"][0]["className"] == "espresso"
    assert report["ok"]
    answered = subprocess.run(
        [sys.executable, "-m", "action", "builder/artifact/sample/espresso.jpg"],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert json.loads(answered.stdout)["results"] == [
        {key: result[key] for key in ("className", "probability")}
        for result in report["smoke"][HERE]["results"]
    ]


def test_without_an_interpreter_for_it(
    tmp_path: Path,
    console: Console,
    colour_labels: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_zip: Callable[..., Path],
) -> None:
    """No Python of that version here: the zip has sources, still answers, and it is said aloud."""
    from builder.model.resolve import ModelOptions
    from tests.conftest import PLUS_MINUS_ONE, base64_of, encoded, interpreter, plain

    path = interpreter(HERE)
    monkeypatch.setattr(cpython, "find_python", lambda version: None)
    model = ColourModel().write(tmp_path / "m.tflite")
    output = tmp_path / "a.zip"
    config = build.BuildConfig(
        (HERE,),
        output,
        str(model),
        ModelOptions(colour_labels, PLUS_MINUS_ONE),
        provider="wheels",
        keep=False,
    )
    outcome = build.build(config, console)
    assert outcome.smoke == {}
    said = capsys.readouterr().err
    assert f"Python {HERE} is not installed: the modules are not byte-compiled" in said
    assert "not invoked" in said
    contents = archive.read_zip(output).files
    assert not [name for name in contents if name.endswith(".pyc")]
    index = modules.read_index(contents, HERE)
    assert index.magic == 0
    assert {"numpy", "action.activation"} <= set(index.modules)
    with actionloop.start_action(output, path) as running:
        answer = running.run({"image": base64_of(encoded(plain("red")))})
    assert answer["results"][0]["className"] == "red"


def test_modules_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a source, or its name in tracebacks, is another."""
    monkeypatch.setattr(bytecode, "CODES", tmp_path / "codes")
    found = cpython.find_python(HERE)
    assert found
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("x = 1")
    other.write_text("")
    files_ = {"lib/one.py": one, "lib/other.py": other}
    first = compile_modules(found, files_)
    assert list(first) == ["lib/one.py", "lib/other.py"]
    [path] = (tmp_path / "codes").iterdir()
    before = path.stat().st_mtime_ns
    assert compile_modules(found, files_) == first
    assert path.stat().st_mtime_ns == before
    one.write_text("x = 2")
    second = compile_modules(found, files_)
    assert second["lib/one.py"] != first["lib/one.py"]
    assert second["lib/other.py"] == first["lib/other.py"]
    renamed = compile_modules(found, {"lib/1.py": one, "lib/other.py": other})
    assert b"lib/1.py" in renamed["lib/1.py"]
    one.write_text("x =")
    with pytest.raises(BuildError, match="byte-compiling failed"):
        compile_modules(found, files_)
    assert len(list((tmp_path / "codes").iterdir())) == 3


@pytest.mark.parametrize("python", PYTHONS)
def test_docstrings_go_and_assertions_stay(tmp_path: Path, python: str) -> None:
    found = cpython.find_python(python)
    if found is None:
        pytest.skip(f"no Python {python} on this machine")
    source = tmp_path / "m.py"
    source.write_text(
        '"""Of the module."""\n'
        "class C:\n    'Of the class.'\n    def f(self):\n        'Of f.'\n        return 'data'\n"
        "def g():\n    f'not {1} docstring'\n"
        "try:\n    assert False, 'stays'\nexcept AssertionError as error:\n    said = error\n"
    )
    codes = compile_modules(found, {"lib/m.py": source})
    (tmp_path / "m.pyc").write_bytes(codes["lib/m.py"])
    source.unlink()
    said = subprocess.run(
        [found.path, "-I", "-c", "import sys; sys.path.insert(0, sys.argv[1]); import m;"
         "print([m.__doc__, m.C.__doc__, m.C.f.__doc__, m.g.__doc__, m.C().f(), str(m.said)])",
         str(tmp_path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert ast.literal_eval(said) == ["", "", "", None, "data", "stays"]
