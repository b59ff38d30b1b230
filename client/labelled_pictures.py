"""Read pictures whose class is known: folders named after classes, or a CSV of file and class."""

import csv
import difflib
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from action.request import ActionError
from client.picture_files import FILE_ENDINGS, expand_folders

_TABLE_ENDINGS = (".csv", ".tsv")
_FILE_COLUMNS = ("file", "filename", "path", "picture", "image")
_CLASS_COLUMNS = ("class", "classname", "class_name", "label", "name")
_WORDNET_ID = re.compile(r"n\d{8}")


class LabelledPicturesError(ActionError):
    """There are no labelled pictures, or a class is unknown; the text says what to do."""


class LabelledPicture(NamedTuple):
    """A picture's file, and its class as the folder or the CSV names it."""

    file: str
    class_name: str


def read_labelled_pictures(source: str) -> list[LabelledPicture]:
    """Return the pictures in a folder of folders, or in a CSV.

    Args:
        source: a folder with a folder of pictures for each class, or with one CSV; or that CSV.
            It has a line per picture: the file, relative to the CSV, and the class. A head may
            name the columns.

    Raises:
        LabelledPicturesError: it is neither.
    """
    if not os.path.isdir(source):
        return _read_table(source)
    inside = sorted(os.listdir(source))
    paths = [os.path.join(source, name) for name in inside]
    pictures = [
        LabelledPicture(file, name)
        for name, path in zip(inside, paths, strict=True)
        if os.path.isdir(path)
        for file in expand_folders([path])
        if not os.path.isdir(file)
    ]
    tables = [path for path in paths if path.lower().endswith(_TABLE_ENDINGS)]
    if not pictures and len(tables) == 1:
        return _read_table(tables[0])
    unsorted = [name for name in inside if name.lower().endswith(FILE_ENDINGS)]
    if unsorted or not pictures:
        found = f"{unsorted[0]} in none of them" if unsorted else "no pictures"
        raise LabelledPicturesError(
            f"{source}: expected folders that are named after classes, or one CSV of file and "
            f"class, found {found}"
        )
    return pictures


def _read_table(path: str) -> list[LabelledPicture]:
    """Return the pictures of a CSV whose separator is a comma, a semicolon or a tab."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as table:
            text = table.read()
        separator = max("\t;,", key=text.partition("\n")[0].count)
        rows = [row for row in csv.reader(text.splitlines(), delimiter=separator) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        text = f"{path}: expected a folder, or a CSV of file and class, that can be read: {error}"
        raise LabelledPicturesError(text) from None
    file_column, class_column, has_head = _find_columns(rows[0] if rows else [])
    pictures = []
    for number, row in enumerate(rows[has_head:], 1 + has_head):
        if len(row) <= max(file_column, class_column) or not row[class_column].strip():
            raise LabelledPicturesError(
                f"{path}: expected a file and its class in each line, found {row} in row {number}"
            )
        file = os.path.join(os.path.dirname(path), row[file_column].strip())
        pictures.append(LabelledPicture(file, row[class_column].strip()))
    if not pictures:
        raise LabelledPicturesError(f"{path}: expected a line per picture, found none")
    return pictures


def _find_columns(first: list[str]) -> tuple[int, int, bool]:
    """Return the columns of file and class, and whether the first row is a head."""
    names = [cell.strip().lower() for cell in first]
    files = [number for number, name in enumerate(names) if name in _FILE_COLUMNS]
    classes = [number for number, name in enumerate(names) if name in _CLASS_COLUMNS]
    return (files[0], classes[0], True) if files and classes else (0, 1, False)


class ClassNames:
    """Finds the class that a folder or a CSV means among a model's labels."""

    def __init__(self, labels: Sequence[str], wordnet_ids: Sequence[str] = ()) -> None:
        self.labels = labels
        self._places: dict[str, set[int]] = defaultdict(set)
        synonyms: dict[str, set[int]] = defaultdict(set)
        for index, label in enumerate(labels):
            self._places[_normalize(label)].add(index)
            for synonym in label.split(","):
                synonyms[_normalize(synonym)].add(index)
        for index, wordnet_id in enumerate(wordnet_ids):
            self._places[wordnet_id].add(index)
        for index in range(len(labels)):
            synonyms[str(index)].add(index)
        # A whole label comes before a synonym or a number.
        self._places = {**synonyms, **self._places}

    def find(self, name: str) -> int:
        """Return the index of a class.

        Args:
            name: a label, one of its synonyms (between commas), its WordNet id, which more may
                follow, or its index. Case does not matter, nor do "_" and "-" for a space.

        Raises:
            LabelledPicturesError: no class, or several, have that name.
        """
        wordnet_id = _WORDNET_ID.match(name)
        key = _normalize(name)
        if key not in self._places and wordnet_id:
            key = wordnet_id[0]
        places = sorted(self._places.get(key, ()))
        if len(places) == 1:
            return places[0]
        if places:
            listed = ", ".join(f"{index} {self.labels[index]!r}" for index in places[:4])
            raise LabelledPicturesError(
                f"{name!r} may be one of several classes ({listed}): name it by its number"
            )
        close = difflib.get_close_matches(key, self._places, n=1)
        shown = sorted(self._places[close[0]])[:1] if close else range(len(self.labels))[:5]
        listed = ", ".join(repr(self.labels[index]) for index in shown)
        raise LabelledPicturesError(
            f"expected a class of the model, such as {listed}, found {name!r}: a class is named by "
            "its label or its number, from 0"
        )


def _normalize(name: str) -> str:
    return " ".join(re.sub(r"(?<=\S)[_-]", " ", name).casefold().split())
