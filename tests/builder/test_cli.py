"""The command line of `build_zip.py`, as a user types it: builds, checks, inspections."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from builder.artifact import actionloop
from builder.base.paths import ROOT
from tests.conftest import HERE, at_hand, base64_of, encoded, interpreter, plain
from tests.support.models import COLOURS, ColourModel
from tests.support.terminal import run_on_terminal, without_control

Done = subprocess.CompletedProcess[str]
# MB that a zip of such packages needs.
MEMORY = {"local": 128, "wheels": 256}


@pytest.fixture(scope="module")
def colours(colour_labels: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for a small model."""
    model = ColourModel("uint8").write(tmp_path_factory.mktemp("colours") / "colours.tflite")
    return ["--model", str(model), "--labels", str(colour_labels), "--runtime", at_hand()]


def build_zip(*arguments: str, **variables: str) -> Done:
    command = [sys.executable, "build_zip.py", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("python", ["2.7", "3.6", "3.7", "3.8", "3.9"])
@pytest.mark.parametrize(("command"), [["build_zip.py"], ["-m", "action"]], ids=" ".join)
def test_old_python_names_the_needed_version(python: str, command: list[str]) -> None:
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(
        f"versions/{python}.*/bin/python{python}"
    )
    path = next(kept, None) or shutil.which(f"python{python}")
    if path is None:
        pytest.skip(f"no Python {python} on this machine")
    done = subprocess.run(
        [str(path), *command, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # 2.7 puts it beside the source
        capture_output=True,
        text=True,
    )
    expected = f"expected Python 3.10 or newer, found {python}: try  python3 {' '.join(command)}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_model_options_are_on_its_card(tmp_path: Path) -> None:
    """From the command line to the zip: decided, shown by a check, and answered."""
    path, output = tmp_path / "m.tflite", tmp_path / "a.zip"
    ColourModel(
        "float32",
    ).write(path)
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr("labels_de.txt", "rot\ngr\u00fcn\nblau\n")
        appended.writestr("labels_fr.txt", "rouge\nvert\nbleu\n")
    given = "--locale fr --background yes --mean 0,0,0 --std 255,255,255"
    given += " --fit pad --channels bgr"
    options = ["--model", str(path), *given.split(), "--scores", "scores", "--output", str(output)]
    done = build_zip(*options, "--python", HERE, "--runtime", at_hand(), "--no-keep", "--json")
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)["model"]["card"]
    assert card["input"] == (
        "8 x 8 BGR, channels last, float32; pixels enter as 0..1, 0..1, 0..1 (--mean, --std)"
    )
    assert card["output"].endswith(
        "independent scores of 3 classes, each 0..1, as they are (--scores)"
    )
    assert card["labels"].startswith("3 from labels_fr.txt inside m.tflite")
    assert card["labels"].endswith("'rouge' to 'bleu'; class 0 is background")
    checked = build_zip("check", str(output), "--json")
    assert json.loads(checked.stdout)["card"] == card
    assert all(f"{title}: {text}" in checked.stderr for title, text in card.items())
    with actionloop.start_action(output, interpreter()) as running:
        picture = base64_of(encoded(plain("red")))
        answer = running.run({"image": picture, "details": True, "topK": 3})
    assert answer["details"]["model"]["card"] == card
    best, *others = answer["results"]
    assert best["className"] == "bleu"
    assert best["probability"] == pytest.approx(6 / 8)  # two of eight rows are black
    assert {each["className"]: each.get("background") for each in others}["rouge"] is True


def test_pictures_decide_what_is_built(tmp_path: Path) -> None:
    """The labels fit a model that takes blue first, and only the pictures say so."""
    path, labels, output = tmp_path / "m.tflite", tmp_path / "labels.txt", tmp_path / "a.zip"
    ColourModel("float32").write(path)
    labels.write_text("blue\ngreen\nred\n")
    for name in ("red", "blue"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        (tmp_path / "pictures" / name / "1.png").write_bytes(encoded(plain(name)))
    given = ["--labels", str(labels), "--mean", "0", "--std", "255", "--label-offset", "0"]
    given += ["--pictures", str(tmp_path / "pictures"), "--json"]
    inspected = build_zip("inspect", str(path), *given)
    assert inspected.returncode == 0, inspected.stderr
    assert "BGR, 2 pictures ahead (--channels)" in inspected.stderr
    report = json.loads(inspected.stdout)
    assert report["pictures"]["chosen"]["combination"]["channels"] == "bgr"
    assert report["pictures"]["ties"].keys() == {"fit", "activation"}
    options = ["--model", str(path), *given, "--output", str(output), "--runtime", at_hand()]
    done = build_zip(*options, "--python", HERE, "--no-keep")
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)["card"]
    assert card["pictures"] == report["model"]["card"]["pictures"]
    assert "BGR, channels last" in card["input"]
    with actionloop.start_action(output, interpreter()) as running:
        answer = running.run({"image": base64_of(encoded(plain("red"))), "topK": 1})
    assert answer["results"][0]["className"] == "red"


def test_log_of_a_build_fits_a_screen(colours: list[str], tmp_path: Path) -> None:
    output, provider = tmp_path / "new folder" / "c.zip", colours[-1]
    command = [sys.executable, "build_zip.py", *colours, "--python", HERE, "--no-keep"]
    status, shown = run_on_terminal([*command, "--output", str(output)], ROOT)
    text = without_control(shown)
    assert status == 0, text
    for step in ("model", f"packages for Python {HERE}", "zip", "audit", "invoke with Python"):
        assert f"✓ {step}" in text
    memory = MEMORY[provider]
    flat = " ".join(text.split())
    assert re.search(rf"of 36 MiB \(\d+ %\); needs {memory} MB of memory", flat)
    assert ("ai-edge-litert" if provider == "wheels" else "tflite-runtime") in text
    assert re.search(r"Python [\d.]+: cold \d+ ms .*, warm [\d.]+ ms", text)
    assert f"python:{HERE} --memory {memory}" in flat
    lines = [line.strip("\r").rpartition("\r")[2] for line in text.strip().split("\n")]
    assert len(lines) <= 25
    assert not [line for line in lines if len(line) > 80 and str(output) not in line]


def test_inspect_builds_nothing(colours: list[str]) -> None:
    _, model, *options, _, _ = colours
    before = sorted((ROOT / "dist").glob("*"))
    done = build_zip("inspect", model, *options, "--scores", "scores", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["model"]["card"]["output"].endswith("(--scores)")
    for text in report["model"]["card"].values():
        assert f": {text}" in done.stderr
    assert "input (--mean, --std, --channels): " in done.stderr
    assert "ready-made wheels: has all operators" in done.stderr
    for operator, version in report["operators"].items():
        assert f" {operator} (version {version})" in report["model"]["card"]["operators"]
    assert sorted((ROOT / "dist").glob("*")) == before


def test_table_of_a_check_fits_the_terminal(colours: list[str], tmp_path: Path) -> None:
    output = tmp_path / "c.zip"
    assert build_zip(*colours, "--output", str(output), "--no-keep", "--no-smoke").returncode == 0
    command = [sys.executable, "build_zip.py", "check", str(output), "--no-smoke"]
    status, shown = run_on_terminal(command, ROOT)
    text = without_control(shown)
    assert status == 0, text
    assert max(map(len, text.splitlines())) <= 80
    for heading in ("part  ", "largest files", "✓ size", "✓ manifest"):
        assert heading in text
    assert re.search(r"^total .* 100\.0 %", text, re.M)


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["--kind", "python:3.11"], "openwhisk/action-python-v3.11"),
        (["--python", "3.11", "--execution-env", "own/image: 1"], "own/image: 1"),
        (["--kind", "python:3.11", "--execution-env", "own"], "own"),
    ],
)
def test_precompiled_build(
    colours: list[str], tmp_path: Path, options: list[str], env: str
) -> None:
    interpreter("3.11")
    output, provider = tmp_path / "c.zip", at_hand(["3.11"])
    arguments = [*colours[:-1], provider, "--precompiled", *options]
    done = build_zip(*arguments, "--output", str(output), "--no-keep", "--json")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(output) as archive:
        assert archive.read("exec.env").decode() == env
        assert archive.getinfo("exec").external_attr >> 16 == 0o100755
    assert "✓ invoke with Python 3.11" in done.stderr
    assert "\x1b" not in done.stderr
    assert f" where OW_EXECUTION_ENV is {env}:" in done.stderr
    report = json.loads(done.stdout)
    assert report["executionEnv"] == env
    [command] = report["commands"]  # not python:3, which may be another image
    assert command.endswith(f"{output} --kind python:3.11 --memory {MEMORY[provider]}")


def test_stopped_builds_leave_nothing(colours: list[str], tmp_path: Path) -> None:
    output = tmp_path / "dist" / "c.zip"
    command = [sys.executable, "build_zip.py", *colours, "--output", str(output), "--no-keep"]
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
            # in the background of a script the tests themselves may ignore SIGINT
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            deadline = time.monotonic() + 60
            while not list(output.parent.glob(".c.zip.*.part")):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(number)
            log = process.stderr.read() if process.stderr else ""
        assert process.returncode == 130, log
        assert not list(output.parent.iterdir())
        assert "Traceback" not in log and "stopped" in log


def test_control_characters_reach_no_terminal(colours: list[str], tmp_path: Path) -> None:
    labels = tmp_path / "red\x1b[31m\x9b.txt"
    labels.write_text("\n".join(COLOURS))
    done = build_zip("inspect", colours[1], "--labels", str(labels), "--scores", "scores", "--json")
    assert labels.name in json.loads(done.stdout)["model"]["card"]["labels"]
    assert f"{done.stdout}{done.stderr}".replace("\n", "").isprintable()
