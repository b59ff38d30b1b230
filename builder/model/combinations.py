"""Try combinations of what a model's file leaves open on pictures whose class is known: --pictures.

Every combination of fit, order of colours, range of the pixels, activation and place of the labels
that is open runs on every picture. The most right answers decide, then the log-loss. A lead of one
picture is a tie: it is named, and what the file or the default says counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.catalogue import find_model
from builder.model.normalization import RANGES, Normalization, decide_normalization
from builder.model.postprocessing import REPLACED_BY, judge_outputs
from builder.model.preprocessing import DEFAULT_CROP, Fit
from builder.model.resolve import Model, ModelOptions, resolve_model
from builder.model.run import run_model
from builder.model.vision_task import PASS_ON
from client.labelled_pictures import ClassNames, LabelledPicturesError, read_labelled_pictures

FITS = (Fit("crop", DEFAULT_CROP), Fit("crop"), Fit("squash"), Fit("pad"))
# What may be open, with the options that say it, as they are named on the card.
_QUESTIONS = {
    "fit": "--fit, --crop",
    "channels": "--channels",
    "normalization": "--mean, --std",
    "activation": "--scores",
    "label_offset": "--label-offset",
}
# A lead of fewer pictures is a tie.
_MIN_LEAD = 2
# The least probability that the log-loss sees, so that no single picture decides.
_MIN_PROBABILITY = 1e-4
# Combinations in the table for people.
_MAX_ROWS = 12


@dataclass(frozen=True)
class Combination:
    """One way to feed a model and to read its output; `label_offset` as in ModelOptions."""

    fit: Fit
    channels: str
    normalization: Normalization
    activation: str
    label_offset: int

    def describe(self, question: str) -> str:
        """Return the answer to one question in a word or two."""
        usual = {value: name for name, value in _list_ranges(self.channels).items()}
        return {
            "fit": f"crop {self.fit.crop:g}" if self.fit.mode == "crop" else self.fit.mode,
            "channels": self.channels.upper(),
            "normalization": usual.get(self.normalization, str(self.normalization)),
            "activation": self.activation or "as it is",
            "label_offset": f"labels {self.label_offset:+d}" if self.label_offset else "labels 0",
        }[question]


@dataclass(frozen=True)
class Attempt:
    """What a combination answered: the number of right first answers, and the mean log-loss."""

    combination: Combination
    right: int
    log_loss: float


@dataclass(frozen=True)
class PictureEvidence:
    """What labelled pictures say about a model.

    Attributes:
        count: how many pictures were tried.
        attempts: all combinations, the best first.
        chosen: the one that counts.
        open: the questions with several answers.
        known: those of them that the file, the catalogue or the default answers, too.
    """

    count: int
    attempts: list[Attempt]
    chosen: Attempt
    open: list[str]
    known: list[str]

    def tied(self, question: str) -> list[str]:
        """Return the other answers of the combinations that are as good as the best one."""
        answers = [each.combination.describe(question) for each in _list_tied(self.attempts)]
        mine = self.chosen.combination.describe(question)
        return [answer for answer in dict.fromkeys(answers) if answer != mine]

    def decisions(self) -> Iterator[tuple[str, str]]:
        """Yield each open question's decision in words, and the options that overrule it."""
        for question in self.open:
            mine = self.chosen.combination.describe(question)
            best: dict[bool, int] = {}  # with this answer, and with another
            for each in self.attempts:
                best.setdefault(each.combination.describe(question) == mine, each.right)
            lead = best[True] - best[False]
            text = f"{mine}, {lead} pictures ahead"
            if tied := ", ".join(self.tied(question)):
                by = "the file or the default" if question in self.known else "the log-loss"
                relation = "behind" if lead <= -_MIN_LEAD else "a tie with"
                text = f"{mine} by {by}; {relation} {tied}"
            yield text, _QUESTIONS[question]

    def __str__(self) -> str:
        right = f"{self.chosen.right} of {self.count} labelled pictures are answered rightly"
        return "; ".join([right, *(text for text, _ in self.decisions())])

    def as_values(self) -> dict[str, Any]:
        """Return all of it as values for JSON."""
        return {
            "pictures": self.count,
            "combinations": [asdict(each) for each in self.attempts],
            "chosen": asdict(self.chosen),
            "ties": {each: tied for each in self.open if (tied := self.tied(each))},
        }

    def show(self, console: Console) -> None:
        """Print a table of the best combinations, and the decisions."""
        rows = [
            (
                ", ".join(each.combination.describe(question) for question in self.open)
                + (" *" if each is self.chosen else ""),
                f"{each.right} of {self.count}",
                f"{each.log_loss:.3f}",
            )
            for each in dict.fromkeys([*self.attempts[:_MAX_ROWS], self.chosen])
        ]
        console.table((f"combination ({len(self.attempts)} tried)", "top-1", "log-loss"), rows)
        for text, options in self.decisions():
            console.text(f"{text} ({options})")


def resolve_by_pictures(
    wanted: str | None, options: ModelOptions, source: Path, console: Console
) -> tuple[Model, PictureEvidence]:
    """Return the model for --model, with what is open decided by labelled pictures.

    What the options say is not tried.

    Raises:
        ModelError: as for `resolve_model`, or the pictures cannot be used.
    """
    file = find_model(wanted, console)
    base, assumed = _resolve_base(str(file.path), options)
    files, expected = _read_pictures(source, base)
    default = _default_combination(base)
    inputs = _list_inputs(base, default, options, assumed)
    console.status(f"trying {len(inputs)} ways to feed {len(files)} pictures")
    attempts = _run_combinations(base, inputs, options, files, expected)
    console.status("")
    questions = [q for q in _QUESTIONS if len({getattr(a.combination, q) for a in attempts}) > 1]
    known = [q for q in questions if _option(assumed, q) == _option(options, q)]
    candidates = _list_tied(attempts)
    if file.entry:  # the catalogue knows
        candidates = [a for a in attempts if a.combination == default] or candidates

    def distance(attempt: Attempt) -> tuple[int, ...]:
        """Return how many answers differ from those that are known, and from the best ones."""
        return tuple(
            sum(getattr(attempt.combination, q) != getattr(other, q) for q in asked)
            for other, asked in ((default, known), (attempts[0].combination, questions))
        )

    evidence = PictureEvidence(
        len(files), attempts, min(candidates, key=distance), questions, known
    )
    for question in questions:
        if question not in known and (tied := ", ".join(evidence.tied(question))):
            answer = evidence.chosen.combination.describe(question)
            console.warn(
                f"--pictures: {answer} is used, and {tied} would be as good: more pictures may "
                f"tell, or {_QUESTIONS[question]}",
                reminder=f"{answer} is one answer of several: {_QUESTIONS[question]}",
            )
    decided = _decide_options(assumed, evidence.chosen.combination, default)
    model = resolve_model(wanted, decided, console)
    card = model.settings.card
    for question, given in _QUESTIONS.items():
        if _option(decided, question) != _option(options, question):
            card = {topic: text.replace(given, "labelled pictures") for topic, text in card.items()}
    card = {**card, "pictures": str(evidence)}
    return replace(model, settings=replace(model.settings, card=card)), evidence


def _option(options: ModelOptions, question: str) -> Any:
    return getattr(options, "scores" if question == "activation" else question)


def _list_tied(attempts: list[Attempt]) -> list[Attempt]:
    return [each for each in attempts if attempts[0].right - each.right < _MIN_LEAD]


def _resolve_base(wanted: str, options: ModelOptions) -> tuple[Model, ModelOptions]:
    """Return the model with the first answers that resolve it, and the options that give them.

    What the file leaves open (range, background class, meaning of the output) is assumed, one
    question after the other. Raises ModelError, as without pictures, if no answer resolves it.
    """
    first = result = _try_to_resolve(wanted, options)
    for field, answers in (
        ("normalization", [*RANGES.values()] if options.normalization is None else []),
        ("background", [True] if options.background is None else []),
        ("scores", [] if options.scores else ["logits"]),  # any numbers may be
    ):
        problem = str(result)
        for answer in [] if isinstance(result, Model) else answers:
            changed = replace(options, **{field: answer})  # type: ignore[arg-type]
            result = _try_to_resolve(wanted, changed)
            if isinstance(result, Model) or str(result) != problem:
                options = changed
                break
    if isinstance(result, ModelError):
        assert isinstance(first, ModelError)
        raise first
    return result, options


def _try_to_resolve(wanted: str, options: ModelOptions) -> Model | ModelError:
    try:
        return resolve_model(wanted, options, Console(silent=True))
    except ModelError as error:
        return error


def _read_pictures(source: Path, model: Model) -> tuple[list[Path], NDArray[np.int_]]:
    """Return the pictures' files, and the place of each one's class among the labels."""
    try:
        pictures = read_labelled_pictures(str(source))
        names = ClassNames(model.settings.labels, model.settings.wordnet_ids)
        expected = [names.find(picture.class_name) for picture in pictures]
    except LabelledPicturesError as error:
        raise ModelError(f"--pictures: {error}") from None
    return [Path(picture.file) for picture in pictures], np.array(expected)


def _default_combination(model: Model) -> Combination:
    settings = model.settings
    return Combination(
        Fit(settings.fit, settings.crop),
        settings.channels,
        Normalization(settings.mean, settings.std),
        settings.activation,
        label_offset=0,
    )


def _list_inputs(
    base: Model, default: Combination, options: ModelOptions, assumed: ModelOptions
) -> list[Combination]:
    """Return the open ways to feed a model; those that differ in the fit are apart.

    Ranges that the file contradicts are left out, unless it contradicts all.
    """
    source, depth = base.tflite.inputs[0], base.settings.size[2]
    orders = ["rgb", "bgr"] if depth == 3 and not options.channels else [default.channels]
    is_range_open = assumed.normalization != options.normalization
    inputs = [
        replace(default, fit=fit, channels=channels, normalization=normalization)
        for fit in dict.fromkeys([default.fit, *(() if options.fit else FITS)])
        for channels in orders
        for normalization in (
            _list_ranges(channels).values() if is_range_open else [default.normalization]
        )
        if len(normalization.mean) in (1, depth)
    ]

    def is_likely(way: Combination) -> bool:
        wanted, order = way.normalization, way.channels
        return not decide_normalization(base.tflite, source, depth, wanted, None, order).doubt

    return list(filter(is_likely, inputs)) or inputs


def _list_ranges(channels: str) -> dict[str, Normalization]:
    """Return the usual ranges, with their numbers in this order of channels."""
    step = -1 if channels == "bgr" else 1
    return {
        name: Normalization(each.mean[::step], each.std[::step]) for name, each in RANGES.items()
    }


def _run_combinations(
    base: Model,
    inputs: Sequence[Combination],
    options: ModelOptions,
    files: Sequence[Path],
    expected: NDArray[np.int_],
) -> list[Attempt]:
    """Run each way to feed a model on each picture; return what all answered, the best first.

    The outputs are read in each way that the options leave open; `expected` are the places of the
    pictures' classes among the labels.
    """
    variants = [
        replace(
            base.settings,
            fit=each.fit.mode,
            crop=each.fit.crop,
            channels=each.channels,
            mean=each.normalization.mean,
            std=each.normalization.std,
        )
        for each in inputs
    ]
    labels = len(base.settings.labels)
    offsets = {0: 0, 1 % labels: 1, -1 % labels: -1} if options.label_offset is None else {0: 0}
    attempts = [
        _rate_outputs(
            replace(combination, activation=activation, label_offset=offset),
            outputs.values,
            (expected + offset) % labels,
        )
        for combination, outputs in zip(
            inputs, run_model(base.path, variants, files, {}), strict=True
        )
        for activation in _list_activations(base, options, outputs.values)
        for offset in offsets.values()
    ]
    return sorted(attempts, key=lambda each: (-each.right, each.log_loss))


def _list_activations(
    model: Model, options: ModelOptions, values: NDArray[np.float64]
) -> list[str]:
    """Return the activations that make sense of these outputs, if the file leaves it open."""
    *_, last = model.tflite.trace_back(model.tflite.outputs[0], PASS_ON) or (None,)
    if options.scores or (last and last.name in REPLACED_BY):
        return [model.settings.activation]
    activation = "softmax" if values.shape[1] > 1 else "sigmoid"
    kind = judge_outputs(model.tflite.outputs[0], values, values.shape[1]).value
    return {"probabilities": [""], "scores": ["", activation]}.get(kind, [activation])


def _rate_outputs(
    combination: Combination, values: NDArray[np.float64], expected: NDArray[np.int_]
) -> Attempt:
    """Return how many outputs are highest in the right place, and their log-loss."""
    scores = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    if combination.activation == "softmax":
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    elif combination.activation == "sigmoid":
        scores = np.tanh(scores / 2) / 2 + 0.5
    if scores.shape[1] == 1:  # one score of two classes
        scores = np.hstack([scores, 1 - scores])
    right = scores.argmax(axis=1) == expected
    given = scores[np.arange(len(scores)), expected]
    log_loss = np.log(1 / np.clip(given, _MIN_PROBABILITY, 1)).mean()
    return Attempt(combination, int(right.sum()), round(float(log_loss), 4))


def _decide_options(
    assumed: ModelOptions, chosen: Combination, default: Combination
) -> ModelOptions:
    """Return the options that make the chosen combination of a model."""
    changes: dict[str, Any] = {
        question: getattr(chosen, question)
        for question in ("fit", "channels", "normalization", "label_offset")
        if getattr(chosen, question) != getattr(default, question)
    }
    if chosen.activation != default.activation:
        changes["scores"] = "logits" if chosen.activation else "scores"
    return replace(assumed, **changes)
