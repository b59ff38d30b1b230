"""Class names: from a file of any usual form, or from inside the model, one for each output.

A place is never guessed. Numbers decide places; without numbers the order of the lines does, and a
blank line is a place. What does not come out even is refused, with both numbers and the lines.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from builder.errors import ModelError
from builder.tflite_metadata import AXIS_LABELS, VALUE_LABELS, File, Metadata

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
_NUMBERED = re.compile(r"""["']?(\d{1,6})["']?(\s*[:,;=\t|]\s*|[.)]\s+|\s+-\s+|\s+)(\S.*)""")
_SYNSET = re.compile(r"(n\d{8})[\s,]+(\S.*)")
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"", "utf-8"),
)
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


def fit(
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


def inside(metadata: Metadata, model: str, locale: str = "") -> tuple[str, bytes] | None:
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
    if not files and not metadata.present:
        files = [
            File(name, AXIS_LABELS, _locale_in(name))
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


def _in_locale(files: list[File], locale: str, model: str) -> File:
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
            return _from_json(json.loads(text, object_pairs_hook=_pairs), origin)
        except ValueError as error:
            if name.endswith(".json") or start.startswith("{"):
                raise ModelError(f"labels: {origin} is no JSON: {error}", HINT) from None
    for sign, kind in (
        ("<", "an HTML or XML page"),
        ("item {", "a label map in protocol buffers' text form"),
        ("item{", "a label map in protocol buffers' text form"),
        ("names:", "YAML"),
        ("---", "YAML"),
    ):
        if start[:20].lower().startswith(sign):
            _form(origin, kind)
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


def _from_json(value: Any, origin: str) -> _Read:
    form = "a JSON list"
    if isinstance(value, _Object):
        for key in ("id2label", "label2id", "labels", "classes", "names", "class_names"):
            if isinstance(value.get(key), (list, dict)):
                return _from_json(value[key], origin)
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


def _whole(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, str) and value.strip().isdecimal())


# CSV


def _from_csv(text: str, origin: str) -> _Read:
    lines = [line for line in io.StringIO(text, newline="") if line.strip()]
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    table = [
        (reader.line_num, [cell.strip() for cell in row])
        for row in reader
        if any(cell.strip() for cell in row)
    ]
    width = max(len(row) for _, row in table)
    notes, dropped = [], 0
    heading = [cell.lower() for cell in table[0][1]]
    index = next((i for i, cell in enumerate(heading) if cell in _INDEX_COLUMNS), None)
    name = next((i for i, cell in enumerate(heading) if cell in _NAME_COLUMNS), None)
    if name is not None and (width == 1 or index is not None):
        dropped = 1
        notes.append(f"the first line of {origin} is a heading ({', '.join(table[0][1])})")
        table = table[1:]
    elif width == 1:
        name = 0
    elif width == 2:
        whole = [all(_whole(row[i]) for _, row in table if len(row) == 2) for i in (0, 1)]
        if whole[0] == whole[1]:
            _form(origin, f"two columns ({', '.join(table[0][1])}), of which none is the number")
        index, name = (0, 1) if whole[0] else (1, 0)
    if name is None:
        _form(origin, f"CSV with {width} columns ({', '.join(table[0][1])[:80]})")
    rows = []
    for line, row in table:
        if len(row) <= max(name, index or 0) or (index is not None and not _whole(row[index])):
            _form(origin, f"{delimiter.join(row)[:60]!r} in line {line}")
        rows.append(_Row(row[name], line, None if index is None else int(row[index])))
    if not rows:
        _form(origin, "a heading and no names")
    return _Read(rows, "CSV", notes, dropped)


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
    numbered = _numbered(lines, origin, classes, notes)
    if numbered is not None:
        return _Read(numbered, "numbered lines", notes)
    if len(lines) == classes + 1 and lines[0][1].lower() in (*_NAME_COLUMNS, *_INDEX_COLUMNS):
        notes.append(f"the first line of {origin} is a heading ({lines[0][1]})")
        lines = lines[1:]
    if all(re.fullmatch(r'"[^"]*",?', line) for _, line in lines if line):
        lines = [(number, line.rstrip(",").strip('"').strip()) for number, line in lines]
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
    if not marked and not plausible and len(full) == classes:
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
            "give every class a name: a number from 0 for each output of the model",
        )
    names = [row.name for row in sorted(rows, key=lambda row: row.number or 0)]
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
