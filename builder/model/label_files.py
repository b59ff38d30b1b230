"""Read label files: JSON, CSV, lines of text.

A reader takes a `LabelFile` and returns the form and the rows, or None if the text has another.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, NoReturn

from builder.base.errors import ModelError
from builder.model.file_format import recognize_format

HINT = "pass the labels that the model was trained with: --labels FILE"
JSON_HINT = "if the numbers are parts of the names, write a JSON list of them"

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


@dataclass(frozen=True)
class LabelRow:
    """A class name, the line or place where it is, its number and its id if the file has them."""

    name: str
    line: int
    number: int | None = None
    id: str = ""


@dataclass(frozen=True)
class LabelFile:
    """A label file.

    Attributes:
        content: text in UTF-8 or UTF-16.
        origin: its name, for messages; the suffix tells CSV from text.
        classes: of the model; tells numbers from names that begin with one.
        notes: what was decided while reading, for the user.
    """

    content: bytes
    origin: str
    classes: int
    notes: list[str] = field(default_factory=list)

    @property
    def suffix(self) -> str:
        """Return the first known suffix in the name, such as "csv"; empty without one."""
        return "".join(re.findall(r"\.(json|csv|tsv|txt)\b", self.origin.lower())[:1])

    def refuse(self, found: str, hint: str = HINT) -> NoReturn:
        """Raise a ModelError that says what was found."""
        raise ModelError(
            f"labels: expected {self.classes} names, one per output of the model, as lines of text "
            f"(numbered or not), JSON or CSV, found {found} in {self.origin}",
            hint,
        )


Labelled = tuple[str, list[LabelRow]]


def read_rows(file: LabelFile) -> Labelled:
    """Return the form of a label file, such as "CSV", and its rows; all have a number, or none.

    Raises:
        ModelError: it has another form; says which was found.
    """
    if other := recognize_format(file.content, "labels"):
        file.refuse(other.name, other.remedy or HINT)
    try:
        text = file.content.decode(json.detect_encoding(file.content))
    except UnicodeDecodeError as error:
        line = file.content[: error.start].count(b"\n") + 1
        found = f"no UTF-8 (the byte 0x{file.content[error.start]:02x} in line {line})"
        file.refuse(found, "save the file as UTF-8")
    form, rows = _read_json(text, file) or _read_csv(text, file) or _read_lines(text, file)
    for row in rows:
        if control := _CONTROL.search(row.name):
            found = f"the control character U+{ord(control[0]):04X} in line {row.line}"
            file.refuse(found, "remove it, and save the file as UTF-8")
    return form, _split_ids(rows)


def _split_ids(rows: list[LabelRow]) -> list[LabelRow]:
    """Move ids in front of names to their own field; one name, a background's, may lack it."""
    matches = [re.fullmatch(rf"({ID.pattern})[\s,;:|_-]+(\S.*)", row.name) for row in rows]
    pairs = list(zip(rows, matches, strict=True))
    if not any(matches) or sum(bool(row.name and not match) for row, match in pairs) > 1:
        return rows
    return [replace(row, name=match[2], id=match[1]) if match else row for row, match in pairs]


# JSON


def _read_json(text: str, file: LabelFile) -> Labelled | None:
    start = text.lstrip()
    if not start.startswith(("{", "[")) and file.suffix != "json":
        return None
    try:
        value = _find_labels(_parse_json(text, file), file)
    except (ValueError, RecursionError) as error:
        if re.match(r"\[[\w ]*\]", start):
            return None  # "[0] red"
        file.refuse(f"broken JSON ({str(error)[:200]})")
    form = "a JSON dictionary" if isinstance(value, dict) else "a JSON list"
    items = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(items, list) or not items:
        file.refuse("JSON without names")
    table = [(place, _flatten(item, file)) for place, item in enumerate(items, 1)]
    titles = []
    if isinstance(value, dict) and {*map(repr, value.values())} == {*map(str, range(len(value)))}:
        titles = ["name", "number"]  # as Keras' generators give them: names may be numbers, too
    return form, _read_table(table, titles, form, file)


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
        with warnings.catch_warnings(), suppress(ValueError, SyntaxError, TypeError, MemoryError):
            warnings.simplefilter("ignore")  # of strange literals
            return json.loads(json.dumps(ast.literal_eval(text.strip())))
        raise


def _find_labels(value: Any, file: LabelFile) -> Any:
    """Return the list or dictionary with the labels, which may be inside others."""
    while isinstance(value, dict):
        id2label, label2id = value.get("id2label"), value.get("label2id")
        if isinstance(id2label, dict) and isinstance(label2id, dict):
            for number, name in id2label.items():
                if str(label2id.get(str(name), number)) != number:
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


# Tables

Table = list[tuple[int, list[str]]]
Column = tuple[str, ...]


def _read_csv(text: str, file: LabelFile) -> Labelled | None:
    text = re.sub(r"\Asep=(.)\s*\n", "", text)  # Excel's own first line
    if file.suffix not in ("csv", "tsv") or not re.search('[,;\t"]', text):
        return None
    delimiter = max(",;\t", key=text.lstrip().partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        file.refuse(f"CSV that cannot be read ({error})")
    titles, body = table[0][1] if table else [], table[1:]
    columns = zip(titles, _columns(body), strict=False)
    above = [title for title, column in columns if _is_numeric(column)]
    if not any(map(_NAME_TITLE.fullmatch, titles)) and all(map(_is_number, above)):
        return "CSV", _read_table(table, [], "CSV", file)
    file.notes.append(f"the first line of {file.origin} is a heading ({', '.join(titles)})")
    return "CSV", _read_table(body, titles, "CSV", file)


def _read_table(table: Table, titles: list[str], form: str, file: LabelFile) -> list[LabelRow]:
    """Return the rows of a table; titles and content tell numbers, ids and names apart."""
    if not table:
        file.refuse("a heading and no names")
    columns = _columns(table)
    ids = [column for column in columns if all(map(ID.fullmatch, column))]
    numbers, names = _choose_columns(columns, titles, ids)
    names = names or ids or numbers
    if max(map(len, (numbers, names, ids))) > 1 or not any(names[0]):
        shown = ", ".join(titles or table[0][1])[:80]
        file.refuse(f"{form} ({shown}), which does not tell numbers from names,")
    rows = []
    for place, (line, cells) in enumerate(table):
        if numbers and not _is_number(numbers[0][place]):
            file.refuse(f"{','.join(cells)[:60]!r} in line {line}")
        row = LabelRow(names[0][place], line, int(numbers[0][place]) if numbers else None)
        rows.append(replace(row, id=ids[0][place]) if ids and names != ids else row)
    return rows


def _choose_columns(
    columns: list[Column], titles: list[str], ids: list[Column]
) -> tuple[list[Column], list[Column]]:
    """Return the columns that may be the numbers, and those that may be the names."""
    if len(columns) == 1:
        return [], columns
    numeric = list(filter(_is_numeric, columns))
    counting = list(dict.fromkeys(filter(_is_counting, numeric)))
    words = [column for column in columns if any(column) and column not in numeric + ids]
    titled = list(zip(titles, columns, strict=False))
    numbers = [column for title, column in titled if _NUMBER_TITLE.fullmatch(title)]
    numbers = [column for column in numbers if column in numeric]
    names = [column for title, column in titled if _NAME_TITLE.fullmatch(title)]
    names = [column for column in names if column in words] or (names if numbers else [])
    names = names[:1]
    if not numbers and (len(counting) == 1 or not words):
        numbers = counting[:1]
    elif not numbers and not names:
        numbers = numeric
    return numbers, names or words or [column for column in numeric if column not in numbers]


def _columns(table: Table) -> list[Column]:
    return list(zip_longest(*(cells for _, cells in table), fillvalue=""))


def _is_numeric(column: Column) -> bool:
    """Return whether at least half of a column are numbers: the others are faults."""
    return 2 * sum(map(_is_number, column)) >= len(column)


def _is_number(text: str) -> bool:
    return len(text) < 7 and text.isdecimal()


def _is_counting(column: Iterable[str | int]) -> bool:
    """Return whether a column has all numbers from 0 or 1 on, in any order."""
    found = sorted(int(cell) if _is_number(str(cell)) else -1 for cell in column)
    return found[:1] in ([0], [1]) and found == list(range(found[0], found[0] + len(found)))


# Lines of text


def _read_lines(text: str, file: LabelFile) -> Labelled:
    rows = _split_ids(_split_lines(text, file))
    named = [row for row in rows if row.name]
    if numbered := _read_first_numbers(named, file) or _read_last_numbers(named, file):
        return "numbered lines", numbered
    if all(map(_QUOTED.fullmatch, (row.name for row in named))):
        rows = [replace(row, name=row.name[1:-1].strip()) for row in rows]
    return "lines of text", rows


def _split_lines(text: str, file: LabelFile) -> list[LabelRow]:
    """Return the lines without comments, commas at their ends, and a heading."""
    lines = [line.strip() for line in re.split("\r\n|\r|\n", text.rstrip())]
    rows = [LabelRow(line, number) for number, line in enumerate(lines, 1)]
    names = [row for row in rows if not row.name.startswith("#")]
    if len(rows) != file.classes and max(file.classes - 1, 1) <= len(names) < len(rows):
        file.notes.append(f"{file.origin} has {len(rows) - len(names)} lines of comments (#)")
        rows = names
    if len(rows) > 1 and all(row.name.endswith((",", ";")) for row in rows[:-1]):
        rows = [replace(row, name=row.name.rstrip(",; ")) for row in rows]
    first, *others = rows
    words = re.split(r"[\s,;:|]+", first.name)
    is_title = all(_NAME_TITLE.fullmatch(word) or _NUMBER_TITLE.fullmatch(word) for word in words)
    are_numbered = all(_NUMBER_FIRST.fullmatch(row.name) for row in others if row.name)
    if is_title and others and (are_numbered or len(rows) == file.classes + 1):
        file.notes.append(f"the first line of {file.origin} is a heading ({first.name})")
        return others
    return rows


def _read_first_numbers(rows: list[LabelRow], file: LabelFile) -> list[LabelRow] | None:
    """Read lines such as "0: red"; return None if their numbers are parts of the names."""
    numbered, are_marked = _match_numbers(_NUMBER_FIRST, rows)
    are_plausible = all((row.number or 0) <= file.classes for row in numbered)
    are_places = are_plausible and _are_distinct(numbered)
    if len(numbered) == len(rows):
        if are_marked or are_places:
            return numbered
        file.notes.append(f"the numbers in {file.origin} are taken for parts of the names")
    elif are_places and len(numbered) >= max(2, len(rows) / 2):
        row = next(row for row in rows if not _NUMBER_FIRST.fullmatch(row.name))
        file.refuse(
            f"numbers of {len(numbered)} names, but none of {row.name!r} in line {row.line},",
            f"number all of them, from 0, or none; {JSON_HINT}",
        )
    return None  # "1 star", "2 stars"; "7 up" among other names


def _read_last_numbers(rows: list[LabelRow], file: LabelFile) -> list[LabelRow] | None:
    """Read lines such as "red: 0"; return None if their numbers are parts of the names."""
    numbered, are_marked = _match_numbers(_NUMBER_LAST, rows)
    numbers = [row.number or 0 for row in numbered]
    if len(numbered) < len(rows) or not _is_counting(numbers) or not _are_distinct(numbered):
        return None
    if are_marked or numbers == list(range(len(rows))):
        return numbered
    if numbers == sorted(numbers):
        return None  # from 1: the places are the same, and names may end so
    file.refuse(
        f"names that end in numbers, but not those of their lines (line {rows[0].line} is "
        f"{rows[0].name!r}),",
        f"if they are the places, put them in front, as in 0: red; {JSON_HINT}",
    )


def _match_numbers(form: re.Pattern[str], rows: list[LabelRow]) -> tuple[list[LabelRow], bool]:
    """Return the rows with a number, and whether punctuation sets it apart in all of them."""
    hits = [(row, match) for row in rows if (match := form.fullmatch(row.name))]
    numbered = [
        replace(
            row, name=_QUOTED.sub(r"\2", match["name"].strip(" ,")), number=int(match["number"])
        )
        for row, match in hits
    ]
    return numbered, all(match["separator"].strip(" .-_–—") for _, match in hits)


def _are_distinct(rows: list[LabelRow]) -> bool:
    """Return whether names differ by more than a plural; as few as ImageNet's may repeat."""
    names = {row.name.lower().rstrip("s ") for row in rows}
    return len(names) > 0.9 * len(rows)


def join_some(texts: Sequence[object]) -> str:
    """Return what a message lists; of many only the first six."""
    more = f" and {len(texts) - 6} more" if len(texts) > 6 else ""
    return ", ".join(map(str, texts[:6])) + more
