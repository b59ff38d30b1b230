"""The options of `build_zip.py`: wrong calls end at once, with status 2 and a hint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import action
from builder import build, options
from builder.artifact import platform
from builder.base import cpython
from builder.base.errors import UsageError
from builder.base.paths import ROOT
from tests.builder.test_cli import build_zip
from tests.support.special import KINDS as SPECIAL
from tests.support.special import make_special


def refused(*arguments: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        options.parse([*arguments])
    return caught.value


KINDS = "python:3, python:3.10, python:3.11, python:3.12, python:3.13"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--runtime wheels --ops classifier", "--ops does not go with --runtime wheels"),
        ("--runtime wheels --engine docker", "--engine does not go with --runtime wheels"),
        ("--runtime wheels --engine-arg=-q", "--engine-arg does not go with --runtime wheels"),
        ("--runtime wheels --sources .", "--sources does not go with --runtime wheels"),
        ("--runtime local --engine docker", "--engine does not go with --runtime local"),
        ("check {zip} --model x", "check has no option --model"),
        ("check {zip} --output x.zip", "check has no option --output"),
        ("undeploy a --model x", "undeploy has no option --model"),
        ("runtime export x.zip --model m", "runtime has no option --model"),
        ("runtime export /", "runtime export: expected the path of a file"),
        ("runtime export {folder}", "found the folder {folder}"),
        ("runtime import {folder}/none", "runtime import: expected a file, found nothing at"),
        ("deploy {zip} --python 3.11", "--python does not go with deploy ZIP"),
        ("deploy {zip} --scores logits", "--scores does not go with deploy ZIP"),
        ("deploy {zip} -ox.zip", "-o does not go with deploy ZIP"),
        ("deploy {folder}", "deploy: expected a zip, found the folder {folder}"),
        ("--insecure", "a build has no option --insecure"),
        ("--quiet check {zip}", "expected the subcommand first"),
        ("surplus", "expected an option or one of inspect, check, deploy, undeploy, runtime"),
        ("runtime improt x.zip", "invalid choice: 'improt' (choose from"),
        ("check {zip} surplus", "check has no argument surplus"),
        ("--python 3.11.7", "--python: expected one or more of 3.10, 3.11, 3.12, 3.13, found 3.11"),
        ("--python 3.11,", "--python: expected one or more of"),
        ("--python=", "--python: expected one or more of"),
        ("runtime export x.zip --python 4.0", "--python: expected one or more of"),
        ("--mean 1", "--mean and --std go together"),
        ("--fit pad --crop 0.5", "--crop does not go with --fit pad, which keeps the whole"),
        ("inspect x --pictures {folder}/none", "--pictures: expected a folder for each class"),
        ("--label-offset x", "argument --label-offset: invalid int value"),
        ("--crop 0", "argument --crop: expected a share above 0 and up to 1, found '0'"),
        ("--mean 1 --std 0", "--std: expected a number above 0, found 0.0"),
        ("--mean 1 --std 1,0,1", "--std: expected a number above 0, found 0.0"),
        ("--mean 1,2 --std 1", "argument --mean: expected one number or three, found '1,2'"),
        ("--mean inf --std 1", "argument --mean: expected one number or three, found 'inf'"),
        ("--runtime magic", "argument --runtime: invalid choice: 'magic'"),
        ("--model nothing", "--model: expected one of mobilenet_v1, efficientnet_lite0 or a"),
        ("inspect {folder}", "found the folder {folder}"),
        ("--labels {folder}/none", "--labels: expected a file with a class name per"),
        ("--labels {folder}", "--labels: expected a file with a class name per line"),
        ("--sources {folder}/none", "--sources: expected a folder, found nothing at"),
        ("--work {zip}", "--work: expected a folder, found the file"),
        ("--engine no-such-engine", "--engine: expected docker, podman, buildah or the path of"),
        ("--output {folder}", "--output: expected a file, found the folder {folder}"),
        ("--output {folder}/new/", "--output: expected the path of a file, found"),
        ("--output=", "--output: expected the path of a file, found ''"),
        ("-o {zip}", "--output: {zip} exists and is no zip of this program"),
        ("--labels {zip} --output {link}", "--output: {link} exists and is no zip of this program"),
        ("--precompiled", "--precompiled: expected the --kind to deploy on, found none"),
        ("--precompiled --kind ruby:2.5", "--kind: expected one of {kinds}, found ruby:2.5"),
        ("--kind python:3 --precompiled --python 3.11", "--kind python:3 runs Python 3.12"),
        ("deploy --web-secure=", "--web-secure: expected a secret, found an empty one"),
        ("deploy --web no --web-secure x", "--web-secure does not go with --web no"),
        ("deploy --portable --precompiled", "--precompiled does not go with --portable"),
        ("deploy --memory 0", "argument --memory: expected a number above 0, found '0'"),
        ("deploy --param topK", "argument --param: expected KEY=VALUE, found 'topK'"),
        ("deploy --ca {folder}/none", "--ca: expected a file, found nothing at"),
        ("undeploy a --ca {zip} --insecure", "--ca does not go with --insecure"),
        ("runtime import {zip} --ops all", "--ops does not go with runtime import"),
        (
            "--precompiled --kind python:3.11 --python 3.12",
            "--kind python:3.11 runs Python 3.11, --python says 3.12",
        ),
        ("--kind ruby:2.5", "--kind: expected one of {kinds}, found ruby:2.5"),
        ("--execution-env x", "--execution-env goes with --precompiled"),
        (
            "--precompiled --execution-env x --python 3.11,3.12",
            "--precompiled: expected one --python, found 3.11,3.12",
        ),
        ("--precompiled --execution-env=", "--execution-env: expected the image's OW_EXECUTION"),
    ],
)
def test_wrong_calls(tmp_path: Path, arguments: str, message: str) -> None:
    archive = tmp_path / "it.zip"
    archive.write_bytes(b"")
    (tmp_path / "link").symlink_to(archive)
    names = {"folder": tmp_path, "zip": archive, "link": tmp_path / "link"}
    expected = message.format(**names, kinds=KINDS)
    assert expected in str(refused(*(word.format(**names) for word in arguments.split())))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("--modle x", "Did you mean --model?"),
        ("--quite", "Did you mean --quiet?"),
        ("--model mobilnet_v1", "Did you mean mobilenet_v1?"),
        ("chekc x.zip", "Did you mean check?"),
        ("check x.zip --no-smoek", "Did you mean --no-smoke?"),
        ("inspect m.tflite --labls=l.txt", "Did you mean --labels?"),
        ("--nothing-like-it", ""),
    ],
)
def test_hints_name_what_was_meant(arguments: str, hint: str) -> None:
    assert refused(*arguments.split()).hint == hint


def test_hint_for_a_folder_names_the_way_to_a_model(tmp_path: Path) -> None:
    assert "the .tflite file inside" in refused("--model", str(tmp_path)).hint
    (tmp_path / "saved_model.pb").touch()
    assert "from_saved_model" in refused("--model", str(tmp_path)).hint


@pytest.mark.parametrize(
    ("arguments", "now"),
    [
        ("--check a.zip", "check ZIP"),
        ("--deploy", "deploy [ZIP] [--name NAME]"),
        ("--check=a.zip --deploy eyes", "check ZIP"),
        ("--undeploy", "undeploy NAME"),
        ("--export-runtime a.zip", "runtime export FILE"),
        ("--runtime-from a.zip", "runtime import FILE"),
        ("--output logits", "--scores logits"),
        ("--output=scores", "--scores scores"),
        ("--optimize size", "each file"),
        ("deploy --platform digitalocean", "deploy/digitalocean/"),
    ],
)
def test_old_spellings_name_the_new_ones(arguments: str, now: str) -> None:
    error = str(refused(*arguments.split()))
    assert " is now " in error or " is gone: " in error
    assert now in error


@pytest.mark.parametrize("kind", SPECIAL)
def test_paths_that_are_no_files_are_not_opened(tmp_path: Path, kind: str) -> None:
    """A pipe would never end, nor would a device."""
    path = make_special(tmp_path, kind)
    for call in (["--labels"], ["--model"], ["check"], ["deploy"], ["runtime", "import"]):
        assert "found the " in str(refused(*call, str(path)))
    assert str(refused("--output", str(path))).startswith("--output: expected a file, found the ")


def test_options_that_go_together(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"")
    for arguments in (
        [],
        ["--runtime", "auto", "--ops", "all", "--sources", str(tmp_path)],
        ["--runtime", "local", "--ops", "all", "--sources", str(tmp_path)],
        ["--python", "3.10, 3.12", "--model", str(model), "--output", str(tmp_path / "n" / "z")],
        ["--precompiled", "--kind", "python:3.10"],
        ["--kind", "python:3.10"],
        ["--force", "--output", str(model)],
        ["deploy", "--kind", "python:3.11", "--model", str(model)],
        ["deploy", str(model), "--kind", "python:3.11", "--no-smoke", "--json"],
        ["inspect", str(model), "--scores", "logits", "--mean", "1,2,3", "--std", "4"],
        ["undeploy", "a", "--apihost", "h"],
        ["runtime", "import", str(model), "--quiet"],
    ):
        options.parse(arguments)
    assert options.parse(["--mean", "1,2,3", "--std", "4"]).mean == (1.0, 2.0, 3.0)


def test_kind_decides_the_python() -> None:
    for arguments, python in (
        (["--kind", "python:3"], "3.12"),
        (["--kind", "python:3.10"], "3.10"),
        (["deploy", "--kind", "python:3"], "3.11"),  # the host's image decides
        ([], "3.11"),
    ):
        assert options.pythons(options.parse(arguments), "3.11") == (python,)


def test_own_zip_is_replaced_without_force(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for name in ("packed.zip", "__main__.py", "action/__init__.py"):
        assert "no zip of this program" in str(refused("-o", str(path))) if path.exists() else True
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"")
    assert options.output(options.parse(["-o", str(path)])) == path


def test_help_has_at_most_twenty_options_beside_the_models() -> None:
    text = build_zip("--help", PATH="").stdout  # needs no environment either
    groups = {
        group.partition(":")[0]: re.findall(r"^  (?:-\w[^-]*)?(--[\w-]+)", group, re.M)
        for group in re.split(r"\n\n(?=\w)", text)
    }
    model = groups.pop("the model")
    assert "--scores" in model
    assert 10 < sum(map(len, groups.values())) <= 20
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("\n  python3 build_zip.py ") == 3
    for status in ("0  done", "1  failed", "2  wrong call", "130  stopped"):
        assert status in text


def test_subcommands_have_help_and_the_program_a_version(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("inspect", "check", "deploy", "undeploy", "runtime"):
        with pytest.raises(SystemExit, match="0"):
            options.parse([command, "--help"])
        assert f"usage: python3 build_zip.py {command} " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        options.parse(["--version"])
    assert capsys.readouterr().out.strip() == action.__version__


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--runtime", "magic"], 2),
        (["--python", "3.11.7"], 2),
        (["--runtime", "wheels", "--ops", "all"], 2),
        (["check", "README.md"], 1),
        (["check", "no such file"], 2),
        (["--model", "README.md"], 1),
    ],
)
def test_json_of_a_failure(arguments: list[str], status: int) -> None:
    """On standard output JSON and nothing else; on standard error the same in words."""
    files = [str(ROOT / word) if word == "README.md" else word for word in arguments]
    done = build_zip(*files, "--json", "--quiet")
    assert done.returncode == status, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert report["status"] == status
    assert report["error"]
    assert report["error"].splitlines()[0] in done.stderr
    assert "Traceback" not in done.stderr
    assert ("usage: " in done.stderr) == (status == 2)


def test_wrong_call_writes_nothing(tmp_path: Path) -> None:
    """Not even the tool's environment."""
    done = build_zip("--work", str(tmp_path / "w"), "--python", "3.11.7")
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())


def test_isolated_python_finds_the_checkout(tmp_path: Path) -> None:
    for flags in (["-I"], ["-P"] if sys.version_info >= (3, 11) else ["-s"]):
        done = subprocess.run(
            [sys.executable, *flags, str(ROOT / "build_zip.py"), "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_default_python_has_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
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
