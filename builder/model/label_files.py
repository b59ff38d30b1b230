"""Read label files: a reader per format makes a table, and one routine finds its columns.

A reader takes a text and its `LabelFile`, and returns a table, or None for another format.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, repeat, zip_longest
from typing import Any, NamedTuple, NoReturn

from builder.base.errors import ModelError
from builder.model.file_format import recognize_format

HINT = "pass the labels that the model was trained with: --labels FILE"
NUMBER_HINT = (
    "number every class once, from 0; if the numbers are parts of the names, write a JSON list"
)

# Titles of columns, and keys of JSON objects.
_NUMBER_TITLE = re.compile(r"(?i)((class|label)[_ ]?)?(id|index|idx|number|no|nr|#)|place|target")
_NAME_TITLE = re.compile(r"(?i)((class|label|display)[_ ]?)?names?|labels?|class(es)?|category")
# Keys of larger JSON files under which the labels are.
_LABEL_KEYS = (
    *("id2label", "label2id", "labels", "classes", "names", "class_names", "label_names"),
    *("categories", "class_indices", "class_to_idx", "idx_to_class", "label_map"),
)
# Identifiers of WordNet, Freebase and Google's Knowledge Graph.
ID = re.compile(r"n\d{8}|/[mg]/[01]\w+")
_LEADING_ID = re.compile(rf"(?P<id>{ID.pattern})[\s,;:|_-]+(?P<name>\S.*)")
# What a terminal may obey, and what is no text.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_QUOTED = re.compile(r"""^(["'])((?:(?!\1).)*)\1$""")
# What sets a number apart from a name.
_MARK = r"(?:[:,;=\t|]|[-=]>)"
# "0: red", "0 red", "[0] red", "class 0: red", "0_red".
_NUMBER_FIRST = re.compile(
    r"""(?i)(?:class |label |[#("'[])?\s*(?P<number>\d{1,6})["']?"""
    rf"(?P<separator>[])]?\s*{_MARK}\s*|[])]\s*|\.\s+|\s*[_–—-]\s*|\s+)"
    r"(?P<name>(?![–—-] |(?<=[–—-])\d|(?<=[–—-] )\d)\S.*)"  # no range, such as 0-1
)
# "red: 0", "red 0".
_NUMBER_LAST = re.compile(
    rf"""(?P<name>\S.*?)(?<!\s)(?P<separator>\s*{_MARK}\s*|\s+)["']?(?P<number>\d{{1,6}})["']?"""
)

Column = tuple[str, ...]
Match = re.Match[str]


class LabelRow(NamedTuple):
    """A class name, the line or place where it is, its number and its id if the file has them."""

    name: str
    line: int
    number: int | None
    id: str


class LabelTable(NamedTuple):
    """What a reader finds in a label file.

    Attributes:
        form: of the file, such as "CSV", for messages.
        lines: the line or place of each row.
        columns: the cells of each column; empty ones do not count.
        titles: of the first columns.
    """

    form: str
    lines: Sequence[int]
    columns: Sequence[Column]
    titles: list[str]


@dataclass(frozen=True)
class LabelFile:
    """A label file.

    Attributes:
        content: text in UTF-8 or UTF-16.
        origin: its name, for messages; it tells CSV from text.
        classes: of the model; tells numbers from names that begin with one.
        notes: what was decided while reading, for the user.
    """

    content: bytes
    origin: str
    classes: int
    notes: list[str] = field(default_factory=list)

    def refuse(self, found: str, hint: str = HINT) -> NoReturn:
        """Raise a ModelError that says what was found."""
        raise ModelError(
            f"labels: expected {self.classes} names, one per output of the model, as lines of text "
            f"(numbered or not), JSON or CSV, found {found} in {self.origin}",
            hint,
        )


def read_rows(file: LabelFile) -> tuple[str, list[LabelRow]]:
    """Return the form of a label file, such as "CSV", and its rows; all have a number, or none.

    Raises:
        ModelError: it has another form; says which was found.
    """
    if other := recognize_format(file.content, "labels"):
        file.refuse(other.name, other.remedy or HINT)
    try:
        text = file.content.decode(json.detect_encoding(file.content))
    except UnicodeDecodeError as error:
        file.refuse(f"no UTF-8 ({error})", "save the file as UTF-8")
    table = _read_json(text, file) or _read_csv(text, file) or _read_lines(text, file)
    rows = _find_columns(table, file)
    for row in rows:
        if control := _CONTROL.search(row.name):
            found = f"the control character U+{ord(control[0]):04X} in line {row.line}"
            file.refuse(found, "remove it, and save the file as UTF-8")
    return table.form, rows


def _read_json(text: str, file: LabelFile) -> LabelTable | None:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = _find_labels(_parse_json(text, file), file)
    except (ValueError, RecursionError) as error:
        if re.match(r"\s*\[[\w ]*\]", text):
            return None  # "[0] red"
        file.refuse(f"broken JSON ({str(error)[:200]})")
    if not value:
        file.refuse("JSON without names")
    form, items, titles = "a JSON list", value, []
    if isinstance(value, dict):
        form, items = "a JSON dictionary", value.items()
        if {*map(repr, value.values())} == {*map(str, range(len(value)))}:
            titles = ["name", "number"]  # as Keras' generators give them: names may be numbers, too
    columns = zip_longest(*(_flatten(item, file) for item in items), fillvalue="")
    return LabelTable(form, range(1, len(value) + 1), list(columns), titles)


def _parse_json(text: str, file: LabelFile) -> Any:
    """Parse JSON, or lists and dictionaries as Python prints them; raise ValueError if neither.

    A well-known file with the names of ImageNet's classes is of the latter kind.
    """

    def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            file.refuse("the same key twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=build_object)
    except ValueError:
        with suppress(ValueError, SyntaxError, TypeError, MemoryError):
            return json.loads(json.dumps(ast.literal_eval(text.strip())))
        raise


def _find_labels(value: Any, file: LabelFile) -> Any:
    """Return the list or dictionary with the labels, which may be inside others."""
    while isinstance(value, dict):
        numbers = value.get("label2id")
        if isinstance(value.get("id2label"), dict) and isinstance(numbers, dict):
            for number, name in value["id2label"].items():
                if str(numbers.get(str(name), number)) != number:
                    file.refuse(f"two numbers of {name!r} in id2label and label2id")
        inner = [value[key] for key in _LABEL_KEYS if isinstance(value.get(key), (list, dict))]
        if not inner:
            inner = [each for each in value.values() if isinstance(each, (list, dict))]
            if len(inner) != 1 or any(map(_is_number, value)):
                return value
        value = inner[0]
    return value


def _flatten(item: Any, file: LabelFile) -> list[str]:
    """Return the cells of an item such as "red", [0, "red"] or {"id": 0, "name": "red"}."""
    if isinstance(item, dict):
        matches = [[k for k in item if form.fullmatch(k)] for form in (_NUMBER_TITLE, _NAME_TITLE)]
        item = [item[keys[0]] for keys in matches if keys] or [*item.items()]
    if isinstance(item, (list, tuple)):
        return [cell for each in item for cell in _flatten(each, file)]
    if not isinstance(item, (str, int)) or isinstance(item, bool):
        file.refuse(f"JSON with {json.dumps(item)[:40]} for a name or number")
    return [str(item).strip()]


def _read_csv(text: str, file: LabelFile) -> LabelTable | None:
    if not re.search(r"(?i)\.[ct]sv\b", file.origin) or not re.search('[,;\t"]', text):
        return None
    text = re.sub(r"\Asep=(.)\s*\n", "", text)  # Excel's own first line
    delimiter = max(",;\t", key=text.lstrip().partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        file.refuse(f"CSV that cannot be read ({error})")
    titles, *body = [cells for _, cells in rows] or [[]]
    pairs = zip(titles, zip_longest(*body, fillvalue=""), strict=False)
    above = [title for title, column in pairs if _is_numeric(column)]
    if any(map(_NAME_TITLE.fullmatch, titles)) or not all(map(_is_number, above)):
        file.notes.append(f"the first line of {file.origin} is a heading ({', '.join(titles)})")
        del rows[0]
    else:
        titles = []
    columns = zip_longest(*(cells for _, cells in rows), fillvalue="")
    return LabelTable("CSV", [line for line, _ in rows], list(columns), titles)


def _read_lines(text: str, file: LabelFile) -> LabelTable:
    lines, texts = zip(*_select_lines(text, file), strict=True)
    *ids, names = _split_ids(texts)
    count, numbers = sum(map(bool, names)), Column()
    forms = ((_NUMBER_FIRST, _has_first_numbers), (_NUMBER_LAST, _has_last_numbers))
    for pattern, has_numbers in forms:
        hits = [pattern.fullmatch(name) for name in names]
        if has_numbers([hit for hit in hits if hit], count, file):
            numbers = tuple(hit["number"] if hit else "" for hit in hits)
            pairs = zip(names, hits, strict=True)
            names = tuple(hit["name"].strip(" ,") if hit else name for name, hit in pairs)
            break
    names = tuple(_QUOTED.sub(r"\2", name) for name in names)
    form = "numbered lines" if numbers else "lines of text"
    return LabelTable(form, lines, [numbers, names, *ids], ["number", "name"])


def _select_lines(text: str, file: LabelFile) -> list[tuple[int, str]]:
    """Return the lines without comments, commas at their ends, and a heading."""
    lines = list(enumerate(map(str.strip, re.split("\r\n|\r|\n", text.rstrip())), 1))
    names = [(number, line) for number, line in lines if not line.startswith("#")]
    if len(lines) != file.classes and max(file.classes - 1, 1) <= len(names) < len(lines):
        file.notes.append(f"{file.origin} has {len(lines) - len(names)} lines of comments (#)")
        lines = names
    if len(lines) > 1 and all(line.endswith((",", ";")) for _, line in lines[:-1]):
        lines = [(number, line.rstrip(",; ")) for number, line in lines]
    (_, title), *others = lines
    words = re.split(r"[\s,;:|]+", title)
    is_title = all(_NAME_TITLE.fullmatch(word) or _NUMBER_TITLE.fullmatch(word) for word in words)
    if is_title and others and (len(lines) != file.classes or _NUMBER_FIRST.match(others[0][1])):
        file.notes.append(f"the first line of {file.origin} is a heading ({title})")
        return others
    return lines


def _has_first_numbers(hits: list[Match], count: int, file: LabelFile) -> bool:
    """Return whether names such as "0: red" have numbers that are no parts of them.

    `hits` are those of all `count` names that begin with one; a few others are faults.
    """
    are_places = all(int(hit["number"]) <= file.classes for hit in hits) and _are_distinct(hits)
    if len(hits) < count:
        return are_places and 2 * len(hits) >= max(count, 3)
    if are_places or _are_marked(hits):
        return True
    file.notes.append(f"the numbers in {file.origin} are taken for parts of the names")
    return False  # "1 star", "2 stars"; "7 up" among other names


def _has_last_numbers(hits: list[Match], count: int, file: LabelFile) -> bool:
    """Return whether names such as "red: 0" have numbers that are no parts of them."""
    numbers = tuple(hit["number"] for hit in hits)
    if len(hits) < count or not _is_counting(numbers) or not _are_distinct(hits):
        return False
    if _are_marked(hits) or [*map(int, numbers)] == [*range(count)]:
        return True
    if sorted(numbers, key=int) != [*numbers]:
        file.refuse(
            "names that end in numbers, but not those of their lines,",
            "put numbers that are places in front, as in 0: red; else write a JSON list of names",
        )
    return False  # from 1: the places are the same, and names may end so


def _are_marked(hits: list[Match]) -> bool:
    """Return whether punctuation sets all numbers apart."""
    return all(hit["separator"].strip(" .-_–—") for hit in hits)


def _are_distinct(hits: list[Match]) -> bool:
    """Return whether names differ by more than a plural; as few as ImageNet's may repeat."""
    names = {hit["name"].lower().rstrip("s '\"") for hit in hits}
    return len(names) > 0.9 * len(hits)


def _find_columns(table: LabelTable, file: LabelFile) -> list[LabelRow]:
    """Return the rows of a table; titles and content tell numbers, ids and names apart."""
    titled = [
        (title, part)
        for title, column in zip(chain(table.titles, repeat("")), table.columns, strict=False)
        for part in _split_ids(column)
        if any(part)
    ]
    numbers, ids, names = _choose_columns(titled)
    if len(names) != 1 or max(len(numbers), len(ids)) > 1:
        shown = ", ".join(table.titles or [column[0] for column in table.columns])[:80]
        file.refuse(f"{table.form} ({shown}), which does not tell numbers from names,")
    rows = []
    for place, line in enumerate(table.lines):
        name, number, id = (column[0][place] if column else "" for column in (names, numbers, ids))
        if numbers and not (name or number):
            continue  # a blank line
        if numbers and not _is_number(number):
            file.refuse(f"no number of {name[:60]!r} in line {line}", NUMBER_HINT)
        rows.append(LabelRow(name, line, int(number) if numbers else None, id))
    return rows


def _choose_columns(
    titled: list[tuple[str, Column]],
) -> tuple[list[Column], list[Column], list[Column]]:
    """Return the columns that may be numbers, ids and names."""
    columns = [column for _, column in titled]
    if len(columns) == 1:
        return [], [], columns
    ids = [each for each in columns if not any(cell and not ID.fullmatch(cell) for cell in each)]
    numeric = list(filter(_is_numeric, columns))
    counting = list(dict.fromkeys(filter(_is_counting, numeric)))
    words = [column for column in columns if column not in numeric + ids]
    numbers = [c for title, c in titled if _NUMBER_TITLE.fullmatch(title) and c in numeric]
    names = [c for title, c in titled if _NAME_TITLE.fullmatch(title) and c not in ids]
    names = [c for c in names if c in words] or (names if numbers else [])
    if not numbers and (len(counting) == 1 or not words):
        numbers = counting[:1]
    elif not numbers and not names:
        numbers = numeric
    others = [column for column in numeric if column not in numbers]
    names = names[:1] or words or others or ids or numbers
    return numbers, [column for column in ids if column not in names], names


def _split_ids(column: Column) -> list[Column]:
    """Move ids in front of names to their own column; one name, a background's, may lack it."""
    pairs = [(cell, _LEADING_ID.fullmatch(cell)) for cell in column]
    if sum(bool(cell and not hit) for cell, hit in pairs) > 1:
        return [column]
    ids = tuple(hit["id"] if hit else "" for _, hit in pairs)
    return [ids, tuple(hit["name"] if hit else cell for cell, hit in pairs)]


def _is_numeric(column: Column) -> bool:
    """Return whether at least half of a column are numbers: the others are faults."""
    return 2 * sum(map(_is_number, column)) >= len(column)


def _is_number(text: str) -> bool:
    return len(text) < 7 and text.isdecimal()


def _is_counting(column: Column) -> bool:
    """Return whether a column has all numbers from 0 or 1 on, in any order."""
    found = sorted(int(cell) if _is_number(cell) else -1 for cell in column)
    return found[:1] in ([0], [1]) and found == list(range(found[0], found[0] + len(found)))
