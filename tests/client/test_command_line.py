"""The local command line, as a user types it: `python3 -m action` with pictures and folders."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from builder.artifact.smoke import SAMPLE
from builder.base import cpython
from client.answer_formats import Table
from tests.conftest import HERE, PYTHONS, encoded, interpreter, plain
from tests.support.local_server import copy_client, run_client
from tests.support.terminal import run_on_terminal


def on_terminal(cwd: Path, *arguments: str) -> tuple[int, str]:
    return run_on_terminal([interpreter(HERE), "-m", "action", *arguments], cwd, width=200)


def pictures(folder: Path) -> Path:
    """Six pictures in a tree, and a file that is none."""
    (folder / "more" / "deep").mkdir(parents=True)
    for number, colour in enumerate(("red", "lime", "blue", "red", "lime")):
        (folder / f"{number}.png").write_bytes(encoded(plain(colour)))
    (folder / "more" / "deep" / "6.JPG").write_bytes(encoded(plain("blue"), "JPEG"))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_pictures_and_folders_as_json_lines(built: Path, tmp_path: Path) -> None:
    """A picture that is named twice is answered once; what fails does not stop the others."""
    folder = pictures(tmp_path / "some pictures")
    (tmp_path / "none").mkdir()
    (tmp_path / "bad.png").write_bytes(b"bad")
    failing = [tmp_path / name for name in ("missing.png", "bad.png", "none")]
    done = run_client(built, *failing, folder, folder / "more", folder / "0.png", SAMPLE)
    assert done.returncode == 1, done.stderr
    assert "10 pictures: 7 answered, 3 failed; " in done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    failed, answers = answers[:3], answers[3:]
    texts = ("No such file", "not a picture", "no pictures in this folder")
    assert all(text in answer["error"] for text, answer in zip(texts, failed, strict=True))
    assert len(answers) == 7
    assert [a["results"][0]["className"] for a in answers[:6]] == [
        "red", "green", "blue", "red", "green", "blue",
    ]  # fmt: skip
    assert answers[0]["file"] == str(folder / "0.png")
    assert answers[6]["file"] == str(SAMPLE)


def test_standard_input_threshold_and_details(built: Path) -> None:
    grey = encoded(plain("#404040"))  # a quarter of each
    done = run_client(built, "-", "--threshold", "0.9", "--details", stdin=grey)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["results"] == []
    assert answer["details"]["image"]["bytes"] == len(grey)
    assert run_client(built, "-", stdin=b"").returncode == 1
    for option, text in (("--top", "a whole number, 1 or more"), ("--threshold", "a number from")):
        done = run_client(built, "-", option, "-1")
        assert (done.returncode, done.stdout, f"{option}: expected {text}" in done.stderr) == (
            2, "", True,
        )  # fmt: skip


# File names of pictures; their format is not the one of the extension.
NAMES = ("a.jfif", "b.JPE", "esc\x1b[31m.jpg", "new\nline.png", "right\u202eto.png", "日本.webp")


def test_odd_file_names_are_printed_safely(built: Path, tmp_path: Path) -> None:
    """No output controls a terminal or breaks a line, and JSON has the true names."""
    folder = tmp_path / "p.jpg"
    folder.mkdir()
    names = [os.fsencode(name) for name in NAMES] + [b"bytes\xff.png"]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(encoded(plain("red")))
    (folder / "._a.jpg").write_bytes(b"attributes of macOS")
    os.mkfifo(folder / "pipe.jpg")
    done = run_client(built, tmp_path)
    assert done.returncode == 0, done.stdout
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert {os.fsencode(Path(a["file"]).name) for a in answers} == set(names)
    assert done.stdout.replace("\n", "").isprintable()
    for options in ([], ["--json"], ["--csv"], ["--details"]):
        _, shown = on_terminal(built, str(folder), *options)
        text = re.sub(r"\r\[[#.]+\] \d/7(  \d+ a minute, \d+:\d\d left)?|\r?\x1b\[K", "", shown)
        assert text.replace("\r\n", "").isprintable(), options
        assert text.count("red") >= 7
    kept = tmp_path / "kept"
    for had in ("", "7 were in"):
        option = "--top=1" if had else "--quiet"
        done = run_client(built, folder, "--output", kept, option)
        assert (done.returncode, had in done.stderr) == (0, True)
        assert len(kept.read_bytes().splitlines()) == 7
    done = run_client(built, folder / "none\x1b[2J.png", "--output", tmp_path / "k\x1b")
    assert done.returncode == 1
    assert done.stderr.replace("\n", "").isprintable()
    assert "\x1b" not in run_client(built, "--none\x1b[2J").stderr


def test_as_csv(built: Path, tmp_path: Path) -> None:
    names = ('say "red", twice.png', "new\nline.png", "bytes\udcff.png")
    for name in names:
        (tmp_path / name).write_bytes(encoded(plain("red")))
    files = [str(tmp_path / name) for name in names]
    command = [interpreter(HERE), "-m", "action", "--csv", *files]
    done = subprocess.run([*command, "none.png"], cwd=built, capture_output=True)
    assert done.returncode == 1
    text = done.stdout.decode("utf-8", "surrogateescape")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["file", "class", "probability", "error"]
    assert rows[1][:2] == [files[0], "red"]
    assert 0.5 < float(rows[1][2]) <= 1
    assert {row[0] for row in rows[1:-1]} == {*files}
    assert rows[-1][0] == "none.png"
    assert "No such file" in rows[-1][3]
    for name in ("=1+1.png", "\uff1d1.png"):
        formula = run_client(built, "--csv", name).stdout.splitlines()[1]
        assert formula.startswith(f"'{name},,,")


def test_table_hides_background_and_tiny_probabilities() -> None:
    background = {"className": "background", "probability": 0.5, "background": True}
    classes = (("panda", 0.4), ("bear", 0.0005), ("cat", 0.0004))
    results = [{"className": name, "probability": share} for name, share in classes]
    name = "begin" + "x" * 40 + "end"
    shown = Table([name]).lines({"file": name, "results": [background, *results]}).splitlines()
    # The file's name stands once per picture.
    assert shown[0] == "..." + "x" * 34 + "end   40.0 %  panda"
    assert [line.strip() for line in shown[1:]] == ["0.1 %  bear"]
    assert "no class reaches 0.1 %" in Table(["a"]).lines({"file": "a", "results": results[2:]})


def test_reader_that_leaves_early(built: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    for options in ("", "--csv", "--output kept.jsonl 2>&1"):
        names = f"'{folder}' none1.png none2.png"
        command = f"'{interpreter(HERE)}' -m action {names} {options} | head -1"
        done = subprocess.run(
            ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
            cwd=built, capture_output=True, text=True,
        )  # fmt: skip
        # The last answer may have been written before the reader left.
        assert re.fullmatch(r"(8 pictures: 6 answered, 2 failed; .*\n)?", done.stderr), options
        assert done.stdout.splitlines()[-1] in ("1", "141")


def test_output_that_cannot_be_written(built: Path) -> None:
    command = f"'{interpreter(HERE)}' -m action '{SAMPLE}'"
    for redirection, status, expected in (
        (">/dev/full", 2, "stopped: [Errno 28] No space left on device\n"),
        ("--output /dev/full", 2, "--output /dev/full: expected a file"),
        ("--output none/a", 2, "stopped: [Errno 2] No such file or directory: 'none/a'"),
        (">&-", 0, ""),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{command} {redirection}"], cwd=built, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.startswith(expected)
        assert len(done.stderr.splitlines()) == (expected != "")


def test_no_build_yet_names_the_command(tmp_path: Path) -> None:
    done = run_client(copy_client(tmp_path), "picture.jpg")
    assert done.returncode == 2
    assert "python3 build_zip.py" in done.stderr


def test_build_for_another_python_is_refused(built: Path) -> None:
    other = next((v for v in PYTHONS if v != HERE and cpython.find_python(v)), None)
    if other is None:
        pytest.skip("no second Python on this machine")
    done = run_client(built, "x", python=other)
    assert done.returncode == 2
    assert f"the last build is for Python {HERE}, this is {other}" in done.stderr


def test_table_on_terminal(built: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    (tmp_path / "bad.png").write_bytes(b"bad")
    status, shown = on_terminal(built, str(folder), str(tmp_path / "bad.png"), "--top", "2")
    assert status == 1
    assert re.search(r"\[#+\.+\] 3/7  \d+ a minute, \d+:\d\d left", shown)
    lines = [line.rpartition("\x1b[K")[2] for line in shown.splitlines()]
    table = [line for line in lines if " %  " in line]
    assert [line.split()[-1] for line in table if not line.startswith(" ")] == [
        "red", "green", "blue", "red", "green", "blue",
    ]  # fmt: skip
    assert any("error: not a picture" in line for line in lines)
    assert "INFO" not in shown
    status, shown = on_terminal(built, str(folder / "0.png"), "--json")
    assert json.loads(shown)["results"][0]["className"] == "red"
