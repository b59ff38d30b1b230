"""Fit class names to the outputs of a model: one for each, in the right place.

A place is never guessed. Numbers decide places; without numbers the order of the lines does, and a
blank line is a place. Names that do not fit are refused, with both counts and the lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import product

from builder.base.errors import ModelError
from builder.model.label_files import HINT, ID, NUMBER_HINT, LabelFile, LabelRow, read_rows
from builder.model.metadata import AXIS_LABELS, VALUE_LABELS, AssociatedFile, Metadata

# ImageNet's classes; TensorFlow's models have one more, in front: background.
IMAGENET = 1000
# Rank of labels in a locale that was not asked for.
_OTHER_LOCALE = 4
_BACKGROUND = re.compile(r"[\W_]*background([ _-]class)?[\W_]*", re.IGNORECASE)
# A name that only a machine reads, such as /m/06fvc, n01440764, Q42 or class_7, or that says none.
_MACHINE_ID = re.compile(rf"/\S+|(?=\D*\d)[\w./-]+|{_BACKGROUND.pattern}|\?+", re.IGNORECASE)


@dataclass
class Labels:
    """Class names for the outputs of a model.

    Attributes:
        names: one per class.
        wordnet_ids: one per class, or empty.
        origin: the file and its form, for people.
        background: index of the background class; None if there is none.
        notes: what was decided about them, for the user.
    """

    names: list[str]
    wordnet_ids: list[str]
    origin: str
    background: int | None = None
    notes: list[str] = field(default_factory=list)


def fit_labels(content: bytes, origin: str, classes: int, background: bool | None = None) -> Labels:
    """Return the labels in a file for a model with so many classes.

    If `background` is true, it is the class with that name, else class 0; None follows the names.

    Raises:
        ModelError: it has another form, or does not fit; says what was expected and found.
    """
    file = LabelFile(content, origin, classes)
    form, rows = read_rows(file)
    rows = _match_count(_sort_rows(rows, file), file, background)
    names = [row.name or f"class {place}" for place, row in enumerate(rows)]
    if blank := [name for name, row in zip(names, rows, strict=True) if not row.name]:
        file.notes.append(f"{origin} has no name for {len(blank)} classes, such as {blank[0]!r}")
    if all(map(ID.fullmatch, names)):
        file.notes.append(f"{origin} has ids, such as {names[0]}: --labels FILE gives names")
    place = _find_background(names)
    if background and place is None:
        place = 0
        file.notes.append(f"--background yes: class 0, {names[0]!r}, is the background")
    return Labels(
        names=names,
        wordnet_ids=[row.id for row in rows] if any(row.id.startswith("n") for row in rows) else [],
        origin=f"{origin} ({form})",
        background=None if background is False else place,
        notes=file.notes,
    )


def _find_background(names: list[str]) -> int | None:
    """Return the place of the background class; class 0 may have other names for it."""
    for place, name in enumerate(names):
        if _BACKGROUND.fullmatch(name) or (place == 0 and name.lower() in ("dummy", "???")):
            return place
    return None


def _sort_rows(rows: list[LabelRow], file: LabelFile) -> list[LabelRow]:
    """Return the rows by their numbers, if they have any; refuse a gap and a number twice."""
    if rows[0].number is None:
        return rows
    rows = sorted(rows, key=lambda row: row.number or 0)
    first = 0 if rows[0].number == 0 else 1
    for place, row in enumerate(rows):
        if row.number != first + place:
            near = rows[max(place - 1, 0) : place + 1]
            shown = ", then ".join(f"{each.number} in line {each.line}" for each in near)
            file.refuse(f"{len(rows)} whose numbers have a gap or repeat ({shown})", NUMBER_HINT)
    return rows


def _match_count(rows: list[LabelRow], file: LabelFile, background: bool | None) -> list[LabelRow]:
    """Return as many rows as classes, with a background class where one is known to be missing."""
    first, missing = rows[0], file.classes - len(rows)
    place = _find_background([row.name for row in rows])
    if missing == 0:
        if first.number == 1:
            file.notes.append(f"the numbers in {file.origin} count from 1, the first class")
        return rows
    if file.classes == IMAGENET == len(rows) - 1 and place == 0:
        file.notes.append(f"{first.name!r} in {file.origin} is no class of ImageNet's 1000")
        return rows[1:]
    is_imagenet = len(rows) == IMAGENET and background is not False
    may_lack = missing == 1 and place is None and (is_imagenet or first.number != 0)
    if may_lack and (is_imagenet or background):
        file.notes.append(f"class 0 is called 'background', which {file.origin} lacks")
        return [LabelRow("background", 0, None, ""), *rows]
    lines = [row.line for row in rows]
    blank = sum(not row.name for row in rows)
    file.refuse(
        f"{len(rows)} (lines {min(lines)} to {max(lines)}"
        + (f"; {blank} blank ones are places, too)" if blank else ")"),
        "if class 0 is a background class without a name: --background yes; else " * may_lack
        + "if the first line is a heading, remove it; else " * (missing == -1)
        + HINT,
    )


def move_labels(labels: Labels, offset: int) -> Labels:
    """Return the labels, each `offset` places later; what leaves one end comes in at the other.

    Raises:
        ModelError: the offset is as large as the number of classes.
    """
    count = len(labels.names)
    if abs(offset) >= count:
        raise ModelError(f"--label-offset {offset}: expected less than the {count} classes")
    if offset == 0:
        return labels
    first, background = -offset % count, labels.background
    return replace(
        labels,
        names=labels.names[first:] + labels.names[:first],
        wordnet_ids=labels.wordnet_ids[first:] + labels.wordnet_ids[:first],
        origin=f"{labels.origin}, each {offset:+d} (--label-offset)",
        background=None if background is None else (background + offset) % count,
    )


def find_embedded_labels(
    metadata: Metadata, model: str, locale: str = ""
) -> tuple[str, bytes] | None:
    """Return name and content of the label file inside a model; None if it carries none.

    That is the file that the output tensor's metadata names as labels, in the wanted locale, else
    without one, else in English. A file of ids counts only if none has names. Without metadata, it
    is a file whose name says labels.

    Raises:
        ModelError: several files are possible, or none has the wanted locale.
    """
    files = [file for file in metadata.files if file.kind in (AXIS_LABELS, VALUE_LABELS)]
    if not files and not metadata.is_present:
        files = _guess_label_files(metadata)
    if not files:
        return None
    ranked = sorted({(_rank_file(file, metadata, locale), file.name) for file in files})
    (rank, name), *others = ranked
    if (others and others[0][0] == rank) or (locale and rank[-1] == _OTHER_LOCALE):
        listed = ", ".join(f"{file.name} ({file.locale or 'no locale'})" for file in files)
        asked = f"--locale {locale}: " if locale else ""
        raise ModelError(
            f"{asked}expected one label file in {model}, found {listed}",
            "choose one with --locale, or pass --labels FILE",
        )
    if name not in metadata.archive:
        raise ModelError(
            metadata.problem or f"{model}: its metadata names {name}, which is not in the file",
            "download the model again, or pass --labels FILE",
        )
    ids = [other for (has_only_ids, *_), other in others if has_only_ids > rank[0]]
    title = f"{name} (not the ids in {', '.join(ids)})" if ids else name
    return title, metadata.archive[name]


def _guess_label_files(metadata: Metadata) -> list[AssociatedFile]:
    """Return the files behind a model without metadata whose names say labels."""
    files = []
    for path in metadata.archive:
        name = path.rpartition("/")[2]
        says_labels = re.search(r"label|class|categor|^dict\.txt$", name.lower())
        if says_labels and not re.search(r"score|calibration|vocab", path.lower()):
            marked = re.search(r"[_-]([a-z]{2}(?:[_-][A-Z]{2})?)$", name.partition(".")[0])
            files.append(AssociatedFile(path, AXIS_LABELS, marked[1] if marked else ""))
    return files


def _rank_file(file: AssociatedFile, metadata: Metadata, locale: str) -> tuple[bool, bool, int]:
    """Return whether a file has only ids, whether its kind is the lesser, and its locale's rank."""
    text = metadata.archive.get(file.name, b"?").decode("utf-8", "replace")
    tag, wanted = (each.replace("_", "-").lower() for each in (file.locale, locale))
    order = (wanted, wanted.split("-")[0]) if locale else ("", "en")
    fits = [each == other for each, other in product(order, (tag, tag.split("-")[0]))]
    has_only_ids = all(map(_MACHINE_ID.fullmatch, re.findall(r"[^\s,;:|]+", text)))
    return has_only_ids, file.kind == VALUE_LABELS, [*fits, True].index(True)
