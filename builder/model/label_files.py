"""Read label files of any usual form: JSON, CSV, or lines of text, numbered or not."""

from __future__ import annotations

import ast
import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NoReturn

from builder.base.errors import ModelError

HINT = "pass the labels that the model was trained with: --labels FILE"

# Titles of columns, and keys of JSON objects, that hold numbers or names.
_NUMBER_TITLES = (
    *("id", "index", "idx", "number", "no", "place", "target", "#", "classid", "classindex"),
    *("class_id", "class_index", "class_idx", "label_id", "label_index"),
)
_NAME_TITLES = (
    *("name", "names", "label", "labels", "class", "classes", "category", "classname"),
    *("class_name", "class name", "label_name", "display_name", "displayname"),
)
# Keys of larger JSON files under which the labels are.
_LABEL_KEYS = (
    *("id2label", "label2id", "labels", "classes", "names", "class_names", "label_names"),
    *("categories", "class_indices", "class_to_idx", "idx_to_class", "label_map"),
)
_NUMBERED = re.compile(
    r"""["']?(\d{1,6})["']?(\s*[:,;=\t|]\s*|\s*[-=]>\s*|[.)]\s+|\s+-\s+|\s+)(\S.*)"""
)
# Other numbers; they count only if they are all different and none is missing.
_MARKED = re.compile(
    r"""(?:[(\[](\d{1,6})[)\]]|(?:class|label|\#)\s*(\d{1,6})\s*[:=.-]?|(\d{1,6})[-_])\s*(\D.*)""",
    re.IGNORECASE,
)
_NUMBER_LAST = re.compile(r"""(\S.*?)(\s*[:,;=\t|]\s*|\s+)["']?(\d{1,6})["']?""")
_QUOTED = re.compile(r"""(["'])([^"']*)\1""")
_WORDNET_ID = re.compile(r"n\d{8}")
_MAX_NUMBER = 100_000
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"", "utf-8"),
)


@dataclass(frozen=True)
class LabelRow:
    """A class name, the line or place where it is, and the number that the file gives it."""

    name: str
    line: int
    number: int | None = None


@dataclass(frozen=True)
class LabelFile:
    """The names in a label file.

    Attributes:
        origin: name of the file, for messages.
        form: such as "CSV" or "numbered lines".
        rows: all with a number, or none.
        notes: what was decided while reading, for the user.
    """

    origin: str
    form: str
    rows: list[LabelRow]
    notes: list[str] = field(default_factory=list)


def read_label_file(content: bytes, origin: str, classes: int) -> LabelFile:
    """Read a label file of any form.

    Args:
        content: text in UTF-8 or UTF-16.
        origin: name of the file, for messages; its suffix tells CSV from text.
        classes: of the model; tells numbers from names that begin with one.

    Raises:
        ModelError: it has another form; says which was found.
    """
    text = _decode(content, origin)
    start, suffix = text.lstrip(), origin.lower().rpartition(".")[2]
    if suffix == "json" or start.startswith(("{", "[")):
        try:
            return _read_json(_parse_json(text), origin)
        except ValueError as error:
            is_json = suffix == "json" or start.startswith("{")
            if is_json or ("\n" in text.strip() and re.match(r"\[\s*([\"'{\[]|\n)", start)):
                raise ModelError(f"labels: {origin} is not JSON: {error}", HINT) from None
    _refuse_other_forms(start, origin)
    if suffix in ("csv", "tsv") and re.search("[,;\t]", text):
        return _read_csv(text, origin)
    return _read_lines(text, origin, classes)


def _decode(content: bytes, origin: str) -> str:
    encoding = next(name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark))
    if encoding == "utf-8" and len(content) % 2 == 0 and content[:64].count(0) >= 2:
        half = len(content[:64]) // 4
        if content[1:64:2].count(0) > half:
            encoding = "utf-16-le"
        elif content[0:64:2].count(0) > half:
            encoding = "utf-16-be"
    try:
        text = content.decode(encoding)
        if "\0" not in text:
            return text
        problem = "zero bytes"
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problem = f"the byte 0x{content[error.start]:02x} in line {line}"
    raise ModelError(
        f"labels: expected text in UTF-8 or UTF-16, found {problem} in {origin}",
        "save the file as UTF-8",
    )


def _refuse_other_forms(start: str, origin: str) -> None:
    for prefix, form in (
        ("<", "an HTML or XML page"),
        ("item {", "a label map in protocol buffers' text form"),
        ("item{", "a label map in protocol buffers' text form"),
        ("names:", "YAML"),
        ("nc:", "YAML"),
        ("---", "YAML"),
    ):
        if start[:20].lower().startswith(prefix):
            _refuse(origin, form)
    lines = [line for line in start.splitlines() if line.strip()]
    is_yaml_list = len(lines) > 1 and all(line.startswith("- ") for line in lines)
    if origin.lower().endswith((".yaml", ".yml")) or is_yaml_list:
        _refuse(origin, "YAML")
    if not start:
        _refuse(origin, "an empty file")


def _refuse(origin: str, found: str) -> NoReturn:
    raise ModelError(
        "labels: expected a text file with a name per line (numbered or not), a JSON list or "
        f"dictionary of names, or CSV, found {found} in {origin}",
        HINT,
    )


# JSON


class _JsonObject(dict[str, Any]):
    """A JSON object.

    Attributes:
        duplicates: the keys that it has more than once.
    """

    duplicates: tuple[str, ...] = ()


def _build_object(pairs: list[tuple[str, Any]]) -> _JsonObject:
    result = _JsonObject(pairs)
    counts = Counter(key for key, _ in pairs)
    result.duplicates = tuple(key for key, count in counts.items() if count > 1)
    return result


def _parse_json(text: str) -> Any:
    """Parse JSON, or lists and dictionaries as Python prints them; raise ValueError if neither.

    A well-known file with the names of ImageNet's classes is of the latter kind.
    """
    try:
        return json.loads(text, object_pairs_hook=_build_object)
    except RecursionError:
        raise ValueError("it has too many levels") from None
    except ValueError as error:
        try:
            return _convert_literal(ast.literal_eval(text.strip()))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError(str(error)[:200]) from None


def _convert_literal(value: Any) -> Any:
    """Return a Python literal as JSON would have it."""
    if isinstance(value, dict):
        return _JsonObject((str(key), _convert_literal(each)) for key, each in value.items())
    return list(map(_convert_literal, value)) if isinstance(value, (list, tuple)) else value


def _read_json(value: Any, origin: str) -> LabelFile:
    if isinstance(value, _JsonObject):
        _check_label_maps(value, origin)
        nested = _find_nested_labels(value)
        if nested is not None:
            return _read_json(nested, origin)
        if value.duplicates:
            raise ModelError(
                f"labels: {origin} has {value.duplicates[0]!r} twice: expected each once", HINT
            )
        return LabelFile(origin, "a JSON dictionary", _read_json_object(value, origin))
    if not isinstance(value, list) or not value:
        _refuse(origin, "JSON of another kind")
    rows = [_read_json_item(item, place, origin) for place, item in enumerate(value, 1)]
    if len({row.number is None for row in rows}) > 1:
        _refuse(origin, "a JSON list in which only some objects have a number")
    has_objects = any(isinstance(item, _JsonObject) for item in value)
    return LabelFile(origin, "a JSON list of objects" if has_objects else "a JSON list", rows)


def _find_nested_labels(value: _JsonObject) -> Any:
    """Return the list or dictionary inside an object that holds the labels; None if none does."""
    for key in _LABEL_KEYS:
        if isinstance(value.get(key), (list, dict)):
            return value[key]
    nested = [each for each in value.values() if isinstance(each, (list, dict))]
    return nested[0] if len(nested) == 1 and not any(map(_is_number, value)) else None


def _read_json_item(item: Any, place: int, origin: str) -> LabelRow:
    """Read an item of a JSON list: a name, an object, or a pair such as [0, "red"]."""
    if isinstance(item, str):
        return LabelRow(item.strip(), place)
    if isinstance(item, _JsonObject):
        number, name = _get_first(item, _NUMBER_TITLES), _get_first(item, _NAME_TITLES)
        if not isinstance(name, str) or not (number is None or _is_number(number)):
            _refuse(origin, f"an object with {', '.join(list(item)[:5])}")
        return LabelRow(name.strip(), place, None if number is None else int(number))
    if isinstance(item, list) and sorted(map(_is_text, item)) == [False, True]:
        number, name = sorted(item, key=_is_text)
        if _is_number(number):
            return LabelRow(name.strip(), place, int(number))
    _refuse(origin, f"a JSON list with {json.dumps(item)[:40]} in place {place - 1}")


def _read_json_object(value: _JsonObject, origin: str) -> list[LabelRow]:
    """Read a JSON dictionary from numbers to names, or from names to numbers."""
    if value and all(_is_number(key) for key in value):
        return [
            LabelRow(_read_json_name(name, origin), line, int(key))
            for line, (key, name) in enumerate(value.items(), 1)
        ]
    if value and all(_is_number(number) for number in value.values()):
        return [
            LabelRow(name.strip(), line, int(number))
            for line, (name, number) in enumerate(value.items(), 1)
        ]
    keys = ", ".join(list(value)[:5])
    _refuse(origin, f"a JSON dictionary with the keys {keys}" if keys else "an empty JSON object")


def _read_json_name(name: Any, origin: str) -> str:
    if isinstance(name, list) and len(name) == 2 and all(map(_is_text, name)):
        name = " ".join(name)  # Keras: {"0": ["n01440764", "tench"], ...}
    if isinstance(name, _JsonObject):
        name = _get_first(name, _NAME_TITLES)
    if not isinstance(name, str):
        _refuse(origin, f"a JSON dictionary with {json.dumps(name)[:40]} for a name")
    return name.strip()


def _check_label_maps(value: _JsonObject, origin: str) -> None:
    """Raise if id2label and label2id disagree."""
    id2label, label2id = value.get("id2label"), value.get("label2id")
    if not isinstance(id2label, dict) or not isinstance(label2id, dict):
        return
    for number, name in id2label.items():
        if isinstance(name, str) and name in label2id and str(label2id[name]) != number:
            raise ModelError(
                f"labels: {origin} contradicts itself: {name!r} is number {number} in id2label, "
                f"{str(label2id[name])[:20]} in label2id",
                HINT,
            )


def _get_first(item: _JsonObject, keys: Iterable[str]) -> Any:
    return next((item[key] for key in keys if key in item), None)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    """Return whether a value can be the number of a class."""
    if isinstance(value, str):
        return len(value) < 10 and value.strip().isdecimal() and int(value) <= _MAX_NUMBER
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER


# CSV


def _read_csv(text: str, origin: str) -> LabelFile:
    text = re.sub(r"\Asep=(.)\s*\n", "", text)  # Excel's own first line
    lines = [line for line in io.StringIO(text, newline="") if line.strip()]
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        _refuse(origin, f"CSV that cannot be read ({error})")
    table = [(line, row) for line, row in table if any(row)]
    if not table:
        _refuse(origin, "no names")
    number_column, name_column, has_heading = _find_columns([row for _, row in table], origin)
    notes = []
    if has_heading:
        _, heading = table.pop(0)
        notes.append(f"the first line of {origin} is a heading ({', '.join(heading)})")
    if not table:
        _refuse(origin, "a heading and no names")
    rows = []
    for line, row in table:
        number = None if number_column is None else "".join(row[number_column : number_column + 1])
        if len(row) <= name_column or not (number is None or _is_number(number)):
            _refuse(origin, f"{delimiter.join(row)[:60]!r} in line {line}")
        name = row[name_column]
        if number is None and name_column == 1 and _WORDNET_ID.fullmatch(row[0]):
            name = f"{row[0]} {name}"
        rows.append(LabelRow(name, line, None if number is None else int(number)))
    return LabelFile(origin, "CSV", rows, notes)


def _find_columns(table: list[list[str]], origin: str) -> tuple[int | None, int, bool]:
    """Return the columns of numbers, if any, and of names, and whether there is a heading."""
    heading, body = [cell.lower() for cell in table[0]], table[1:]
    width = max(map(len, table))
    number = next((i for i, cell in enumerate(heading) if cell in _NUMBER_TITLES), None)
    name = next((i for i, cell in enumerate(heading) if cell in _NAME_TITLES), None)
    if name is not None:
        if number is None and name and heading[0] in ("", "unnamed: 0"):  # pandas' own numbers
            number = 0
        if number is None:  # numbers under another title
            counting = [i for i in range(width) if i != name and _is_counting_column(body, i)]
            number = counting[0] if len(counting) == 1 else None
        return number, name, True
    if width == 1:
        return None, 0, False
    if width > 2:
        _refuse(origin, f"CSV with {width} columns ({', '.join(table[0])[:80]})")
    for rows, has_heading in ((table, False), (body, True)):
        full = [row for row in rows if len(row) == 2]
        numeric = [bool(full) and all(_is_number(row[i]) for row in full) for i in (0, 1)]
        if numeric[0] != numeric[1]:
            return (0, 1, has_heading) if numeric[0] else (1, 0, has_heading)
        if full and all(_WORDNET_ID.fullmatch(row[0]) for row in full):
            return None, 1, has_heading
    _refuse(origin, f"two columns ({', '.join(table[0])}), of which none is the number")


def _is_counting_column(rows: list[list[str]], column: int) -> bool:
    """Return whether a column counts the rows, in any order, from 0 or 1."""
    values = [row[column] if column < len(row) else "" for row in rows]
    return all(map(_is_number, values)) and _is_counting(map(int, values))


def _is_counting(numbers: Iterable[int]) -> bool:
    found = sorted(numbers)
    return bool(found) and found == list(range(found[0], found[0] + len(found))) and found[0] < 2


# Lines of text


def _read_lines(text: str, origin: str, classes: int) -> LabelFile:
    lines = [(number, line.strip()) for number, line in enumerate(re.split("\r\n|\r|\n", text), 1)]
    while lines and not lines[-1][1]:
        lines.pop()
    notes: list[str] = []
    comments = [number for number, line in lines if line.startswith("#")]
    if comments and len(lines) - len(comments) >= classes - 1 and len(lines) != classes:
        notes.append(f"{format_lines(comments)} of {origin} taken for comments (#)")
        lines = [(number, line) for number, line in lines if not line.startswith("#")]
    if len(lines) > 1 and all(line.endswith(",") for _, line in lines[:-1]):
        lines = [(number, line.rstrip(", ")) for number, line in lines]
    rows = _read_numbered(lines, origin, classes, notes) or _read_marked(lines, origin)
    if rows is not None:
        return LabelFile(origin, "numbered lines", rows, notes)
    if len(lines) == classes + 1 and lines[0][1].lower() in (*_NAME_TITLES, *_NUMBER_TITLES):
        notes.append(f"the first line of {origin} is a heading ({lines[0][1]})")
        lines = lines[1:]
    if all(_QUOTED.fullmatch(line) for _, line in lines if line):
        lines = [(number, line[1:-1].strip()) for number, line in lines]
    rows = [LabelRow(line, number) for number, line in lines]
    return LabelFile(origin, "lines of text", rows, notes)


def _read_numbered(
    lines: Sequence[tuple[int, str]], origin: str, classes: int, notes: list[str]
) -> list[LabelRow] | None:
    """Read lines such as "0: red"; return None if their numbers are parts of the names."""
    full = [(number, line) for number, line in lines if line]
    matches = [_NUMBERED.fullmatch(line) for _, line in full]
    heading = ""
    if len(matches) > 1 and not matches[0] and all(matches[1:]):
        words = re.split(r"[\s,;:|]+", full[0][1].lower())
        if set(words) & {*_NUMBER_TITLES, *_NAME_TITLES}:
            heading, full, matches = full[0][1], full[1:], matches[1:]
    hits = [(line, match) for (line, _), match in zip(full, matches, strict=True) if match]
    values = [int(match[1]) for _, match in hits]
    if not hits:
        return None
    is_plausible = max(values) <= classes
    if len(hits) < len(full):
        if len(hits) * 2 < len(full) or not is_plausible or len(hits) < 2:
            return None  # "7 up" among other names
        line, text = full[matches.index(None)]
        raise ModelError(
            f"labels: {origin} numbers {len(hits)} of its {len(full)} names, but not {text!r} in "
            f"line {line}",
            "number all of them, from 0, or none",
        )
    has_separators = all(match[2].strip() for _, match in hits)
    is_ascending = values[0] < 2 and all(a < b for a, b in pairwise(values))
    if not (has_separators or is_plausible or is_ascending) and len(full) == classes:
        notes.append(
            f"the numbers in {origin} go up to {max(values)}, for {classes} classes: they are "
            "taken for parts of the names"
        )
        return None
    if heading:
        notes.append(f"the first line of {origin} is a heading ({heading})")
    return [
        LabelRow(match[3].strip().rstrip(",").strip("\"'").strip(), line, int(match[1]))
        for line, match in hits
    ]


def _read_marked(lines: Sequence[tuple[int, str]], origin: str) -> list[LabelRow] | None:
    """Read lines such as "[0] red", "class 0: red" and "red,0"; return None if they are not."""
    rows, ambiguous = [], []
    for number, line in lines:
        if not line:
            continue
        if match := _MARKED.fullmatch(line):
            rows.append(LabelRow(match[4].strip(), number, int(match[1] or match[2] or match[3])))
        elif match := _NUMBER_LAST.fullmatch(line):
            rows.append(LabelRow(match[1].strip("\"' "), number, int(match[3])))
            if not match[2].strip(" "):
                ambiguous.append((number, line))
        else:
            return None
    numbers = [row.number or 0 for row in rows]
    if len({row.name for row in rows}) < len(rows) or not _is_counting(numbers):
        return None  # "digit 0", "digit 1"
    if not ambiguous:
        return rows
    if numbers == sorted(numbers):
        return None  # parts of the names, or not: the places are the same
    raise ModelError(
        f"labels: the names in {origin} end in numbers, which are not those of their lines: "
        f"{ambiguous[0][1]!r} is in line {ambiguous[0][0]}",
        "if they are the places, put them in front, as in 0: red; if they are parts of the names, "
        'write a JSON list: ["red 1", "green 0"]',
    )


def format_lines(numbers: Sequence[int]) -> str:
    """Return line numbers for a message, such as "lines 1, 2 and 5"."""
    return ("line " if len(numbers) == 1 else "lines ") + join_numbers(numbers)


def join_numbers(numbers: Sequence[int]) -> str:
    """Return numbers for a message, such as "1, 2 and 5"; of many only the first six."""
    shown = [str(number) for number in numbers[:6]]
    if len(numbers) > 6:
        return ", ".join(shown) + f" and {len(numbers) - 6} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
