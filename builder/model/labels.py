"""Class names: from a file of any usual form, or from inside the model, one for each output.

A place is never guessed. Numbers decide places; without numbers the order of the lines does, and a
blank line is a place. What does not come out even is refused, with both numbers and the lines.
"""

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
from builder.model.metadata import AXIS_LABELS, VALUE_LABELS, AssociatedFile, Metadata

BACKGROUND = ("background", "_background_", "__background__", "dummy", "???")
"""What a background class is called, in lower case."""
IMAGENET = 1000
"""ImageNet's classes; TensorFlow's models have one more, in front: background."""

_INDEX_COLUMNS = (
    *("id", "index", "idx", "number", "no", "place", "target", "#", "classid", "classindex"),
    *("class_id", "class_index", "class_idx", "label_id", "label_index"),
)
_NAME_COLUMNS = (
    *("name", "names", "label", "labels", "class", "classes", "category", "classname"),
    *("class_name", "class name", "label_name", "display_name", "displayname"),
)
_NUMBERED = re.compile(
    r"""["']?(\d{1,6})["']?(\s*[:,;=\t|]\s*|\s*[-=]>\s*|[.)]\s+|\s+-\s+|\s+)(\S.*)"""
)
_MARKED = re.compile(
    r"""(?:[(\[](\d{1,6})[)\]]|(?:class|label|\#)\s*(\d{1,6})\s*[:=.-]?|(\d{1,6})[-_])\s*(\D.*)""",
    re.IGNORECASE,
)
"""Numbers that are counted as such where they all are different and none is missing."""
_NUMBER_LAST = re.compile(r"""(\S.*?)(\s*[:,;=\t|]\s*|\s+)["']?(\d{1,6})["']?""")
_QUOTED = re.compile(r"""(["'])([^"']*)\1""")
_MOST = 100_000
"""Largest number of a class."""
_WORDNET = re.compile(r"n\d{8}")
_SYNSET = re.compile(r"(n\d{8})[\s,]+(\S.*)")
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"", "utf-8"),
)
_KEYS = (
    *("id2label", "label2id", "labels", "classes", "names", "class_names", "label_names"),
    *("categories", "class_indices", "class_to_idx", "idx_to_class", "label_map"),
)
"""Where JSON of several parts has its labels."""
HINT = "pass the labels that the model was trained with: --labels FILE"


@dataclass
class Labels:
    """Names for the places of a model's output.

    Attributes:
        names: one per class.
        wordnet_ids: one per class, or empty.
        origin: where they are from, in words.
        background: place of the background class; None if there is none.
        notes: what was decided about them, to be said aloud.
    """

    names: list[str]
    wordnet_ids: list[str]
    origin: str
    background: int | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    """A name that was read, with the number that stands beside it, and its line."""

    name: str
    line: int
    number: int | None = None


@dataclass(frozen=True)
class _Read:
    """What a file holds: rows, and how it was read."""

    rows: list[_Row]
    form: str
    notes: list[str]
    dropped: int = 0
    """Lines in front that were taken for a heading or a comment."""


def fit_labels(
    content: bytes,
    origin: str,
    classes: int,
    background: bool | None = None,
) -> Labels:
    """Labels from a file's content, for a model with so many classes.

    Args:
        content: of a text file (a name per line, numbered or not), of JSON (a list of names, a
            dictionary from numbers to names or back, `id2label`), or of CSV, in UTF-8 or UTF-16.
        origin: what messages call it.
        classes: of the model's output.
        background: whether class 0 is background; None to see.

    Raises:
        ModelError: it is none of those, or does not fit; says what was expected and found.
    """
    text = _decoded(content, origin)
    found = _rows(text, origin, classes)
    return _placed(found, origin, classes, background)


def find_embedded_labels(
    metadata: Metadata, model: str, locale: str = ""
) -> tuple[str, bytes] | None:
    """The label file that a model carries: its name and content; None if it has none.

    The one that the output tensor's metadata names as labels counts, in the wanted locale: else
    the unmarked one, else the English one. Without metadata, a file whose name says so.

    Args:
        metadata: of the model.
        model: its name, for messages.
        locale: as "de" or "pt-BR"; empty for none in particular.

    Raises:
        ModelError: several would do, or the wanted one is not there; names them.
    """
    files = [file for file in metadata.files if file.kind == AXIS_LABELS]
    files = files or [file for file in metadata.files if file.kind == VALUE_LABELS]
    if not files and not metadata.is_present:
        files = [
            AssociatedFile(name, AXIS_LABELS, _locale_in(name))
            for name in metadata.archive
            if re.search(r"label|class|categor|^dict\.txt$", name.rpartition("/")[2].lower())
            and not re.search(r"score|calibration|vocab", name.lower())
        ]
    if not files:
        return None
    chosen = _in_locale(files, locale, model)
    if chosen.name not in metadata.archive:
        raise ModelError(
            metadata.problem or f"{model}: {chosen.name} is not in the file",
            "fetch the model again, or pass --labels FILE",
        )
    return chosen.name, metadata.archive[chosen.name]


def _locale_in(name: str) -> str:
    stem = name.rpartition("/")[2].partition(".")[0]
    marked = re.search(r"[_-]([a-z]{2}(?:[_-][A-Z]{2})?)$", stem)
    return marked[1] if marked else ""


def _in_locale(files: list[AssociatedFile], locale: str, model: str) -> AssociatedFile:
    listed = ", ".join(f"{file.name} ({file.locale or 'no locale'})" for file in files)
    wishes = [locale] if locale else ["", "en"]
    for wish in wishes:
        exact = [file for file in files if _same(file.locale, wish)]
        near = [file for file in files if wish and _language(file.locale) == _language(wish)]
        for fitting in (exact, near):
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                _several(model, listed)
    if locale:
        raise ModelError(f"--locale {locale}: {model} has labels in {listed}", "choose one of them")
    if len(files) == 1:
        return files[0]
    _several(model, listed)


def _several(model: str, listed: str) -> NoReturn:
    raise ModelError(
        f"{model} carries several label files, and nothing says which counts: {listed}",
        "choose with --locale, or pass --labels FILE",
    )


def _same(one: str, other: str) -> bool:
    return one.replace("_", "-").lower() == other.replace("_", "-").lower()


def _language(locale: str) -> str:
    return re.split("[-_]", locale.lower())[0]


def _decoded(content: bytes, origin: str) -> str:
    encoding = next(name for mark, name in _ENCODINGS if content.startswith(mark))
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


def _rows(text: str, origin: str, classes: int) -> _Read:
    """Read a file of whatever form."""
    start = text.lstrip()
    name = origin.lower()
    if name.endswith(".json") or start.startswith(("{", "[")):
        try:
            return _from_json(_literal(text), origin)
        except ValueError as error:
            several = "\n" in text.strip() and re.match(r"\[\s*([\"'{\[]|\n)", start)
            if name.endswith(".json") or start.startswith("{") or several:
                raise ModelError(f"labels: {origin} is no JSON: {error}", HINT) from None
    for sign, kind in (
        ("<", "an HTML or XML page"),
        ("item {", "a label map in protocol buffers' text form"),
        ("item{", "a label map in protocol buffers' text form"),
        ("names:", "YAML"),
        ("nc:", "YAML"),
        ("---", "YAML"),
    ):
        if start[:20].lower().startswith(sign):
            _form(origin, kind)
    full = [line for line in start.splitlines() if line.strip()]
    if name.endswith((".yaml", ".yml")) or (len(full) > 1 and all(s[:2] == "- " for s in full)):
        _form(origin, "YAML")
    if not start:
        _form(origin, "an empty file")
    if name.endswith((".csv", ".tsv")) and re.search("[,;\t]", text):
        return _from_csv(text, origin)
    return _from_lines(text, origin, classes)


def _form(origin: str, found: str) -> NoReturn:
    raise ModelError(
        "labels: expected a text file with a name per line (numbered or not), a JSON list or "
        f"dictionary of names, or CSV, found {found} in {origin}",
        HINT,
    )


# JSON


class _Object(dict[str, Any]):
    """A JSON object; `twice` are the keys that it has more than once."""

    twice: tuple[str, ...] = ()


def _pairs(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    made.twice = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return made


def _literal(text: str) -> Any:
    """JSON, or lists and dictionaries as Python prints them; raises ValueError for anything else.

    A file of the latter kind goes around with the names of ImageNet's classes.
    """
    try:
        return json.loads(text, object_pairs_hook=_pairs)
    except RecursionError:
        raise ValueError("it has too many levels") from None
    except ValueError as error:
        try:
            return _plain(ast.literal_eval(text.strip()))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError(str(error)[:200]) from None


def _plain(value: Any) -> Any:
    """A Python literal, as JSON would have it."""
    if isinstance(value, dict):
        return _Object((str(key), _plain(each)) for key, each in value.items())
    return list(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _from_json(value: Any, origin: str) -> _Read:
    form = "a JSON list"
    if isinstance(value, _Object):
        _check_both_ways(value, origin)
        for key in _KEYS:
            if isinstance(value.get(key), (list, dict)):
                return _from_json(value[key], origin)
        inner = [each for each in value.values() if isinstance(each, (list, dict))]
        if len(inner) == 1 and not any(map(_whole, value)):
            return _from_json(inner[0], origin)
        if value.twice:
            raise ModelError(
                f"labels: {origin} has {value.twice[0]!r} {'twice'}: expected each once", HINT
            )
        return _Read(_from_object(value, origin), "a JSON dictionary", [])
    rows = []
    if not isinstance(value, list) or not value:
        _form(origin, "JSON of another kind")
    for place, item in enumerate(value):
        if isinstance(item, _Object):
            form = "a JSON list of objects"
            number = next((item[key] for key in _INDEX_COLUMNS if key in item), None)
            name = next((item[key] for key in _NAME_COLUMNS if key in item), None)
            if not isinstance(name, str) or not (number is None or _whole(number)):
                _form(origin, f"an object with {', '.join(list(item)[:5])}")
            rows.append(_Row(name.strip(), place + 1, None if number is None else int(number)))
        elif isinstance(item, str):
            rows.append(_Row(item.strip(), place + 1))
        elif isinstance(item, list) and sorted(map(_is_name, item)) == [False, True]:
            number, name = sorted(item, key=_is_name)  # [0, "red"]
            if not _whole(number):
                _form(origin, f"a JSON list with {json.dumps(item)[:40]} in place {place}")
            rows.append(_Row(name.strip(), place + 1, int(number)))
        else:
            _form(origin, f"a JSON list with {json.dumps(item)[:40]} in place {place}")
    if len({row.number is None for row in rows}) > 1:
        _form(origin, "a JSON list in which only some objects have a number")
    return _Read(rows, form, [])


def _from_object(value: _Object, origin: str) -> list[_Row]:
    if value and all(_whole(key) for key in value):
        rows = []
        for line, (key, name) in enumerate(value.items(), 1):
            if isinstance(name, list) and len(name) == 2 and all(isinstance(n, str) for n in name):
                name = " ".join(name)  # Keras: {"0": ["n01440764", "tench"], ...}
            if isinstance(name, _Object):
                name = next((name[key] for key in _NAME_COLUMNS if key in name), None)
            if not isinstance(name, str):
                _form(origin, f"a JSON dictionary with {json.dumps(name)[:40]} for a name")
            rows.append(_Row(name.strip(), line, int(key)))
        return rows
    if value and all(_whole(number) for number in value.values()):
        return [
            _Row(name.strip(), line, int(number))
            for line, (name, number) in enumerate(value.items(), 1)
        ]
    keys = ", ".join(list(value)[:5])
    _form(origin, f"a JSON dictionary with the keys {keys}" if keys else "an empty JSON object")


def _check_both_ways(value: _Object, origin: str) -> None:
    """That id2label and label2id, where a file has both, say the same."""
    forth, back = value.get("id2label"), value.get("label2id")
    if not isinstance(forth, dict) or not isinstance(back, dict):
        return
    for number, name in forth.items():
        if isinstance(name, str) and name in back and str(back[name]) != number:
            raise ModelError(
                f"labels: {origin} contradicts itself: {name!r} is number {number} in id2label, "
                f"{str(back[name])[:20]} in label2id",
                HINT,
            )


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    """Whether a value is the number of a class."""
    if isinstance(value, str):
        return len(value) < 10 and value.strip().isdecimal() and int(value) <= _MOST
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


# CSV


def _from_csv(text: str, origin: str) -> _Read:
    text = re.sub(r"\Asep=(.)\s*\n", "", text)  # Excel's own first line
    lines = [line for line in io.StringIO(text, newline="") if line.strip()]
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        table = [
            (reader.line_num, [cell.strip() for cell in row])
            for row in reader
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        _form(origin, f"CSV that cannot be read ({error})")
    if not table:
        _form(origin, "no names")
    index, name, heading = _columns(table, origin)
    notes, dropped = [], int(heading)
    if heading:
        notes.append(f"the first line of {origin} is a heading ({', '.join(table[0][1])})")
    rows = []
    for line, row in table[dropped:]:
        if len(row) <= max(name, index or 0) or (index is not None and not _whole(row[index])):
            _form(origin, f"{delimiter.join(row)[:60]!r} in line {line}")
        text = row[name]
        if index is None and name == 1 and _WORDNET.fullmatch(row[0]):
            text = f"{row[0]} {text}"
        rows.append(_Row(text, line, None if index is None else int(row[index])))
    if not rows:
        _form(origin, "a heading and no names")
    return _Read(rows, "CSV", notes, dropped)


def _columns(table: list[tuple[int, list[str]]], origin: str) -> tuple[int | None, int, bool]:
    """(column of the numbers, or None; column of the names; whether there is a heading)."""
    width = max(len(row) for _, row in table)
    heading, body = [cell.lower() for cell in table[0][1]], [row for _, row in table[1:]]
    index = next((i for i, cell in enumerate(heading) if cell in _INDEX_COLUMNS), None)
    name = next((i for i, cell in enumerate(heading) if cell in _NAME_COLUMNS), None)
    if name is not None:
        if index is None and name and heading[0] in ("", "unnamed: 0"):  # pandas' own numbers
            index = 0
        if index is None:  # numbers under another title
            counted = [i for i in range(width) if i != name and _counts(body, i)]
            index = counted[0] if len(counted) == 1 else None
        return index, name, True
    if width == 1:
        return None, 0, False
    if width == 2:
        for rows, headed in (([row for _, row in table], False), (body, True)):
            full = [row for row in rows if len(row) == 2]
            whole = [bool(full) and all(_whole(row[i]) for row in full) for i in (0, 1)]
            if whole[0] != whole[1]:
                return (0, 1, headed) if whole[0] else (1, 0, headed)
            if full and all(_WORDNET.fullmatch(row[0]) for row in full):
                return None, 1, headed
        _form(origin, f"two columns ({', '.join(table[0][1])}), of which none is the number")
    _form(origin, f"CSV with {width} columns ({', '.join(table[0][1])[:80]})")


def _counts(rows: list[list[str]], column: int) -> bool:
    """Whether a column counts the rows, in any order, from 0 or 1."""
    values = [row[column] if column < len(row) else "" for row in rows]
    return all(map(_whole, values)) and _counting(map(int, values))


def _counting(numbers: Iterable[int]) -> bool:
    found = sorted(numbers)
    return bool(found) and found == list(range(found[0], found[0] + len(found))) and found[0] < 2


# Lines of text


def _from_lines(text: str, origin: str, classes: int) -> _Read:
    lines = [(number, line.strip()) for number, line in enumerate(re.split("\r\n|\r|\n", text), 1)]
    while lines and not lines[-1][1]:
        lines.pop()
    notes: list[str] = []
    comments = [number for number, line in lines if line.startswith("#")]
    if comments and len(lines) - len(comments) >= classes - 1 and len(lines) != classes:
        notes.append(f"{_lines(comments)} of {origin} taken for comments (#)")
        lines = [(number, line) for number, line in lines if not line.startswith("#")]
    if len(lines) > 1 and all(line.endswith(",") for _, line in lines[:-1]):
        lines = [(number, line.rstrip(", ")) for number, line in lines]
    numbered = _numbered(lines, origin, classes, notes)
    if numbered is None:
        numbered = _numbered_otherwise(lines, origin)
    if numbered is not None:
        return _Read(numbered, "numbered lines", notes)
    if len(lines) == classes + 1 and lines[0][1].lower() in (*_NAME_COLUMNS, *_INDEX_COLUMNS):
        notes.append(f"the first line of {origin} is a heading ({lines[0][1]})")
        lines = lines[1:]
    if all(_QUOTED.fullmatch(line) for _, line in lines if line):
        lines = [(number, line[1:-1].strip()) for number, line in lines]
    return _Read([_Row(line, number) for number, line in lines], "lines of text", notes)


def _numbered(
    lines: Sequence[tuple[int, str]], origin: str, classes: int, notes: list[str]
) -> list[_Row] | None:
    """The rows of lines that have numbers, which then decide; None if their numbers are names."""
    full = [(number, line) for number, line in lines if line]
    matches = [_NUMBERED.fullmatch(line) for _, line in full]
    heading = None
    if len(matches) > 1 and not matches[0] and all(matches[1:]):
        words = re.split(r"[\s,;:|]+", full[0][1].lower())
        if set(words) & {*_INDEX_COLUMNS, *_NAME_COLUMNS}:
            heading, full, matches = full[0][1], full[1:], matches[1:]
    hits = [(line, match) for (line, _), match in zip(full, matches, strict=True) if match]
    values = [int(match[1]) for _, match in hits]
    if not hits:
        return None
    marked = all(match[2].strip() for _, match in hits)
    plausible = max(values) <= classes
    if len(hits) < len(full):
        if len(hits) * 2 < len(full) or not plausible or len(hits) < 2:
            return None  # "7 up" among other names
        line, text = next(
            (line, text) for (line, text), match in zip(full, matches, strict=True) if not match
        )
        raise ModelError(
            f"labels: {origin} numbers {len(hits)} of its {len(full)} names, but not {text!r} in "
            f"line {line}",
            "number all of them, from 0, or none",
        )
    ascending = values[0] < 2 and all(a < b for a, b in pairwise(values))
    if not marked and not plausible and not ascending and len(full) == classes:
        notes.append(
            f"the numbers in {origin} go up to {max(values)}, for {classes} classes: they are "
            "taken for parts of the names"
        )
        return None
    if heading:
        notes.append(f"the first line of {origin} is a heading ({heading})")
    return [
        _Row(match[3].strip().rstrip(",").strip("\"'").strip(), line, int(match[1]))
        for line, match in hits
    ]


def _numbered_otherwise(lines: Sequence[tuple[int, str]], origin: str) -> list[_Row] | None:
    """The rows of lines such as "[0] red", "class 0: red" and "red,0"; None if they are not."""
    rows, bare = [], []
    for number, line in lines:
        if not line:
            continue
        if match := _MARKED.fullmatch(line):
            rows.append(_Row(match[4].strip(), number, int(match[1] or match[2] or match[3])))
        elif match := _NUMBER_LAST.fullmatch(line):
            rows.append(_Row(match[1].strip("\"' "), number, int(match[3])))
            if not match[2].strip(" "):
                bare.append((number, line))
        else:
            return None
    numbers = [row.number or 0 for row in rows]
    if len({row.name for row in rows}) < len(rows) or not _counting(numbers):
        return None  # "digit 0", "digit 1"
    if not bare:
        return rows
    if numbers == sorted(numbers):
        return None  # parts of the names, or not: the places are the same
    raise ModelError(
        f"labels: the names in {origin} end in numbers, which are not those of their lines: "
        f"{bare[0][1]!r} is in line {bare[0][0]}",
        "if they are the places, put them in front, as in 0: red; if they are parts of the names, "
        'write a JSON list: ["red 1", "green 0"]',
    )


# Rows -> places


def _placed(found: _Read, origin: str, classes: int, background: bool | None) -> Labels:
    rows, notes = found.rows, list(found.notes)
    if rows[0].number is not None:
        names = _by_number(rows, origin, classes, background, notes)
    else:
        names = _by_order(rows, origin, classes, background, notes)
    wordnet_ids, names = _synsets(names)
    for place, name in enumerate(names):
        if not name:
            names[place] = f"class {place}"
            notes.append(f"{origin} has no name for class {place}: it is called {names[place]!r}")
    first = names[0].lower() in BACKGROUND
    if background and not first:
        notes.append(f"--background yes: class 0, {names[0]!r}, is the background")
    is_background = first if background is None else background
    often = [name for name, count in Counter(names).items() if count > 1]
    if often and not any(wordnet_ids):
        shown = ", ".join(map(repr, often[:3]))
        notes.append(f"{origin} has {len(often)} names more than once: {shown}")
    return Labels(
        names,
        wordnet_ids if any(wordnet_ids) else [],
        f"{origin} ({found.form})",
        0 if is_background else None,
        notes,
    )


def _by_number(
    rows: list[_Row], origin: str, classes: int, background: bool | None, notes: list[str]
) -> list[str]:
    lines: dict[int, int] = {}
    for row in rows:
        assert row.number is not None
        if row.number in lines:
            raise ModelError(
                f"labels: {origin} has the number {row.number} twice, in lines "
                f"{lines[row.number]} and {row.line}",
                "expected each number once, from 0",
            )
        lines[row.number] = row.line
    least, most = min(lines), max(lines)
    start = 1 if least == 1 else 0
    missing = [number for number in range(start, most + 1) if number not in lines]
    if missing:
        before = max((n for n in lines if n < missing[0]), default=None)
        after = min(n for n in lines if n > missing[0])
        where = f"{after} is in line {lines[after]}"
        if before is not None:
            where = f"{before} is in line {lines[before]}, {where}"
        raise ModelError(
            f"labels: {origin} has names for {len(rows)} classes of {classes}, and none for "
            f"{_numbers(missing)} ({where})",
            "give every class a name: a number from 0 for each output of the model; if the numbers "
            "are parts of the names, write a JSON list of them",
        )
    names = [row.name for row in sorted(rows, key=lambda row: row.number or 0)]
    if start == 0 and background and len(names) == classes - 1 != IMAGENET:
        raise ModelError(
            f"labels: --background yes, though {origin} has a number 0, {names[0]!r}, in line "
            f"{lines[0]}, and none for {_numbers([classes - 1])}",
            "give the background a number in the file, too: 0 if it is class 0",
        )
    if start == 1 and len(names) == classes - 1 and (background or classes == IMAGENET + 1):
        return _with_background(names, origin, notes, background)
    names = _checked(names, rows, origin, classes, background, notes)
    if start == 1:
        notes.append(f"the numbers in {origin} count from 1: number 1 is the first class")
    return names


def _by_order(
    rows: list[_Row], origin: str, classes: int, background: bool | None, notes: list[str]
) -> list[str]:
    blank = [row.line for row in rows if not row.name]
    if blank and len(rows) != classes:
        raise ModelError(
            f"labels: expected {classes} names, one per output of the model, found {len(rows)} "
            f"lines in {origin}, of which {_lines(blank)} {'is' if len(blank) == 1 else 'are'} "
            "blank: a blank line is a place",
            "remove the blank lines, or name every class",
        )
    return _checked([row.name for row in rows], rows, origin, classes, background, notes)


def _checked(
    names: list[str],
    rows: list[_Row],
    origin: str,
    classes: int,
    background: bool | None,
    notes: list[str],
) -> list[str]:
    """The names, if there are as many as classes; with the background where that is known."""
    if len(names) == classes:
        return names
    imagenet = classes == IMAGENET + 1 and background is not False
    if names[0].lower() in BACKGROUND:
        imagenet = background = False  # it is there already
    if len(names) == classes - 1 and (background or imagenet):
        return _with_background(names, origin, notes, background)
    if len(names) == IMAGENET + 1 and classes == IMAGENET and names[0].lower() in BACKGROUND:
        notes.append(f"{origin} begins with {names[0]!r}, which ImageNet's 1000 classes lack")
        return names[1:]
    first, last = rows[0].line, rows[-1].line
    hint = HINT
    if len(names) == classes - 1:
        hint = f"if class 0 is a background class without a name: --background yes; else {HINT}"
    raise ModelError(
        f"labels: expected {classes} names, one per output of the model, found {len(names)} "
        f"(lines {first} to {last} of {origin})",
        hint,
    )


def _with_background(
    names: list[str], origin: str, notes: list[str], background: bool | None
) -> list[str]:
    why = "--background yes" if background else "as in TensorFlow's ImageNet models"
    notes.append(
        f"{origin} has {len(names)} names for {len(names) + 1} outputs: class 0 is called "
        f"'background' ({why})"
    )
    return ["background", *names]


def _synsets(names: list[str]) -> tuple[list[str], list[str]]:
    """(WordNet ids, names) of names that all begin with their id, but for the background."""
    found = [_SYNSET.fullmatch(name) for name in names]
    if not any(found) or not all(
        match or name.lower() in BACKGROUND for match, name in zip(found, names, strict=True)
    ):
        return [], names
    pairs = [
        (match[1], match[2]) if match else ("", name)
        for match, name in zip(found, names, strict=True)
    ]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _lines(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    return ("line " if len(listed) == 1 else "lines ") + _joined(listed)


def _numbers(numbers: Sequence[int]) -> str:
    return ("number " if len(numbers) == 1 else "numbers ") + _joined(numbers)


def _joined(numbers: Sequence[int]) -> str:
    shown = [str(number) for number in numbers[:6]]
    if len(numbers) > 6:
        return ", ".join(shown) + f" and {len(numbers) - 6} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
