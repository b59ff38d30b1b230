"""Both command lines, as a user types them: `build_zip.py` and `python -m action`."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from builder import build
from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base import cpython
from builder.base.console import Console
from builder.base.paths import ROOT
from builder.model.resolve import ModelOptions
from client.answer_formats import Table
from tests.conftest import HERE, PYTHONS, at_hand, base64_of, encoded, interpreter, plain
from tests.support.models import COLOURS, ColourModel

Done = subprocess.CompletedProcess[str]
MEMORY = {"local": 128, "wheels": 256}
"""What a zip of such packages needs."""


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for a small model."""
    folder = tmp_path_factory.mktemp("colours")
    (folder / "labels.txt").write_text("\n".join(COLOURS))
    model = ColourModel("uint8").write(folder / "colours.tflite")
    options = ["--model", str(model), "--labels", str(folder / "labels.txt")]
    return [*options, "--runtime", at_hand()]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `action/` without any build."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("action", "client"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, colours: list[str]) -> Path:
    """A copy of `action/` with a build of the small model."""
    folder = tmp_path_factory.mktemp("built")
    for name in ("action", "client"):
        shutil.copytree(ROOT / name, folder / name)
    said = ModelOptions(Path(colours[3]))
    output = folder / "a.zip"
    config = build.BuildConfig((HERE,), output, colours[1], said, keep=False, provider=at_hand())
    build.build(config, Console(quiet=True))
    shutil.unpack_archive(output, folder / "build" / "local" / HERE)
    return folder


def build_zip(*arguments: str, **variables: str) -> Done:
    command = [sys.executable, "build_zip.py", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def classify(cwd: Path, *arguments: str, stdin: bytes = b"") -> Done:
    command = [interpreter(HERE), "-m", "action", *arguments]
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True)
    return Done(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def on_a_terminal(cwd: Path, *arguments: str) -> tuple[int, str]:
    """The exit status and what the terminal shows."""
    main, sub = pty.openpty()
    command = [interpreter(HERE), "-m", "action", *arguments]
    with subprocess.Popen(command, cwd=cwd, stdin=sub, stdout=sub, stderr=sub) as process:
        os.close(sub)
        shown = b""
        try:
            while chunk := os.read(main, 4096):
                shown += chunk
        except OSError:  # how Linux tells that the other side has closed
            pass
    os.close(main)
    return process.returncode, shown.decode()


def pictures(folder: Path) -> Path:
    """Six pictures in a tree, and a file that is none."""
    (folder / "more" / "deep").mkdir(parents=True)
    for number, colour in enumerate(("red", "lime", "blue", "red", "lime")):
        (folder / f"{number}.png").write_bytes(encoded(plain(colour)))
    (folder / "more" / "deep" / "6.JPG").write_bytes(encoded(plain("blue"), "JPEG"))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_pictures_and_folders_as_json_lines(built: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "some pictures")
    done = classify(built, str(folder), str(SAMPLE), "--top", "1")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 7
    assert [a["results"][0]["className"] for a in answers[:6]] == [
        "red", "green", "blue", "red", "green", "blue",
    ]  # fmt: skip
    assert answers[0]["file"] == str(folder / "0.png")
    assert answers[6]["file"] == str(SAMPLE)


def test_some_fail_and_the_others_answer(built: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(encoded(plain("red")))
    (tmp_path / "bad.png").write_bytes(b"bad")
    (tmp_path / "none").mkdir()
    names = [str(tmp_path / name) for name in ("missing.png", "bad.png", "none", "good.png")]
    done = classify(built, *names)
    assert done.returncode == 1
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["error" in answer for answer in answers] == [True, True, True, False]
    assert "No such file" in answers[0]["error"]
    assert "not a picture" in answers[1]["error"]
    assert "no pictures in this folder" in answers[2]["error"]


def test_standard_input_threshold_and_details(built: Path) -> None:
    grey = encoded(plain("#404040"))  # a quarter of each
    done = classify(built, "-", "--threshold", "0.9", "--details", stdin=grey)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["results"] == []
    assert answer["details"]["image"]["bytes"] == len(grey)
    assert classify(built, "-", stdin=b"").returncode == 1


NAMES = (
    "a.jfif",
    "b.JPE",
    "c.Jpeg",
    "esc\x1b[31m.jpg",
    "new\nline.png",
    "right\u202eto.png",
    "日本.webp",
)
"""Of pictures; the endings need not say the format."""


def test_names_of_all_kinds(built: Path, tmp_path: Path) -> None:
    """Nothing that is printed controls a terminal or breaks a line, and JSON has the true names."""
    folder = tmp_path / "p.jpg"
    folder.mkdir()
    names = [os.fsencode(name) for name in NAMES] + [b"bytes\xff.png"]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(encoded(plain("red")))
    (folder / "._a.jpg").write_bytes(b"what macOS leaves")
    done = classify(built, str(tmp_path))
    assert done.returncode == 0, done.stdout
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert {os.fsencode(Path(a["file"]).name) for a in answers} == set(names)
    assert done.stdout.replace("\n", "").isprintable()
    for options in ([], ["--json"], ["--csv"], ["--details"]):
        _, shown = on_a_terminal(built, str(folder), *options)
        text = re.sub(r"\r\[[#.]+\] \d/8|\r\x1b\[K", "", shown)
        assert text.replace("\r\n", "").isprintable(), options
        assert text.count("red") >= 8
    kept = tmp_path / "kept"
    for had in ("", "8 were in"):
        done = classify(
            built, str(folder), "--output", str(kept), "--quiet" if not had else "--top=1"
        )
        assert (done.returncode, had in done.stderr) == (0, True)
        assert len(kept.read_bytes().splitlines()) == 8
    done = classify(built, str(folder / "none\x1b[2J.png"), "--output", str(tmp_path / "k\x1b"))
    assert done.returncode == 1
    assert done.stderr.replace("\n", "").isprintable()
    assert "\x1b" not in classify(built, "--none\x1b[2J").stderr


def test_each_picture_once(built: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    done = classify(built, str(folder), str(folder / "more"), str(folder / "0.png"))
    assert len(done.stdout.splitlines()) == 6
    assert "6 pictures: 6 answered, 0 failed; " in done.stderr


def test_as_csv(built: Path, tmp_path: Path) -> None:
    names = ('say "red", twice.png', "new\nline.png", "bytes\udcff.png")
    for name in names:
        (tmp_path / name).write_bytes(encoded(plain("red")))
    command = [
        interpreter(HERE),
        "-m",
        "action",
        "--csv",
        *(str(tmp_path / name) for name in names),
    ]
    done = subprocess.run([*command, "none.png"], cwd=built, capture_output=True)
    assert done.returncode == 1
    text = done.stdout.decode("utf-8", "surrogateescape")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["file", "class", "probability", "error"]
    assert rows[1][:2] == [str(tmp_path / names[0]), "red"]
    assert 0.5 < float(rows[1][2]) <= 1
    assert {row[0] for row in rows[1:-1]} == {str(tmp_path / name) for name in names}
    assert rows[-1][0] == "none.png"
    assert "No such file" in rows[-1][3]
    assert classify(built, "x.png", "--csv", "--json").returncode == 2


def test_the_table_hides_what_says_nothing() -> None:
    results = [
        {"className": "background", "probability": 0.5, "background": True},
        {"className": "panda", "probability": 0.4},
        {"className": "bear", "probability": 0.0005},
        {"className": "cat", "probability": 0.0004},
        {"className": "dog", "probability": 0.0},
    ]
    shown = Table(["a"]).lines({"file": "a", "results": results}).splitlines()
    assert [line.split("%")[1].strip() for line in shown] == ["panda", "bear"]
    assert [line.startswith("a ") for line in shown] == [True, False]  # once per picture
    assert "no class reaches 0.1 %" in Table(["a"]).lines({"file": "a", "results": results[3:]})


def test_who_reads_no_further(built: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    for options in ("", "--csv", "--output kept.jsonl 2>&1", "--serve --port 0"):
        names = "" if "--serve" in options else f"'{folder}' none1.png none2.png"
        command = f"'{interpreter(HERE)}' -m action {names} {options} | head -1"
        if "--serve" in options:
            command = f"timeout -s INT 4 {command}"
        done = subprocess.run(
            ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
            cwd=built, capture_output=True, text=True,
        )  # fmt: skip
        # The last answer may have been written before the reader left.
        assert re.fullmatch(r"(8 pictures: 6 answered, 2 failed; .*\n)?", done.stderr), options
        first, status = done.stdout.splitlines()
        assert status in ("0", "1", "141", "124"), first


def test_what_cannot_be_written(built: Path) -> None:
    command = f"'{interpreter(HERE)}' -m action '{SAMPLE}'"
    for redirection, status, expected in (
        (">/dev/full", 2, "the answers cannot be written: No space left on device\n"),
        ("--output /dev/full", 2, "--output /dev/full: expected a file"),
        ("--output none/a", 2, "--output none/a: cannot be written: No such file"),
        (">&-", 0, ""),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{command} {redirection}"], cwd=built, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.startswith(expected)
        assert len(done.stderr.splitlines()) == (expected != "")


def test_usage_errors(built: Path) -> None:
    for arguments in ([], ["--top", "9", "x"], ["--top", "x", "y"], ["--threshold", "2", "x"]):
        done = classify(built, *arguments)
        assert done.returncode == 2
        assert "usage:" in done.stderr
        assert not done.stdout
    assert "--top: expected a whole number from 1 to 3" in classify(built, "--top", "9", "x").stderr


def test_before_any_build(bare: Path) -> None:
    done = classify(bare, "picture.jpg")
    assert done.returncode == 2
    assert "python3 build_zip.py" in done.stderr


def test_built_for_another_python(built: Path) -> None:
    other = next((v for v in PYTHONS if v != HERE and cpython.find_python(v)), None)
    if other is None:
        pytest.skip("no second Python on this machine")
    done = subprocess.run(
        [interpreter(other), "-m", "action", "x"], cwd=built, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"the last build is for Python {HERE}, this is {other}" in done.stderr


def test_table_on_a_terminal(built: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    (tmp_path / "bad.png").write_bytes(b"bad")
    status, shown = on_a_terminal(built, str(folder), str(tmp_path / "bad.png"), "--top", "2")
    assert status == 1
    assert "[" in shown and "] 3/7" in shown  # the progress bar
    lines = [line.rpartition("\x1b[K")[2] for line in shown.splitlines()]
    table = [line for line in lines if " %  " in line]
    assert [line.split()[-1] for line in table if not line.startswith(" ")] == [
        "red", "green", "blue", "red", "green", "blue",
    ]  # fmt: skip
    assert any("error: not a picture" in line for line in lines)
    assert "INFO" not in shown
    status, shown = on_a_terminal(built, str(folder / "0.png"), "--json")
    assert json.loads(shown)["results"][0]["className"] == "red"


@pytest.mark.parametrize("python", ["2.7", "3.6", "3.7", "3.8", "3.9"])
@pytest.mark.parametrize(("command"), [["build_zip.py"], ["-m", "action"]], ids=" ".join)
def test_an_old_python_says_which_is_needed(python: str, command: list[str]) -> None:
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


def test_help_needs_no_environment(tmp_path: Path) -> None:
    done = build_zip("--help", PATH="")
    assert done.returncode == 0
    for option in ("--python", "--model", "--labels", "--runtime", "check ", "--no-smoke"):
        assert option in done.stdout


def test_what_options_say_of_a_model_is_in_its_card(tmp_path: Path) -> None:
    """From the command line to the zip: decided, shown by a check, and answered."""
    path, output = tmp_path / "m.tflite", tmp_path / "a.zip"
    ColourModel("float32", size=3).write(path)  # [1, 3, 3, 3]: either layout
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr("labels_de.txt", "rot\ngr\u00fcn\nblau\n")
        appended.writestr("labels_fr.txt", "rouge\nvert\nbleu\n")
    said = "--locale fr --background yes --layout nhwc --mean 0,0,0 --std 255,255,255"
    options = ["--model", str(path), *said.split(), "--scores", "scores", "--output", str(output)]
    done = build_zip(*options, "--python", HERE, "--runtime", at_hand(), "--no-keep", "--json")
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)["model"]["card"]
    assert card["input"] == (
        "3 x 3 RGB, channels last (--layout), float32; pixels enter as 0..1, 0..1, 0..1 "
        "(--mean and --std)"
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
        picture = base64_of(encoded(plain("blue")))
        answer = running.run({"image": picture, "details": True, "topK": 3})
    assert answer["details"]["model"]["card"] == card
    best, *others = answer["results"]
    assert (best["className"], best["probability"]) == ("bleu", 1.0)
    assert {each["className"]: each.get("background") for each in others}["rouge"] is True


def test_the_log_of_a_build(colours: list[str], tmp_path: Path) -> None:
    output, provider = tmp_path / "new folder" / "c.zip", colours[-1]
    memory = MEMORY[provider]
    done = build_zip(*colours, "--python", HERE, "--output", str(output), "--no-keep")
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    for text in (
        f"✓ packages for Python {HERE}",
        "✓ model",
        "✓ zip",
        "✓ audit",
        f"✓ invoke with Python {HERE}",
        "of 36 MiB",
        f"needs {memory} MB of memory",
        "ai-edge-litert" if provider == "wheels" else "tflite-runtime",
        f"wsk action create classify '{output}' --kind python:{HERE} --memory {memory}",
        "warm",
    ):
        assert text in done.stderr
    assert len(done.stderr.splitlines()) <= 25
    assert "\x1b" not in done.stderr  # colours only on a terminal


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["--kind", "python:3.11"], "openwhisk/action-python-v3.11"),
        (["--python", "3.11", "--execution-env", "own/image: 1"], "own/image: 1"),
        (["--kind", "python:3.11", "--execution-env", "own"], "own"),
    ],
)
def test_a_precompiled_build(
    colours: list[str], tmp_path: Path, options: list[str], env: str
) -> None:
    interpreter("3.11")
    output = tmp_path / "c.zip"
    provider = at_hand(["3.11"])
    arguments = [
        *colours[:-1],
        provider,
        "--precompiled",
        *options,
        "--output",
        str(output),
        "--no-keep",
    ]
    done = build_zip(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(output) as archive:
        assert archive.read("exec.env").decode() == env
        assert archive.getinfo("exec").external_attr >> 16 == 0o100755
    assert "✓ invoke with Python 3.11" in done.stderr
    assert f"Deploy it where OW_EXECUTION_ENV is {env}:" in done.stderr
    report = json.loads(done.stdout)
    assert report["executionEnv"] == env
    [command] = report["commands"]  # not python:3, which may be another image
    assert command.endswith(f"{output} --kind python:3.11 --memory {MEMORY[provider]}")


def test_killed_builds_leave_no_zip(colours: list[str], tmp_path: Path) -> None:
    output = tmp_path / "dist" / "c.zip"
    command = [sys.executable, "build_zip.py", *colours, "--output", str(output), "--no-keep"]
    for number, wanted in ((signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
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
            said = process.stderr.read() if process.stderr else ""
        assert process.returncode == wanted, said
        assert not output.exists()
        assert "Traceback" not in said
        if number != signal.SIGKILL:
            assert not list(output.parent.iterdir())
            assert "stopped" in said
    done = build_zip(*colours, "--output", str(output), "--no-keep")
    assert done.returncode == 0, done.stderr
    # what the killed one left is gone as well
    assert [path.name for path in output.parent.iterdir()] == ["c.zip"]


def test_no_model_by_name_and_no_network(tmp_path: Path) -> None:
    """Every download goes through a proxy that refuses: the error names the way out."""
    if (ROOT / "model" / "mobilenet_v1.tflite").exists():
        pytest.skip("mobilenet_v1 is there already")
    closed = "http://127.0.0.1:9"
    done = build_zip(
        "--model", "mobilenet_v1", "--output", str(tmp_path / "c.zip"),
        "--no-keep", "--runtime", "wheels",
        https_proxy=closed, http_proxy=closed, HTTPS_PROXY=closed, HTTP_PROXY=closed,
    )  # fmt: skip
    assert done.returncode == 1
    assert "mobilenet_v1 could not be downloaded" in done.stderr
    assert "ecc3a67c47c5a609ec35f6a58a7d97532834e43df4cb7d3f1204a8164b7d20dd" in done.stderr
    assert "--model PATH" in done.stderr
    assert not list(tmp_path.iterdir())
