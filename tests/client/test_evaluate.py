"""`python3 -m action evaluate`: how good the function is, on pictures whose class is known."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from client.confusion_svg import draw_confusion_matrix
from client.labelled_pictures import (
    ClassNames,
    LabelledPicturesError,
    read_labelled_pictures,
)
from tests.conftest import encoded, plain
from tests.support.local_server import run_client, serving_locally

# Class -> the colours of its pictures: one green is called red, one blue cannot be decoded.
PICTURES = {"red": ("red", "red", "red"), "green": ("lime", "red"), "blue": ("blue", "blue", "")}


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    folder = tmp_path / "labelled"
    for name, colours in PICTURES.items():
        (folder / name).mkdir(parents=True)
        for number, colour in enumerate(colours):
            content = encoded(plain(colour)) if colour else b"broken"
            (folder / name / f"{number}.png").write_bytes(content)
    return folder


def check_report(report: dict[str, Any], labelled: Path) -> None:
    assert (report["pictures"], report["answered"]) == (8, 7)
    assert report["top1"] == round(6 / 7, 4)
    assert report["top5"] is None  # of three classes
    assert report["classes"] == [
        {"className": "red", "pictures": 3, "right": 3},
        {"className": "green", "pictures": 2, "right": 1},
        {"className": "blue", "pictures": 2, "right": 2},
    ]
    assert report["confusions"] == [{"expected": "green", "answered": "red", "pictures": 1}]
    [wrong], [failed] = report["wrong"], report["failed"]
    assert (wrong["file"], wrong["answered"]) == (str(labelled / "green" / "1.png"), "red")
    assert failed["file"] == str(labelled / "blue" / "2.png")
    assert "not a picture" in failed["error"]
    assert 0 < report["milliseconds"]["function"] <= report["milliseconds"]["answer"] + 0.1


def test_last_build_and_deployed_function_are_evaluated_alike(built: Path, labelled: Path) -> None:
    done = run_client(built, "evaluate", labelled, "--json")
    assert done.returncode == 1, done.stderr  # one picture was not answered
    check_report(json.loads(done.stdout), labelled)
    with serving_locally(built) as port:
        url = f"http://127.0.0.1:{port}/"
        done = run_client(built, "evaluate", labelled, "--json", "--url", url, "--jobs", "2")
    assert done.returncode == 1, done.stderr
    check_report(json.loads(done.stdout), labelled)


def test_report_for_people_and_plot(built: Path, labelled: Path, tmp_path: Path) -> None:
    (labelled / "blue" / "2.png").unlink()
    done = run_client(built, "evaluate", labelled, "--svg", tmp_path / "matrix.svg")
    assert done.returncode == 0, done.stderr
    assert "top-1: 85.7 %" in done.stdout and "7 answered, 0 failed" in done.stdout
    assert re.search(r"median: \d+\.\d ms a picture, \d+\.\d in the function", done.stdout)
    assert "    green answered as red: 1\n" in done.stdout
    assert f"    {labelled}/green/1.png: green, answered red (" in done.stdout
    texts = [each.text for each in ElementTree.parse(tmp_path / "matrix.svg").iter() if each.text]
    assert "green answered as red: 1" in texts


def test_folder_called_evaluate_is_a_path(built: Path, labelled: Path, tmp_path: Path) -> None:
    shutil.copytree(labelled / "red", built / "evaluate")
    done = run_client(built, "./evaluate")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)


def test_usage_errors(built: Path, labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "reed.csv").write_text(f"{labelled}/red/0.png,reed")
    for arguments, text in (
        (["missing"], "missing: expected a folder, or a CSV of file and class"),
        ([tmp_path / "reed.csv"], "expected a class of the model, such as 'red', found 'reed'"),
        ([tmp_path / "empty"], "expected folders that are named after classes"),
        ([labelled / "red"], "found 0.png in none of them"),
        ([labelled, "--jobs", "2"], "--jobs, --secret, --ca and --insecure go with --url"),
        ([labelled, "--svg", tmp_path / "none" / "m.svg"], "No such file or directory"),
        ([], "the following arguments are required"),
    ):
        done = run_client(built, "evaluate", *arguments)
        assert (done.returncode, text in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "table",
    [
        "a/1.png,red\nb 2.png,green\n",
        "file;number;class\na/1.png;7;red\nb 2.png;8;green\n",
        "\ufeffLabel\tFile\r\nred\ta/1.png\r\n\r\ngreen\tb 2.png\r\n",
    ],
)
def test_csv_of_file_and_class(tmp_path: Path, table: str) -> None:
    (tmp_path / "list.csv").write_bytes(table.encode())
    expected = [(str(tmp_path / "a/1.png"), "red"), (str(tmp_path / "b 2.png"), "green")]
    assert read_labelled_pictures(str(tmp_path / "list.csv")) == expected
    assert read_labelled_pictures(str(tmp_path)) == expected


def test_broken_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    for content, text in (
        (b"a.png,red\nb.png\n", r"in each line, found \['b.png'\] in row 2"),
        (b"a.png,red\nb.png, \n", "in row 2"),
        (b"file,class\n", "expected a line per picture, found none"),
        (b"\xff\xfe\x00", "codec can't decode"),
        (b"a.png," + b"x" * 200_000, "field larger than field limit"),
    ):
        path.write_bytes(content)
        with pytest.raises(LabelledPicturesError, match=text):
            read_labelled_pictures(str(path))


def test_classes_are_found_by_label_synonym_wordnet_id_and_number() -> None:
    labels = ("background", "tench, Tinca tinca", "crane", "crane", "Tiger-cat", "7", "")
    names = ClassNames(labels, ("", "n01440764", "n02012849", "n03126707", "n02123159", "", ""))
    for name, index in (
        ("Tench", 1),
        ("tinca_tinca", 1),
        ("n03126707", 3),
        ("n02012849_crane", 2),
        ("tiger cat", 4),
        ("7", 5),  # a label before a number
        ("2", 2),
        ("6", 6),
    ):
        assert names.find(name) == index, name
    with pytest.raises(LabelledPicturesError, match="2 'crane', 3 'crane'.*by its number"):
        names.find("crane")
    for name in ("-1", "8", "trench"):
        with pytest.raises(LabelledPicturesError, match="expected a class of the model"):
            names.find(name)


def test_plot_is_well_formed_for_any_names() -> None:
    names = ["<a & b>", "x" * 90, "esc\x1b"]
    drawn = ElementTree.fromstring(draw_confusion_matrix(names, [[3, 1, 0], [0, 0, 2]]))
    texts = [each.text or "" for each in drawn.iter()]
    assert {"<a & b>", "esc?", "3", "1", "2"} <= set(texts)
    assert max(map(len, texts)) < 200
