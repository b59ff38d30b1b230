"""Label files of all usual forms: a name finds its place, or the file is refused with numbers."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.base.errors import ModelError
from builder.model import labels
from builder.model.metadata import AXIS_LABELS, VALUE_LABELS, AssociatedFile, Metadata

COLOURS = ["red", "green", "blue"]
TEXT = "red\ngreen\nblue\n"


def fit(content: str | bytes, classes: int = 3, name: str = "l.txt") -> labels.Labels:
    data = content.encode() if isinstance(content, str) else content
    return labels.fit_labels(data, name, classes)


@pytest.mark.parametrize(
    "form",
    [
        *("{0} {1}", "{0}: {1}", "{0}\t{1}", "{0}. {1}", "{0}_{1}", "{0} \u2013 {1}", "{0},{1}"),
        *("({0}) {1}", "[{0}] {1}", "class {0}: {1}", '"{0}": "{1}",', "{1}: {0}", "{1} -> {0}"),
    ],
)
def test_numbers_of_lines_are_places(form: str) -> None:
    lines = [form.format(number, COLOURS[number]) for number in (2, 0, 1)]
    assert fit("\n".join(lines)).names == COLOURS
    assert fit("\n".join(["id name", *lines, ""])).names == COLOURS
    from_one = [form.format(number, name) for number, name in enumerate(COLOURS, 1)]
    assert fit("\n".join(from_one)).names == COLOURS
    with pytest.raises(ModelError, match="gap or repeat|no number of|found 2"):
        fit("\n".join(lines[:2]))


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.replace("\n", "\r\n") + "\r\n\r\n",
        TEXT.replace("\n", "\r"),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        "# the colours\nred\ngreen\nblue",
        "red 0\ngreen 1\nblue 2",
        "2 blue\n0 red\n\n1 green\n",
        "red,\ngreen,\nblue,",
        "red;\ngreen;\nblue",
        "'red',\n\"green\",\nblue",
        '["red", "green", "blue"]',
        '{"0": "red", "1": "green", "2": "blue"}',
        '{"blue": 2, "red": 0, "green": 1}',
        '{"id2label": {"0": "red", "1": "green", "2": "blue"}, "label2id": {"red": 0}}',
        "['red',\n 'green',\n 'blue']",
        '[[2, "blue"], [0, "red"], [1, "green"]]',
        '[{"0": "red"}, {"1": "green"}, {"2": "blue"}]',
        "{0: 'red',\n 2: 'blue',\n 1: 'green'}",
        '{"model": {"config": {"id2label": {"0": "red", "1": "green", "2": "blue"}}}}',
        '{"class_indices": {"blue": 2, "red": 0, "green": 1}}',
        '{"categories": [{"id": 1, "name": "red"}, {"id": 3, "name": "blue"}, '
        '{"id": 2, "name": "green"}]}',
    ],
)
def test_names_are_read_in_any_form(content: str | bytes) -> None:
    assert fit(content).names == COLOURS


@pytest.mark.parametrize(
    "content",
    [
        "red,0\ngreen,1\nblue,2\n",
        'class_index,class_name,hex\n0,"red","#f00"\n1,green,#0f0\n2,blue,#00f\n',
        "name,hex\nred,#f00\ngreen,#0f0\nblue,#00f\n",
        "name,r,code\nred,255,0\nblue,0,2\ngreen,0,1\n",
        "sep=;\r\nid;label\r\n2;blue\r\n0;red\r\n1;green\r\n",
        ",id,label\n0,2,blue\n1,0,red\n2,1,green",
        "Nr,Farbe\n1,green\n0,red\n2,blue",
        "0,red,,\n1,green,,\n2,blue,,",
        '"name"\n"red"\n"green"\n"blue"',
        "n01440764,red\nn01443537,green\nn01484850,blue",
        TEXT,
    ],
)
def test_names_are_read_from_any_csv(content: str) -> None:
    assert fit(content, name="l.csv").names == COLOURS


def test_commas_quotes_and_slashes_stay_in_names() -> None:
    assert fit('0,"blue, dark"\n1,red\n', 2, "l.csv").names == ["blue, dark", "red"]
    assert fit("tench, Tinca tinca\ngoldfish\n", 2).names == ["tench, Tinca tinca", "goldfish"]
    assert fit("tench\tTinca\ngoldfish\tCarassius\n", 2).names[0] == "tench\tTinca"
    assert fit('0: "devil\'s food"\n1: "pie"', 2).names == ["devil's food", "pie"]
    names = ["'s-Hertogenbosch", '15"', "/a/airfield", "/m/mansion/hall"]  # of Places365
    for form in ("{0} {1}", "{0}: {1}", "{1}: {0}", "{1} {0}"):
        lines = [form.format(*pair) for pair in enumerate(names)]
        assert fit("\n".join(lines), 4).names == names


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("0 red\n2 blue\n", r"found 2 .* gap or repeat \(0 in line 1, then 2 in line 2\)"),
        ("0 red\n1 blue\n1 green", r"gap or repeat \(1 in line 2, then 1 in line 3\)"),
        ("0 red\n1 green\nblue", "no number of 'blue' in line 3"),
        ("red\ngreen\n", r"expected 3 names, .*, found 2 \(lines 1 to 2\) in l.csv"),
        ("a\n\nb\n\nc\n", r"found 5 \(lines 1 to 5; 2 blank ones are places, too\)"),
        ('{"0": "red", "0": "green", "1": "blue"}', "the same key twice"),
        ('{"model_type": "vit"}', r"a JSON dictionary \(model_type, vit\)"),
        ('{"0": "red"', "broken JSON"),
        ('{"a":' * 100_000, "broken JSON"),
        ('{"red": 0.5, "green": 1.5}', "JSON with 0.5 for a name or number"),
        ('["red", null, "blue"]', "JSON with null for a name or number"),
        ("{}", "JSON without names"),
        (
            '{"id2label": {"0": "red", "1": "green"}, "label2id": {"red": 1, "green": 0}}',
            "two numbers of 'red' in id2label and label2id",
        ),
        ("red 2\ngreen 0\nblue 1", "end in numbers, but not those of their lines"),
        (" \n\n", "an empty file"),
        ("red\n\u202egreen\nblue", r"the control character U\+202E in line 2"),
        (b"caf\xe9\nb\nc", "no UTF-8 .* byte 0xe9 in position 3"),
        ("re\x1b[31md\ngreen\nblue", r"the control character U\+001B in line 1"),
        ('["red", "gre\\u009ben", "blue"]', r"the control character U\+009B in line 2"),
        ("a,b,c\nd,e,f\ng,h,i\n", r"CSV \(a, b, c\), which does not tell"),
        ("index,name\n0,red\nx,green\n", "no number of 'green' in line 3"),
        ("id,name\n0,red\n1,green\n", "found 2"),
        ("id,name", r"CSV \(id, name\), which does not tell"),
        (",\n\n", r"CSV \(\), which does not tell"),
        ("breed\nred\ngreen\nblue\n", "found 4 .*: if the first line is a heading, remove it"),
        ('0,"' + "x" * 200_000 + '"\n1,green\n2,blue', "CSV that cannot be read"),
    ],
)
def test_unfit_files_are_refused(content: str | bytes, text: str) -> None:
    """A file without separators is no CSV, whatever its name."""
    with pytest.raises(ModelError) as caught:
        fit(content, name="l.csv")
    assert re.search(text, f"{caught.value}: {caught.value.hint}")


@pytest.mark.parametrize(
    "names",
    [
        ["7 up", "3 musketeers"],
        ["zero", "7 up", "another"],
        ["0", "1", "2"],
        ["red" + " " * 200_000 + "wine", "green"],
        ["digit 0", "digit 1", "digit 2"],
        ["red 1", "green 2", "blue 3"],
        ["1 star", "2 stars", "3 stars"],
        ["3 stars", "1 star", "2 stars"],
        ["0 errors", "1 error"],
        ["10 Cent", "20 Cent", "1 Euro", "2 Euro"],
        ["1. Klasse", "2. Klasse"],
        ["1st", "2nd", "3rd"],
        ["0-1", "1-2", "2-3"],
        ["0\u20131", "1 \u2013 2", "2\u20143"],
        ["0 - 1 mm", "1 - 2 mm", "2 - 3 mm"],
        ["(0-2)", "(4-6)", "(8-12)"],
        ["2 of clubs", "2 of hearts", "3 of clubs", "3 of hearts", "ace of clubs", "joker"],
    ],
)
def test_numbers_stay_where_names_would_not_differ_without_them(names: list[str]) -> None:
    read = fit("\n".join(names), len(names))
    assert read.names == names
    if names[0].startswith(("1 ", "7 ")):
        assert "taken for parts of the names" in read.notes[0]


def test_numbers_are_removed_though_a_few_names_repeat() -> None:
    """ImageNet has two cranes: a bird and a machine."""
    names = [f"{first}{second}x" for first in "abcdefg" for second in "klmnopq"] + ["crane"] * 2
    assert fit("\n".join(f"{n} {name}" for n, name in enumerate(names)), 51).names == names


@pytest.mark.parametrize("names", [["1", "2", "10"], ["2", "0", "1"], ["7 up", "3 stars", "1 up"]])
def test_names_may_be_numbers(names: list[str]) -> None:
    """As folders that Keras' generators take for classes."""
    assert fit(json.dumps({name: place for place, name in enumerate(names)})).names == names
    assert fit(json.dumps(dict(enumerate(names)))).names == names
    rows = [f"{place},{name},km/h" for place, name in enumerate(names)]
    assert fit("\n".join(["id,label,unit", *rows]), name="l.csv").names == names


def test_blank_line_is_a_place() -> None:
    read = fit("red\n\nblue\n")
    assert read.names == ["red", "class 1", "blue"]
    assert "no name for 1 classes, such as 'class 1'" in read.notes[0]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("n02119789 2 kit_fox\nn02100735 1 English_setter\n", "l.txt"),
        ("2 n02119789 kit_fox\n1 n02100735 English_setter\n", "l.txt"),
        ("n02119789\t2\tkit_fox\nn02100735\t1\tEnglish_setter\n", "l.txt"),
        ("n02119789,1,kit_fox\nn02100735,0,English_setter\n", "l.csv"),
        ("n02100735-English_setter\nn02119789-kit_fox\n", "l.txt"),
        ("n02100735 'English_setter'\nn02119789 'kit_fox'\n", "l.txt"),
        ('{"0": ["n02100735", "English_setter"], "1": ["n02119789", "kit_fox"]}', "l.json"),
    ],
)
def test_ids_and_numbers_are_no_parts_of_names(content: str, name: str) -> None:
    read = fit(content, 2, name)
    assert read.names == ["English_setter", "kit_fox"]
    assert read.wordnet_ids == ["n02100735", "n02119789"]


def test_ids_are_names_if_there_are_no_others() -> None:
    read = fit("/m/06fvc,red\n/m/038hg,green\n", 2, "l.csv")
    assert (read.names, read.wordnet_ids) == (["red", "green"], [])
    assert "has ids, such as /m/06fvc" in fit("/m/06fvc\n/m/038hg\n", 2).notes[0]


@given(
    st.lists(
        st.text(st.characters(categories=["L"]), min_size=1),
        min_size=2,
        max_size=20,
        unique_by=lambda name: name.lower().rstrip("s"),
    )
)
def test_all_forms_give_the_same_names(names: list[str]) -> None:
    count = len(names)
    numbered = "\n".join(f"{number} {name}" for number, name in enumerate(names))
    assert fit(numbered, count).names == names
    assert fit(json.dumps(names), count).names == names
    assert fit(json.dumps(dict(enumerate(names))), count).names == names


@pytest.mark.parametrize(
    ("content", "classes", "background", "names", "place"),
    [
        (TEXT, 4, True, ["background", *COLOURS], 0),
        (TEXT, 3, True, COLOURS, 0),
        (TEXT, 3, None, COLOURS, None),
        ("wren\n__Background__", 2, True, ["wren", "__Background__"], 1),
        ("wren\n(background)", 2, None, ["wren", "(background)"], 1),
        ("background class\nwren", 2, False, ["background class", "wren"], None),
        ("id,name\n2,background\n0,a\n1,b\n", 3, None, ["a", "b", "background"], 2),
        ("background\nn01440764 tench\n", 2, None, ["background", "tench"], 0),
    ],
)
def test_background_is_found_by_its_name(
    content: str, classes: int, background: bool | None, names: list[str], place: int | None
) -> None:
    read = labels.fit_labels(content.encode(), "l.csv", classes, background)
    assert (read.names, read.background) == (names, place)


def test_background_is_added_to_imagenet_only() -> None:
    thousand = "\n".join(f"class name {n}" for n in range(1000))
    read = fit(thousand, 1001)
    assert read.names[:2] == ["background", "class name 0"]
    assert read.background == 0 and "'background'" in read.notes[0]
    assert fit(f"dummy\n{thousand}", 1000).names == read.names[1:]
    with pytest.raises(ModelError, match="expected 1001 names"):
        labels.fit_labels(thousand.encode(), "l.txt", 1001, background=False)
    with pytest.raises(ModelError, match="expected 3 names, .*, found 2"):
        labels.fit_labels(b"background\nred", "l.txt", 3, background=True)
    with pytest.raises(ModelError, match="expected 4 names, .*, found 3") as caught:
        fit(TEXT, 4)
    assert "--background yes" in caught.value.hint
    with pytest.raises(ModelError, match="expected 3 names") as caught:  # 0 is not the background
        fit("1,robin\n0,wren\n", 3)
    assert "--background" not in caught.value.hint


def test_labels_are_moved_by_less_than_the_classes() -> None:
    with pytest.raises(ModelError, match="--label-offset 3: expected less than the 3 classes"):
        labels.move_labels(fit(TEXT), 3)


Files = list[tuple[str, int, str]]
AXIS, VALUES, OTHER = ("b.txt", AXIS_LABELS, ""), ("v.txt", VALUE_LABELS, ""), ("a.txt", 4, "")
IDS, PLAIN = ("ids.txt", AXIS_LABELS, ""), ("labels.txt", AXIS_LABELS, "")
DE, EN, PT = ((f"{tag}.txt", AXIS_LABELS, tag) for tag in ("de", "en", "pt-BR"))


def choose(files: Files, locale: str) -> str:
    """Return the title of the label file that is chosen among those in a model."""
    archive = {name: b"red\n" for name, *_ in files} | {"ids.txt": b"__background__\n/m/06fvc\n"}
    listed = tuple(AssociatedFile(*each) for each in files)
    found = labels.find_embedded_labels(Metadata((), (), listed, archive, "", True), "m", locale)
    return found[0] if found else ""


@pytest.mark.parametrize(
    ("files", "locale", "expected"),
    [
        ([OTHER, AXIS], "", "b.txt"),
        ([VALUES, AXIS], "", "b.txt"),
        ([VALUES, OTHER], "", "v.txt"),
        ([OTHER], "", ""),
        ([DE, PLAIN, EN, PT], "", "labels.txt"),
        ([DE, EN], "", "en.txt"),
        ([DE], "", "de.txt"),
        ([DE, PLAIN, EN, PT], "de", "de.txt"),
        ([DE, PLAIN, EN, PT], "pt_br", "pt-BR.txt"),
        ([DE, PLAIN, EN, PT], "pt", "pt-BR.txt"),
        ([IDS, EN, DE], "", "en.txt (not the ids in ids.txt)"),
        ([IDS, EN, DE], "de", "de.txt (not the ids in ids.txt)"),
        ([IDS, VALUES], "", "v.txt (not the ids in ids.txt)"),
        ([IDS, IDS], "", "ids.txt"),
    ],
)
def test_embedded_labels_are_chosen(files: Files, locale: str, expected: str) -> None:
    assert choose(files, locale) == expected


@pytest.mark.parametrize(
    ("files", "locale", "text"),
    [
        ([DE, PT], "", r"one label file in m, found de.txt \(de\), pt-BR.txt \(pt-BR\)"),
        ([DE, PLAIN], "fr", "--locale fr: expected .* found de.txt"),
        ([AXIS, PLAIN], "", r"b.txt \(no locale\), labels.txt"),
    ],
)
def test_unclear_embedded_labels_are_refused(files: Files, locale: str, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        choose(files, locale)


def test_labels_without_metadata_are_found_by_name() -> None:
    names = ("notes.txt", "labels_de.txt", "labels.txt", "score_calibration.txt")
    metadata = Metadata(archive=dict.fromkeys(names, b"red\n"))
    assert labels.find_embedded_labels(metadata, "m.tflite") == ("labels.txt", b"red\n")
