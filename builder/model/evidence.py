"""Decide what a model's file leaves open by pictures whose class is known: `--pictures`.

Every combination of fit, order of colours, range of the pixels, activation and place of the labels
that is open runs on every picture. The most right answers decide, then the log-loss. A difference
of less than two pictures, or one that may be chance, is a tie: it is named, and what the file or
the default says counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.catalogue import find_model
from builder.model.fit import DEFAULT_CROP, Fit
from builder.model.kinds import PASS_ON
from builder.model.postprocessing import KINDS
from builder.model.preprocessing import Normalization
from builder.model.resolve import Model, ModelOptions, resolve_model
from builder.model.run import run_variants
from builder.model.settings import ModelSettings
from client.labelled_pictures import ClassNames, LabelledPicturesError, read_labelled_pictures

_FITS = (Fit("crop", DEFAULT_CROP), Fit("crop"), Fit("squash"), Fit("pad"))
# The usual ranges by their names; one number per channel is in the order red, green, blue.
_RANGES = {
    "0..1": Normalization((0.0,), (255.0,)),
    "-1..1": Normalization((127.5,), (127.5,)),
    "0..255": Normalization((0.0,), (1.0,)),
    "ImageNet's mean, std": Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "Caffe's means": Normalization((123.68, 116.779, 103.939), (1.0,)),
}
# What is open, with the options that say it.
_QUESTIONS = {
    "fit": "--fit, --crop",
    "channels": "--channels",
    "normalization": "--mean, --std",
    "activation": "--scores",
    "label_offset": "--label-offset",
}
# Field of ModelOptions -> the topic on the card, and the option that is its reason there.
_REASONS = {
    "fit": ("fit", "--fit"),
    "crop": ("fit", "--crop"),
    "channels": ("input", "--channels"),
    "normalization": ("input", "--mean and --std"),
    "scores": ("output", "--scores"),
    "background": ("labels", "--background yes"),
    "label_offset": ("labels", "--label-offset"),
}
# More pictures take long and decide nothing else.
_MAX_PICTURES = 1000
# A difference of fewer pictures is a tie; so is one whose square is not so many times the number of
# pictures that differ, which chance may be.
_MIN_DIFFERENCE = 2
# Losses differ by more than this, in the same direction for so many pictures, in standard
# deviations of what chance does.
_MIN_CHANGE, _MIN_DEVIATIONS = 0.02, 2.5
# The least probability that the log-loss sees: no single picture may decide.
_MIN_PROBABILITY = 1e-4
# How far from 0..1 an output without an activation may be, and its sum from 1.
_MAX_CLIPPED, _TOLERANCE = 0.25, 0.02
# Combinations in the table for people.
_MAX_ROWS = 12


@dataclass(frozen=True)
class Combination:
    """One way to feed a model and to read its output.

    Attributes:
        fit: how a picture gets the model's size.
        channels: "rgb" or "bgr".
        normalization: of the pixels.
        activation: what the function applies to the output.
        label_offset: by how many outputs each label is later than its place in the file.
    """

    fit: Fit
    channels: str
    normalization: Normalization
    activation: str
    label_offset: int

    def describe(self, question: str) -> str:
        """Return the answer to one question."""
        if question == "fit":
            return f"crop {self.fit.crop:g}" if self.fit.mode == "crop" else self.fit.mode
        if question == "channels":
            return self.channels.upper()
        if question == "normalization":
            return _describe_range(self.normalization)
        if question == "activation":
            return self.activation or "as it is"
        return f"labels {self.label_offset:+d}" if self.label_offset else "labels 0"


@dataclass(frozen=True)
class Attempt:
    """What a combination answered.

    Attributes:
        combination: that was tried.
        right: whether the first answer was right, per picture.
        losses: minus the logarithm of the right class's probability, per picture.
    """

    combination: Combination
    right: NDArray[np.bool_]
    losses: NDArray[np.float64]

    @cached_property
    def top1(self) -> int:
        """How many pictures were answered rightly."""
        return int(self.right.sum())

    @cached_property
    def log_loss(self) -> float:
        """The mean of the losses."""
        return float(self.losses.mean())

    def is_better(self, other: Attempt) -> bool:
        """Return whether more pictures are right, or as many, with clearly smaller losses.

        Losses tell an order of channels only: a range that is too wide saturates the outputs, and
        then the losses of right answers are smaller for no good reason.
        """
        lead = self.top1 - other.top1
        differing = int((self.right != other.right).sum())
        if lead >= _MIN_DIFFERENCE and lead**2 >= _MIN_DIFFERENCE * differing:
            return True
        if lead < 0 or self._without_channels() != other._without_channels():
            return False
        changes = other.losses - self.losses
        smaller = (changes > _MIN_CHANGE).sum() - (changes < -_MIN_CHANGE).sum()
        return bool(smaller >= _MIN_DEVIATIONS * len(changes) ** 0.5)

    def _without_channels(self) -> list[str]:
        return [self.combination.describe(each) for each in _QUESTIONS if each != "channels"]


@dataclass(frozen=True)
class PictureEvidence:
    """What labelled pictures say about a model.

    Attributes:
        source: the folder or file of the pictures.
        attempts: of all combinations, the best first.
        chosen: the one that counts.
        open: the questions with several answers.
        known: those of them that the file, the catalogue or the default answers, too.
    """

    source: str
    attempts: tuple[Attempt, ...]
    chosen: Attempt
    open: tuple[str, ...]
    known: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many pictures were tried."""
        return len(self.chosen.right)

    def best_other(self, question: str) -> Attempt:
        """Return the best attempt with another answer to a question."""
        mine = self.chosen.combination.describe(question)
        return next(t for t in self.attempts if t.combination.describe(question) != mine)

    def tied(self, question: str) -> list[str]:
        """Return the other answers that no combination beats."""
        mine = self.chosen.combination.describe(question)
        answers = [attempt.combination.describe(question) for attempt in _unbeaten(self.attempts)]
        return [answer for answer in dict.fromkeys(answers) if answer != mine]

    def decisions(self) -> Iterator[tuple[str, str]]:
        """Yield each open question's decision in words, and the options that overrule it."""
        for question in self.open:
            answer = self.chosen.combination.describe(question)
            other = self.best_other(question)
            text = f"{answer}: {self.chosen.top1} right, log-loss {self.chosen.log_loss:.3f}; "
            text += f"{other.combination.describe(question)}: {other.top1}, {other.log_loss:.3f}"
            if tied := self.tied(question):
                why = "the file or the default" if question in self.known else "the log-loss"
                text = f"{answer} by {why}; a tie with {', '.join(tied)}"
            yield text, _QUESTIONS[question]

    def __str__(self) -> str:
        decided = "; ".join(text for text, _ in self.decisions())
        right = f"{self.chosen.top1} of {self.count} labelled pictures are answered rightly"
        return f"{right}: {decided}" if decided else right

    def as_values(self) -> dict[str, Any]:
        """Return all of it as values for JSON."""
        return {
            "source": self.source,
            "pictures": self.count,
            "combinations": [_attempt_values(attempt) for attempt in self.attempts],
            "chosen": _attempt_values(self.chosen),
            "leads": {each: self.chosen.top1 - self.best_other(each).top1 for each in self.open},
            "ties": {each: tied for each in self.open if (tied := self.tied(each))},
        }

    def show(self, console: Console) -> None:
        """Print a table of the best combinations and the decisions."""
        default = [self.chosen] if self.chosen not in self.attempts[:_MAX_ROWS] else []
        rows = [
            (
                ", ".join(each.combination.describe(question) for question in self.open)
                + (" *" if each is self.chosen else ""),
                f"{each.top1} of {self.count}",
                f"{each.log_loss:.3f}",
            )
            for each in [*self.attempts[:_MAX_ROWS], *default]
        ]
        console.table((f"combination ({len(self.attempts)} tried)", "top-1", "log-loss"), rows)
        for text, options in self.decisions():
            console.text(f"{text} ({options})")


def resolve_by_pictures(
    wanted: str | None, options: ModelOptions, source: Path, console: Console
) -> tuple[Model, PictureEvidence]:
    """Return the model for --model, with what is open decided by labelled pictures.

    Args:
        wanted: a name in the catalogue, a path, or None for the default.
        options: about the model; what they say is not tried.
        source: the folder or CSV of the pictures.
        console: shows progress, notes and warnings.

    Raises:
        ModelError: as for `resolve_model`, or the pictures cannot be used.
    """
    file = find_model(wanted, console)
    wanted = file.name or str(file.path)
    base, assumed = _resolve_base(wanted, options)
    files, expected = _read_pictures(source, base)
    default = _default_combination(base)
    attempts = _try_combinations(base, options, assumed, files, expected, console)
    open_questions = [
        each for each in _QUESTIONS if len({getattr(t.combination, each) for t in attempts}) > 1
    ]
    assumed_questions = {
        "normalization": assumed.normalization != options.normalization,
        "activation": assumed.scores != options.scores,
    }
    known = tuple(each for each in open_questions if not assumed_questions.get(each))
    evidence = PictureEvidence(
        source=str(source),
        attempts=tuple(attempts),
        chosen=_choose(attempts, default, known, bool(file.entry)),
        open=tuple(open_questions),
        known=known,
    )
    _warn_of_doubts(evidence, console)
    decided = _decide_options(assumed, evidence.chosen, default)
    model = resolve_model(wanted, decided, console)
    card = {**_cite_pictures(model.settings.card, options, decided), "pictures": str(evidence)}
    return replace(model, settings=replace(model.settings, card=card)), evidence


def _resolve_base(wanted: str, options: ModelOptions) -> tuple[Model, ModelOptions]:
    """Return the model with the first answers that resolve it, and the options that give them.

    What the file leaves open (range, background class, meaning of the output) is assumed, one
    question after the other.

    Raises:
        ModelError: as without pictures, if no answer resolves the model.
    """
    silent = Console(silent=True)
    error = _try_to_resolve(wanted, options, silent)
    first_error = error
    for field, answers in (
        ("normalization", _RANGES.values() if options.normalization is None else ()),
        ("background", (True,) if options.background is None else ()),
        ("scores", () if options.scores else KINDS),
    ):
        for answer in answers:
            if isinstance(error, Model):
                return error, options
            changed = replace(options, **{field: answer})  # type: ignore[arg-type]
            result = _try_to_resolve(wanted, changed, silent)
            if isinstance(result, Model) or str(result) != str(error):
                options, error = changed, result
                break
    if isinstance(error, ModelError):
        raise first_error  # type: ignore[misc]
    return error, options


def _try_to_resolve(wanted: str, options: ModelOptions, console: Console) -> Model | ModelError:
    try:
        return resolve_model(wanted, options, console)
    except ModelError as error:
        return error


def _read_pictures(source: Path, model: Model) -> tuple[list[Path], list[int]]:
    """Return the pictures' files, and the place of each one's class among the labels."""
    try:
        pictures = read_labelled_pictures(str(source))
        names = ClassNames(model.settings.labels, model.settings.wordnet_ids)
        expected = [names.find(picture.class_name) for picture in pictures]
    except LabelledPicturesError as error:
        raise ModelError(f"--pictures: {error}") from None
    if len(pictures) > _MAX_PICTURES:
        raise ModelError(
            f"--pictures: expected at most {_MAX_PICTURES:,} pictures, found {len(pictures):,}",
            "a few of each class are enough",
        )
    return [Path(picture.file) for picture in pictures], expected


def _default_combination(model: Model) -> Combination:
    settings = model.settings
    return Combination(
        Fit(settings.fit, settings.crop),
        settings.channels,
        Normalization(settings.mean, settings.std),
        settings.activation,
        0,
    )


def _try_combinations(
    base: Model,
    options: ModelOptions,
    assumed: ModelOptions,
    files: Sequence[Path],
    expected: Sequence[int],
    console: Console,
) -> list[Attempt]:
    """Run every combination that is open on every picture; return the best first.

    Args:
        base: the model with the answers that are known or assumed.
        options: the user's, whose answers count.
        assumed: the options that resolve `base`.
        files: of the pictures.
        expected: the places of their classes among the labels.
        console: shows progress.
    """
    default = _default_combination(base)
    fits = [default.fit]
    if not options.fit and options.crop is None:
        fits = list(dict.fromkeys([default.fit, *_FITS]))
    has_order = base.settings.size[2] == 3 and not options.channels
    is_range_open = assumed.normalization != options.normalization
    inputs = [
        replace(default, fit=fit, channels=channels, normalization=normalization)
        for fit in fits
        for channels in (("rgb", "bgr") if has_order else (default.channels,))
        for normalization in (_ranges(channels, base) if is_range_open else [default.normalization])
    ]
    console.status(f"trying {len(inputs)} ways to feed {len(files)} pictures")
    outputs = run_variants(base.path, [_settings(base, each) for each in inputs], files)
    offsets = (0, 1, -1) if options.label_offset is None else (0,)
    labels = len(base.settings.labels)
    attempts = [
        _judge(
            replace(combination, activation=activation, label_offset=offset),
            each.values,
            (np.array(expected) + offset) % labels,
        )
        for combination, each in zip(inputs, outputs, strict=True)
        for activation in _activations(base, options, each.values)
        for offset in (offsets if labels > 2 else offsets[:2])
    ]
    console.status("")
    return sorted(attempts, key=lambda attempt: (-attempt.top1, attempt.log_loss))


def _ranges(channels: str, model: Model) -> list[Normalization]:
    """Return the usual ranges, with their numbers in this order of channels."""
    step = -1 if channels == "bgr" else 1
    depth = model.settings.size[2]
    ranges = [Normalization(each.mean[::step], each.std[::step]) for each in _RANGES.values()]
    return [each for each in ranges if len(each.mean) in (1, depth)]


def _describe_range(normalization: Normalization) -> str:
    mean, std = normalization.mean, normalization.std
    for name, usual in _RANGES.items():
        if {mean, mean[::-1]} & {usual.mean} and {std, std[::-1]} & {usual.std}:
            return name
    return str(normalization)


def _settings(model: Model, combination: Combination) -> ModelSettings:
    return replace(
        model.settings,
        fit=combination.fit.mode,
        crop=combination.fit.crop,
        channels=combination.channels,
        mean=combination.normalization.mean,
        std=combination.normalization.std,
    )


def _activations(model: Model, options: ModelOptions, values: NDArray[np.float64]) -> list[str]:
    """Return the activations that make sense of these outputs, if the file leaves it open."""
    known = model.settings.activation
    *_, last = model.tflite.trace_back(model.tflite.outputs[0], PASS_ON) or (None,)
    if options.scores or (last and last.name in ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX")):
        return [known]
    outputs = values.shape[1]
    if values.min() < -_MAX_CLIPPED or values.max() > 1 + _MAX_CLIPPED:
        return ["softmax" if outputs > 1 else "sigmoid"]
    if outputs > 1 and abs(values.sum(axis=1) - 1).max() < _TOLERANCE:
        return [""]
    return ["", "softmax" if outputs > 1 else "sigmoid"]


def _judge(
    combination: Combination, values: NDArray[np.float64], expected: NDArray[np.int_]
) -> Attempt:
    """Compare outputs with the expected ones, by their indices."""
    scores = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if combination.activation == "softmax":
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    elif combination.activation == "sigmoid":
        scores = np.tanh(scores / 2) / 2 + 0.5
    if scores.shape[1] == 1:  # one score of two classes
        scores = np.hstack([scores, 1 - scores])
    given = scores[np.arange(len(scores)), expected]
    losses = -np.log(np.clip(given, _MIN_PROBABILITY, 1))
    return Attempt(combination, scores.argmax(axis=1) == expected, losses)


def _choose(
    attempts: Sequence[Attempt], default: Combination, known: Sequence[str], is_catalogued: bool
) -> Attempt:
    """Return the attempt that counts: of the best ones that tie, the one nearest to the default."""
    if is_catalogued:
        return next(attempt for attempt in attempts if attempt.combination == default)
    tied = _unbeaten(attempts)

    def distance(attempt: Attempt) -> int:
        return sum(getattr(attempt.combination, each) != getattr(default, each) for each in known)

    return min(tied, key=distance)


def _unbeaten(attempts: Sequence[Attempt]) -> list[Attempt]:
    return [
        attempt for attempt in attempts if not any(other.is_better(attempt) for other in attempts)
    ]


def _decide_options(assumed: ModelOptions, chosen: Attempt, default: Combination) -> ModelOptions:
    """Return the options that make the chosen combination of a model."""
    combination = chosen.combination
    changes: dict[str, Any] = {}
    if combination.fit != default.fit:
        changes["fit"] = combination.fit.mode
        changes["crop"] = combination.fit.crop if combination.fit.mode == "crop" else None
    if combination.channels != default.channels:
        changes["channels"] = combination.channels
    if combination.normalization != default.normalization:
        changes["normalization"] = combination.normalization
    if combination.activation != default.activation:
        changes["scores"] = "logits" if combination.activation else "scores"
    if combination.label_offset:
        changes["label_offset"] = combination.label_offset
    return replace(assumed, **changes)


def _cite_pictures(
    card: dict[str, str], options: ModelOptions, decided: ModelOptions
) -> dict[str, str]:
    """Return a card on which pictures are the reason for what no option of the user says."""
    cited = dict(card)
    for field, (topic, option) in _REASONS.items():
        if getattr(decided, field) != getattr(options, field):
            cited[topic] = cited[topic].replace(option, "labelled pictures")
    return cited


def _warn_of_doubts(evidence: PictureEvidence, console: Console) -> None:
    if 2 * evidence.chosen.top1 < evidence.count:
        console.warn(
            f"--pictures: only {evidence.chosen.top1} of {evidence.count} pictures are answered "
            "rightly: are these the classes that the model was trained for?"
        )
    for question in set(evidence.open) - set(evidence.known):
        if tied := evidence.tied(question):
            answer = evidence.chosen.combination.describe(question)
            console.warn(
                f"--pictures: {answer} is used, and {', '.join(tied)} would be as good: more "
                f"pictures may tell, or {_QUESTIONS[question]}"
            )


def _attempt_values(attempt: Attempt) -> dict[str, Any]:
    """Return a attempt as values for JSON."""
    combination = attempt.combination
    return {
        "fit": combination.fit.mode,
        "crop": combination.fit.crop,
        "channels": combination.channels,
        "mean": combination.normalization.mean,
        "std": combination.normalization.std,
        "activation": combination.activation,
        "labelOffset": combination.label_offset,
        "right": attempt.top1,
        "logLoss": round(attempt.log_loss, 4),
    }
