"""Fit class names to the outputs of a model: one for each, in the right place.

A place is never guessed. Numbers decide places; without numbers the order of the lines does, and a
blank line is a place. Names that do not fit are refused, with both counts and the lines.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NoReturn

from builder.base.errors import ModelError
from builder.model.label_files import HINT, LabelFile, format_lines, join_numbers, read_label_file
from builder.model.metadata import AXIS_LABELS, VALUE_LABELS, AssociatedFile, Metadata

# What a background class is called, in lower case.
BACKGROUND = ("background", "_background_", "__background__", "dummy", "???")
# ImageNet's classes; TensorFlow's models have one more, in front: background.
IMAGENET = 1000
_WORDNET_NAME = re.compile(r"(n\d{8})[\s,]+(\S.*)")


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

    Args:
        content: of a label file, in a form that `label_files` reads.
        origin: name of the file, for messages.
        classes: of the model's output.
        background: whether class 0 is background; None to follow its name.

    Raises:
        ModelError: it has another form, or does not fit; says what was expected and found.
    """
    file = read_label_file(content, origin, classes)
    if file.rows[0].number is not None:
        names = _place_by_number(file, classes, background)
    else:
        names = _place_by_order(file, classes, background)
    notes = file.notes
    wordnet_ids, names = _split_wordnet_ids(names)
    for place, name in enumerate(names):
        if not name:
            names[place] = f"class {place}"
            notes.append(f"{origin} has no name for class {place}: it is called {names[place]!r}")
    is_background = names[0].lower() in BACKGROUND
    if background and not is_background:
        notes.append(f"--background yes: class 0, {names[0]!r}, is the background")
    is_background = is_background if background is None else background
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated and not wordnet_ids:
        shown = ", ".join(map(repr, repeated[:3]))
        notes.append(f"{origin} has {len(repeated)} names more than once: {shown}")
    return Labels(
        names, wordnet_ids, f"{origin} ({file.form})", 0 if is_background else None, notes
    )


def find_embedded_labels(
    metadata: Metadata, model: str, locale: str = ""
) -> tuple[str, bytes] | None:
    """Return name and content of the label file inside a model; None if it carries none.

    That is the file that the output tensor's metadata names as labels, in the wanted locale, else
    without one, else in English. Without metadata, it is a file whose name says labels.

    Args:
        metadata: of the model.
        model: its name, for messages.
        locale: such as "de" or "pt-BR"; empty for any.

    Raises:
        ModelError: several files are possible, or none has the wanted locale.
    """
    files = [file for file in metadata.files if file.kind == AXIS_LABELS]
    files = files or [file for file in metadata.files if file.kind == VALUE_LABELS]
    if not files and not metadata.is_present:
        files = _guess_label_files(metadata)
    if not files:
        return None
    chosen = _choose_locale(files, locale, model)
    if chosen.name not in metadata.archive:
        raise ModelError(
            metadata.problem or f"{model}: {chosen.name} is not in the file",
            "download the model again, or pass --labels FILE",
        )
    return chosen.name, metadata.archive[chosen.name]


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


def _choose_locale(files: list[AssociatedFile], locale: str, model: str) -> AssociatedFile:
    listed = ", ".join(f"{file.name} ({file.locale or 'no locale'})" for file in files)
    for wanted in [locale] if locale else ["", "en"]:
        exact = [file for file in files if _normalize(file.locale) == _normalize(wanted)]
        near = [file for file in files if wanted and _language(file.locale) == _language(wanted)]
        for fitting in (exact, near):
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                _refuse_several(model, listed)
    if locale:
        raise ModelError(f"--locale {locale}: {model} has labels in {listed}", "choose one of them")
    if len(files) == 1:
        return files[0]
    _refuse_several(model, listed)


def _refuse_several(model: str, listed: str) -> NoReturn:
    raise ModelError(
        f"{model} carries several label files, and nothing says which counts: {listed}",
        "choose with --locale, or pass --labels FILE",
    )


def _normalize(locale: str) -> str:
    return locale.replace("_", "-").lower()


def _language(locale: str) -> str:
    return _normalize(locale).partition("-")[0]


def _place_by_number(file: LabelFile, classes: int, background: bool | None) -> list[str]:
    """Return the names in the places that their numbers say."""
    lines = _number_lines(file)
    start = 1 if min(lines) == 1 else 0
    missing = [number for number in range(start, max(lines) + 1) if number not in lines]
    if missing:
        _refuse_missing(file, classes, lines, missing)
    names = [row.name for row in sorted(file.rows, key=lambda row: row.number or 0)]
    if start == 0 and background and len(names) == classes - 1 != IMAGENET:
        raise ModelError(
            f"labels: --background yes, though {file.origin} has a number 0, {names[0]!r}, in line "
            f"{lines[0]}, and none for number {classes - 1}",
            "give the background a number in the file, too: 0 if it is class 0",
        )
    if start == 1 and len(names) == classes - 1 and (background or classes == IMAGENET + 1):
        return _add_background(names, file, background)
    names = _match_count(names, file, classes, background)
    if start == 1:
        file.notes.append(f"the numbers in {file.origin} count from 1: number 1 is the first class")
    return names


def _number_lines(file: LabelFile) -> dict[int, int]:
    """Return number -> line; raise ModelError if two names have the same number."""
    lines: dict[int, int] = {}
    for row in file.rows:
        assert row.number is not None
        if row.number in lines:
            raise ModelError(
                f"labels: {file.origin} has the number {row.number} twice, in lines "
                f"{lines[row.number]} and {row.line}",
                "expected each number once, from 0",
            )
        lines[row.number] = row.line
    return lines


def _refuse_missing(
    file: LabelFile, classes: int, lines: dict[int, int], missing: list[int]
) -> NoReturn:
    before = max((number for number in lines if number < missing[0]), default=None)
    after = min(number for number in lines if number > missing[0])
    where = f"{after} is in line {lines[after]}"
    if before is not None:
        where = f"{before} is in line {lines[before]}, {where}"
    plural = "" if len(missing) == 1 else "s"
    raise ModelError(
        f"labels: {file.origin} has names for {len(lines)} classes of {classes}, and none for "
        f"number{plural} {join_numbers(missing)} ({where})",
        "give every class a name: a number from 0 for each output of the model; if the numbers "
        "are parts of the names, write a JSON list of them",
    )


def _place_by_order(file: LabelFile, classes: int, background: bool | None) -> list[str]:
    """Return the names in the order of their lines."""
    blank = [row.line for row in file.rows if not row.name]
    if blank and len(file.rows) != classes:
        raise ModelError(
            f"labels: expected {classes} names, one per output of the model, found "
            f"{len(file.rows)} lines in {file.origin}, of which {format_lines(blank)} "
            f"{'is' if len(blank) == 1 else 'are'} blank: a blank line is a place",
            "remove the blank lines, or name every class",
        )
    return _match_count([row.name for row in file.rows], file, classes, background)


def _match_count(
    names: list[str], file: LabelFile, classes: int, background: bool | None
) -> list[str]:
    """Return as many names as classes, with a background class where one is known to be missing."""
    if len(names) == classes:
        return names
    has_background = names[0].lower() in BACKGROUND
    wants_background = background or (classes == IMAGENET + 1 and background is None)
    if len(names) == classes - 1 and wants_background and not has_background:
        return _add_background(names, file, background)
    if len(names) == IMAGENET + 1 and classes == IMAGENET and has_background:
        file.notes.append(
            f"{file.origin} begins with {names[0]!r}, which ImageNet's 1000 classes lack"
        )
        return names[1:]
    hint = HINT
    if len(names) == classes - 1:
        hint = f"if class 0 is a background class without a name: --background yes; else {HINT}"
    raise ModelError(
        f"labels: expected {classes} names, one per output of the model, found {len(names)} "
        f"(lines {file.rows[0].line} to {file.rows[-1].line} of {file.origin})",
        hint,
    )


def _add_background(names: list[str], file: LabelFile, background: bool | None) -> list[str]:
    why = "--background yes" if background else "as in TensorFlow's ImageNet models"
    file.notes.append(
        f"{file.origin} has {len(names)} names for {len(names) + 1} outputs: class 0 is called "
        f"'background' ({why})"
    )
    return ["background", *names]


def _split_wordnet_ids(names: list[str]) -> tuple[list[str], list[str]]:
    """Return WordNet ids and names, if all names but the background's begin with their id."""
    matches = [_WORDNET_NAME.fullmatch(name) for name in names]
    pairs = zip(matches, names, strict=True)
    if not any(matches) or not all(match or name.lower() in BACKGROUND for match, name in pairs):
        return [], names
    ids = [match[1] if match else "" for match in matches]
    return ids, [match[2] if match else name for match, name in zip(matches, names, strict=True)]
