"""Bootstrap of a zip: its importer, tracebacks, and what it reports when the start fails."""

from __future__ import annotations

import re
import resource
import shutil
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from action.bootstrap import (
    JSON_HEADERS,
    IncompatibleError,
    PackedZip,
    error_handler,
    install_importer,
)
from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.paths import ACTION
from builder.packages import DEFAULT_OPTIONS
from builder.packages.providers import PROVIDERS
from tests.conftest import HERE, at_hand, base64_of, interpreter
from tests.support import zips
from tests.support.compiled import run_with_zip

LIB = f"lib/{HERE}"
ESPRESSO = base64_of(SAMPLE)


@pytest.fixture(scope="module", params=["zip_path", "precompiled_path"])
def unpacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portable or a precompiled zip, unpacked as the runtime does."""
    folder = tmp_path_factory.mktemp(request.param)
    actionloop.unpack_zip(request.getfixturevalue(request.param), folder)
    return folder


def running(folder: Path) -> closing[actionloop.RunningAction]:
    """Start the unpacked zip in `folder`, isolated."""
    return closing(actionloop.RunningAction(folder, interpreter(), {}, isolated=True))


# Leaves out what an earlier start has extracted.
without_extracted = shutil.ignore_patterns("lib", "model")


def write_packed_zip(folder: Path, files: zips.Files) -> None:
    """Write files to `packed.zip` in a folder."""
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_traceback_names_the_line_of_a_package(
    zip_path: Path, tmp_path: Path, console: Console
) -> None:
    code = (
        "import traceback; from PIL import Image\n"
        "try: Image.new('no such mode', (1, 1))\n"
        "except Exception: traceback.print_exc(file=sys.stdout)"
    )
    printed = run_with_zip(zip_path, HERE, code, tmp_path)
    match = re.search(rf'File "{LIB}/PIL/Image\.py", line (\d+), in new\n', printed)
    assert match, printed
    packages = PROVIDERS[at_hand()](HERE, DEFAULT_OPTIONS, console).folder
    source = (packages / "PIL" / "Image.py").read_text("utf-8")
    assert "core." in source.splitlines()[int(match[1]) - 1]


def test_packages_elsewhere_do_not_mix_with_ours(zip_path: Path, tmp_path: Path) -> None:
    (tmp_path / "PIL").mkdir()
    for name in ("numpy.py", "PIL/__init__.py", "PIL/Image.py"):
        (tmp_path / name).write_text("raise AssertionError('not ours')")
    (tmp_path / "PIL" / "Plugin.py").write_text("")
    code = (
        f"sys.path.insert(0, {str(tmp_path)!r})\nimport numpy, PIL.Image\n"
        "for name in ('PIL.Plugin', 'action.nothing', 'nothing'):\n"
        "    try: __import__(name)\n"
        "    except ModuleNotFoundError as error: print(error.name)"
    )
    printed = run_with_zip(zip_path, HERE, code, tmp_path / "zip")
    assert printed == "PIL.Plugin\naction.nothing\nnothing\n"


def test_other_python_is_refused(tmp_path: Path) -> None:
    write_packed_zip(tmp_path, {"lib/3.99/index.json": b"{}", "lib/3.9/index.json": b"{}"})
    with pytest.raises(IncompatibleError) as caught:
        install_importer(str(tmp_path))
    assert str(caught.value) == (
        f"built for Python 3.9, 3.99, this runtime is {HERE}: rebuild with --python {HERE} "
        "or create the action with --kind python:3.99"
    )


def test_other_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_packed_zip(tmp_path, {f"{LIB}/index.json": b"{}"})
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(IncompatibleError, match="^built for linux x86_64, this machine is darwin "):
        install_importer(str(tmp_path))


def test_error_handler_answers_with_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    answer = {"error": "built for another"}
    handler = error_handler(IncompatibleError(answer["error"]))
    for plain in ({"image": "x"}, {"http": "x"}, None):
        assert handler(plain) == answer
    for request in ({"__ow_method": "get"}, {"http": {"method": "GET"}}):
        assert handler(request) == {"statusCode": 500, "headers": JSON_HEADERS, "body": answer}
    assert capfd.readouterr().err == "start failed: built for another\n" * 5
    unexpected = "the function could not start: KeyError; its log says why"
    assert error_handler(KeyError("é"))(None) == {"error": unexpected}
    log = capfd.readouterr().err
    assert log.startswith("KeyError: 'é'\n") and log.endswith("start failed: KeyError: 'é'\n")


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999])
def test_truncated_zip_is_reported(unpacked: Path, tmp_path: Path, share: float) -> None:
    folder = shutil.copytree(unpacked, tmp_path / "a")
    content = (folder / "packed.zip").read_bytes()
    (folder / "packed.zip").write_bytes(content[: int(len(content) * share)])
    assert_start_fails(folder, "ValueError: packed.zip is truncated")


@pytest.mark.parametrize("name", ["numpy.code", "index.json", "PIL/_imaging", "model", "settings"])
def test_damaged_member_is_reported(unpacked: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(unpacked, tmp_path / "a", ignore=without_extracted)
    packed = PackedZip(str(folder))
    names = {"model": "model/", "settings": "model/model.json"}
    start = names.get(name, f"{LIB}/{name}")
    member = next(each for each in packed.members if each.startswith(start))
    with (folder / "packed.zip").open("r+b") as file:
        file.seek(packed.members[member][0])
        file.write(b"\xff")  # no kind of deflated block
    log = assert_start_fails(folder, f"{member} in packed.zip is damaged")
    if name == "settings":  # a traceback shows the lines of our own modules
        line = re.search(r'"action/classifier\.py", line (\d+), in load_classifier\n +(.+)\n', log)
        assert line, log
        source = (ACTION / "classifier.py").read_text("utf-8").splitlines()
        assert line[2] == source[int(line[1]) - 1].strip()


def assert_start_fails(folder: Path, reason: str) -> str:
    """Check each answer and the log, which is returned."""
    with running(folder) as action:
        answers = [action.run({"image": ESPRESSO}) for _ in range(2)]
        log = action.log()
    assert answers[0]["error"].startswith("the function could not start: ")
    assert answers[1] == answers[0]
    assert "Traceback" in log
    assert reason in log
    return log


def test_unwritable_folder_is_reported(unpacked: Path, tmp_path: Path) -> None:
    """The log names the library that could not be written."""
    folder = shutil.copytree(unpacked, tmp_path / "a", ignore=without_extracted)
    (folder / "lib").write_text("in the way")
    with running(folder) as action:
        answer = action.run({"image": ESPRESSO})
        log = action.log()
        (folder / "lib").unlink()
        assert action.run({"image": ESPRESSO})["results"]  # it tries again
    assert answer["error"].startswith("the function could not start: ")
    assert f"'{folder}/lib" in log


def test_full_disk_leaves_no_part(tmp_path: Path) -> None:
    write_packed_zip(tmp_path, {"model/large": bytes(range(256)) * 99})
    packed = PackedZip(str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9999, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            packed.extract("model/large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [*(tmp_path / "model").iterdir()] == []
    assert Path(packed.extract("model/large")).stat().st_size == 256 * 99


def test_damaged_file_of_an_earlier_process_is_replaced(tmp_path: Path) -> None:
    content = bytes(range(256))
    write_packed_zip(tmp_path, {"model/file": content})
    path = Path(PackedZip(str(tmp_path)).extract("model/file"))
    for damage in (bytes(256), content[:-1], b""):
        path.write_bytes(damage)
        assert Path(PackedZip(str(tmp_path)).extract("model/file")).read_bytes() == content
