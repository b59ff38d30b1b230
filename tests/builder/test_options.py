"""The command line of `build_zip.py`: what cannot be is said at once, and by one exit status."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from builder import build, options
from builder.artifact import platform
from builder.base import cpython
from builder.base.errors import UsageError
from builder.base.paths import ROOT
from tests.builder.base.test_files import KINDS as SPECIAL
from tests.builder.base.test_files import special


def refused(*arguments: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        options.check(options.parser().parse_args(arguments))
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--runtime wheels --ops all", "--ops does not go with --runtime wheels"),
        ("--runtime wheels --ops classifier", "--ops does not go with --runtime wheels"),
        ("--runtime wheels --engine docker", "--engine does not go with --runtime wheels"),
        ("--runtime wheels --engine-arg=-q", "--engine-arg does not go with --runtime wheels"),
        ("--runtime wheels --sources .", "--sources does not go with --runtime wheels"),
        ("--runtime local --engine docker", "--engine does not go with --runtime local"),
        ("--runtime local --engine-arg=-q", "--engine-arg does not go with --runtime local"),
        ("--check {zip} --model x", "--model does not go with --check"),
        ("--check {zip} --python 3.11", "--python does not go with --check"),
        ("--check {zip} --output x.zip", "--output does not go with --check"),
        ("--check {zip} --kind python:3.11", "--kind does not go with --check"),
        ("--check {zip} --no-keep", "--no-keep does not go with --check"),
        ("--undeploy --model x", "--model does not go with --undeploy"),
        ("--undeploy --check {zip}", "--check does not go with --undeploy"),
        ("--deploy --undeploy", "expected either --deploy or --undeploy"),
        ("--insecure", "--insecure goes with --deploy or --undeploy"),
        ("--deploy --platform digitalocean --auth x", "--auth does not go with --platform digi"),
        (
            "--python 3.11.7",
            "--python: expected one or more of 3.10, 3.11, 3.12, 3.13, found 3.11.7",
        ),
        ("--python python:3.11", "--python: expected one or more of"),
        ("--python 3.11,", "--python: expected one or more of"),
        ("--python=", "--python: expected one or more of"),
        ("--python 4.0", "--python: expected one or more of"),
        ("--mean 1", "--mean and --std go together"),
        ("--mean 1 --std 0", "--std: expected a number above 0, found 0.0"),
        ("--mean 1 --std nan", "--std: expected a number above 0, found nan"),
        ("--mean 1,2 --std 1", "argument --mean: expected one number or three, found '1,2'"),
        ("--mean 1 --std 1,0,1", "--std: expected a number above 0, found 0.0"),
        ("--output logits --output scores", "--output: expected one kind, found logits and scores"),
        ("--check {zip} --output logits", "--output does not go with --check"),
        ("--check {zip} --layout nchw", "--layout does not go with --check"),
        ("--mean inf --std 1", "--mean: expected a number, found inf"),
        ("--mean one --std 1", "argument --mean: expected one number or three, found 'one'"),
        ("--runtime magic", "argument --runtime: invalid choice: 'magic'"),
        ("--model nothing", "--model: expected one of mobilenet_v1, efficientnet_lite0 or a"),
        ("--model {folder}", "found the folder {folder}"),
        ("--labels {folder}/none", "--labels: expected a file with a class name per"),
        ("--labels {folder}", "--labels: expected a file with a class name per line"),
        ("--sources {folder}/none", "--sources: expected a folder, found nothing at"),
        ("--work {zip}", "--work: expected a folder, found the file"),
        ("--engine no-such-engine", "--engine: expected docker, podman, buildah or the path of"),
        ("--output {folder}", "--output: expected a file, found the folder {folder}"),
        ("--output {folder}/new/", "--output: expected the path of a file, found"),
        ("--output=", "--output: expected the path of a file, found ''"),
        ("--model {zip} --output {zip}", "--output: expected another file than --model"),
        ("--labels {zip} --output {link}", "--output: expected another file than --labels"),
        (
            "--precompiled --execution-env=",
            "--execution-env: expected the image's OW_EXECUTION_ENV",
        ),
        ("surplus", "unrecognized arguments: surplus"),
    ],
)
def test_what_cannot_be(tmp_path: Path, arguments: str, said: str) -> None:
    archive = tmp_path / "it.zip"
    archive.write_bytes(b"")
    (tmp_path / "link").symlink_to(archive)
    names = {"folder": tmp_path, "zip": archive, "link": tmp_path / "link"}
    found = refused(*(word.format(**names) for word in arguments.split()))
    assert str(found).startswith(said.format(**names)) or said.format(**names) in str(found)


def test_what_to_do_next() -> None:
    assert refused("--python", "3.11.7").hint.endswith("--python 3.11")
    assert refused("--python", "python:3.12").hint.endswith("--python 3.12")
    assert not refused("--python", "2.7.18").hint


@pytest.mark.parametrize("kind", SPECIAL)
def test_outputs_that_are_no_files(tmp_path: Path, kind: str) -> None:
    path = special(tmp_path, kind)
    before = os.lstat(path)
    assert str(refused("--output", str(path))).startswith("--output: expected a file, found the ")
    after = os.lstat(path)  # looking at a link is an access to it
    assert (after.st_ino, after.st_mode, after.st_ctime_ns) == (
        before.st_ino, before.st_mode, before.st_ctime_ns,
    )  # fmt: skip


@pytest.mark.parametrize("kind", SPECIAL)
def test_inputs_that_are_no_files(tmp_path: Path, kind: str) -> None:
    """None of them is opened: a pipe would never end, a device neither."""
    path = special(tmp_path, kind)
    shown = (
        "path that cannot be looked at" if kind == "link to itself" else kind.partition(" to ")[0]
    )
    for option in ("--labels", "--model"):
        assert f"found the {shown}" in str(refused(option, str(path)))
    with pytest.raises(UsageError, match="--check: expected a zip, found the"):
        options.check(options.parser().parse_args(["--check", str(path)]))


def test_what_goes_together(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"")
    for arguments in (
        [],
        ["--runtime", "auto", "--ops", "all", "--sources", str(tmp_path)],
        ["--runtime", "local", "--ops", "all", "--sources", str(tmp_path)],
        ["--python", "3.10, 3.12", "--model", str(model), "--output", str(tmp_path / "n" / "z")],
        ["--deploy", "--kind", "python:3.11"],
        ["--precompiled", "--kind", "python:3.10"],
        ["--check", str(model), "--deploy", "--kind", "python:3.11", "--no-smoke", "--json"],
    ):
        options.check(options.parser().parse_args(arguments))


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "build_zip.py"), *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--runtime", "magic"], 2),
        (["--python", "3.11.7"], 2),
        (["--runtime", "wheels", "--ops", "all"], 2),
        (["--check", "README.md"], 1),
        (["--check", "no such file"], 2),
        (["--model", "README.md"], 1),
    ],
)
def test_json_of_a_failure(arguments: list[str], status: int) -> None:
    """On standard output JSON and nothing else; on standard error the same in words."""
    files = [str(ROOT / word) if word == "README.md" else word for word in arguments]
    done = run(*files, "--json", "--quiet")
    assert done.returncode == status, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert report["status"] == status
    assert report["error"]
    assert report["error"].splitlines()[0] in done.stderr
    assert "Traceback" not in done.stderr
    assert ("usage: " in done.stderr) == (status == 2)


def test_nothing_is_made_for_a_wrong_call(tmp_path: Path) -> None:
    """Not even the tool's environment."""
    done = run("--work", str(tmp_path / "w"), "--python", "3.11.7")
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())


def test_the_checkout_is_found_without_python_looking_there(tmp_path: Path) -> None:
    for flags in (["-I"], ["-P"] if sys.version_info >= (3, 11) else ["-s"]):
        done = subprocess.run(
            [sys.executable, *flags, str(ROOT / "build_zip.py"), "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_the_default_kind_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = platform.pythons_with_image()
    assert stock == ["3.10", "3.11", "3.12"]
    for running, here, wanted in (
        ((3, 12), ["3.12", "3.11"], "3.12"),
        ((3, 13), ["3.13", "3.11"], "3.11"),
        ((3, 13), ["3.13", "3.10"], "3.10"),
        ((3, 14), ["3.14"], "3.11"),
    ):
        monkeypatch.setattr(sys, "version_info", (*running, 0, "final", 0))
        monkeypatch.setattr(
            cpython, "find_python", lambda python, here=here: python in here or None
        )
        assert build.default_python() == wanted


def test_printed_commands_can_be_pasted(tmp_path: Path) -> None:
    from builder.report import commands

    for name in ("my zip's $HOME.zip", "a&b.zip", "-x.zip", "ümlaut.zip"):
        line = commands(tmp_path / name, ["3.11"])[0]
        assert shlex.split(line)[4] == str(tmp_path / name)


def test_output_is_a_path_or_a_kind() -> None:
    read = options.parser().parse_args
    both = read(["--output", "logits", "--output", "a.zip", "--mean", "1,2,3", "--std", "4"])
    assert (both.output_kind, both.output) == ("logits", "a.zip")
    assert (both.mean, both.std) == ((1.0, 2.0, 3.0), (4.0,))
    named = read(["--output", "./logits"])
    assert (named.output_kind, named.output) == (None, "./logits")
