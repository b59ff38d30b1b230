"""Evaluate the function on labelled pictures: `python3 -m action evaluate DIR`.

It prints how often the first answer is right and how often the first five hold the right one, which
classes are confused, which pictures fail, and how fast the function answers.
"""

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from action.request import ActionError, Options
from client import batch
from client.answer_formats import printable
from client.confusion_svg import MAX_CLASSES, draw_confusion_matrix
from client.function import Function, add_url_options, open_function
from client.labelled_pictures import ClassNames, LabelledPicture, read_labelled_pictures
from client.progress_bar import ProgressBar

# How many pairs, wrong pictures and failed pictures a person is shown; --json has all.
_MAX_SHOWN = 10

# A right answer among so many is counted, too.
_TOP = 5


class NotAnsweredError(ActionError):
    """No picture was answered, so the model's classes are not known."""


class SvgError(ActionError):
    """The plot cannot be written; the text says why."""


@dataclass
class Evaluation:
    """What the function answered for labelled pictures.

    Attributes:
        labels: of the model.
        ranks: how many pictures have their class at each place of the answer, from 0.
        pairs: how many pictures of a class were answered as another, by both indices.
        wrong: the pictures whose first answer is another class.
        failed: the pictures that were not answered, with the error.
        milliseconds: per answered picture: from the call to the answer, and in the function.
        gave_up: whether the function was out of reach, so that pictures are missing.
    """

    labels: Sequence[str]
    ranks: Counter[int] = field(default_factory=Counter)
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    milliseconds: list[tuple[float, float]] = field(default_factory=list)
    gave_up: bool = False

    @property
    def answered(self) -> int:
        """How many pictures were answered."""
        return self.pairs.total()

    def top(self, count: int) -> int:
        """Return how many pictures have their class among the first `count` answers."""
        return sum(self.ranks[rank] for rank in range(count))

    def confusions(self) -> list[tuple[str, str, int]]:
        """Return expected class, answered class and number of pictures, the most first."""
        wrong = [(pair, count) for pair, count in self.pairs.items() if pair[0] != pair[1]]
        wrong.sort(key=lambda each: (-each[1], each[0]))
        return [(self.labels[a], self.labels[b], count) for (a, b), count in wrong]

    def add(self, file: str, expected: int, answer: dict[str, Any]) -> None:
        """Count an answer with at least one class."""
        results = answer["results"]
        indices = [each["classIndex"] for each in results]
        self.pairs[expected, indices[0]] += 1
        if expected in indices:
            self.ranks[indices.index(expected)] += 1
        if indices[0] != expected:
            best = {"answered": results[0]["className"], "probability": results[0]["probability"]}
            self.wrong.append({"file": file, "expected": self.labels[expected], **best})
        self.milliseconds.append((answer["milliseconds"], answer["details"]["timings"]["total"]))

    def as_values(self) -> dict[str, Any]:
        """Return all of it as values for JSON."""
        return {
            "pictures": self.answered + len(self.failed),
            "answered": self.answered,
            "top1": self._share(1),
            "top5": self._share(5) if len(self.labels) > 5 else None,
            "classes": [
                {"className": self.labels[index], "pictures": count, "right": right}
                for index, (count, right) in sorted(self._by_class().items())
            ],
            "confusions": [
                {"expected": expected, "answered": answered, "pictures": count}
                for expected, answered, count in self.confusions()
            ],
            "wrong": self.wrong,
            "failed": self.failed,
            "milliseconds": self.speed(),
            "gaveUp": self.gave_up,
        }

    def _by_class(self) -> dict[int, tuple[int, int]]:
        """Return class -> how many of its pictures were answered, and how many of them rightly."""
        counts: Counter[int] = Counter()
        for (expected, _), count in self.pairs.items():
            counts[expected] += count
        return {index: (count, self.pairs[index, index]) for index, count in counts.items()}

    def _share(self, count: int) -> float | None:
        return round(self.top(count) / self.answered, 4) if self.answered else None

    def speed(self) -> dict[str, float] | None:
        """Return the median milliseconds per picture: until the answer, and in the function."""
        if not self.milliseconds:
            return None
        medians = [statistics.median(each) for each in zip(*self.milliseconds, strict=True)]
        return {"answer": round(medians[0], 3), "function": round(medians[1], 3)}


def evaluate(pictures: Sequence[LabelledPicture], function: Function, quiet: bool) -> Evaluation:
    """Classify labelled pictures, and compare the answers with their classes.

    Args:
        pictures: with the names of their classes.
        function: answers for them.
        quiet: whether to show no progress.

    Raises:
        LabelledPicturesError: the model lacks a class.
        NotAnsweredError: none of the first pictures is answered.
    """
    files = [picture.file for picture in pictures]
    names = _fetch_class_names(files, function)
    expected = [names.find(picture.class_name) for picture in pictures]
    options = Options(min(_TOP, function.classes), 0.0, True, function.classes)

    def time_answer(file: str) -> dict[str, Any]:
        began = time.perf_counter()
        answer = function.classify(file, options)
        return {**answer, "milliseconds": 1000 * (time.perf_counter() - began)}

    evaluation = Evaluation(names.labels)
    bar = ProgressBar(len(files), not quiet, function.limit)
    undelivered = 0
    outcomes = batch.classify_files(time_answer, files, function.jobs)
    for done, (file, index, outcome) in enumerate(zip(files, expected, outcomes, strict=True), 1):
        undelivered = undelivered + 1 if outcome.kind == "undelivered" else 0
        if outcome.kind == "answered":
            evaluation.add(file, index, outcome.answer)
        else:
            evaluation.failed.append({"file": file, "error": outcome.answer["error"]})
        if undelivered == batch.MAX_UNDELIVERED:
            evaluation.gave_up = True
            break
        bar.draw(done)
    bar.clear()
    outcomes.close()
    return evaluation


def _fetch_class_names(files: Sequence[str], function: Function) -> ClassNames:
    """Return the classes of the model, by all results for the first picture that it answers."""
    options = Options(function.classes, 0.0, True, function.classes)
    last = {"error": "there are none"}
    for file in files:
        outcome = batch.classify_file(lambda name: function.classify(name, options), file)
        if outcome.kind == "answered":
            results = sorted(outcome.answer["results"], key=lambda each: int(each["classIndex"]))
            labels = [each["className"] for each in results]
            return ClassNames(labels, [each.get("wordnetId", "") for each in results])
        last = outcome.answer
        if outcome.kind == "undelivered":
            break
    raise NotAnsweredError(f"no picture was answered: {last['error']}")


def _print_evaluation(evaluation: Evaluation) -> None:
    """Print it for people."""
    answered = evaluation.answered
    classes = len({expected for expected, _ in evaluation.pairs})
    print(f"{answered + len(evaluation.failed)} pictures, {answered} answered, {classes} classes")
    for top in (1, _TOP) if len(evaluation.labels) > _TOP else (1,):
        right = evaluation.top(top)
        if answered:
            print(f"top-{top}: {right} of {answered}, {100 * right / answered:.1f} %")
    if speed := evaluation.speed():
        print(
            f"median: {speed['answer']:.1f} ms a picture, {speed['function']:.1f} in the function"
        )
    rows = [f"{a} answered as {b}: {count}" for a, b, count in evaluation.confusions()]
    _print_rows("confused", rows)
    wrong = [
        f"{each['file']}: {each['expected']}, answered {each['answered']} "
        f"({100 * each['probability']:.1f} %)"
        for each in evaluation.wrong
    ]
    _print_rows("wrong", wrong)
    _print_rows("failed", [f"{each['file']}: {each['error']}" for each in evaluation.failed])


def _print_rows(title: str, rows: list[str]) -> None:
    if rows:
        print(f"{title}:")
    for row in rows[:_MAX_SHOWN]:
        print(f"    {printable(row)}")
    if len(rows) > _MAX_SHOWN:
        print(f"    and {len(rows) - _MAX_SHOWN} more (--json lists all)")


def _write_svg(evaluation: Evaluation, path: Path) -> None:
    """Write the confusion matrix of the pictures' classes; other answers share a column."""
    classes = sorted({expected for expected, _ in evaluation.pairs})
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise SvgError(
            f"--svg: expected pictures of at most {MAX_CLASSES} classes, found {len(classes)}"
        )
    counts = [[evaluation.pairs[row, column] for column in classes] for row in classes]
    names = [evaluation.labels[each] for each in classes]
    others = [
        sum(n for (a, b), n in evaluation.pairs.items() if a == row and b not in classes)
        for row in classes
    ]
    if any(others):
        names.append("another class")
        counts = [[*row, other] for row, other in zip(counts, others, strict=True)]
    try:
        path.write_text(draw_confusion_matrix(names, counts), "utf-8", "surrogateescape")
    except OSError as error:
        raise SvgError(f"--svg {path}: cannot be written: {error.strerror or error}") from None


def run(arguments: list[str]) -> int:
    """Run the command line after `evaluate`, and return the exit status.

    0; 1 if a picture was not answered, 2 if the call was wrong, 3 if the function was out of reach.
    """
    parser = argparse.ArgumentParser(
        prog="python3 -m action evaluate",
        description="Classify pictures whose class is known, and count the right answers.",
        epilog="Exit status: 0; 1 if a picture was not answered, 2 if the call was wrong, 3 if the "
        "function was out of reach.",
    )
    add = parser.add_argument
    add("pictures", help="a folder with a folder for each class, or a CSV of file and class")
    add("--json", action="store_true", help="print a report as JSON")
    add(
        "--svg",
        type=Path,
        metavar="FILE",
        help=f"draw the confusion matrix ({MAX_CLASSES} classes)",
    )
    add("--quiet", action="store_true", help="no progress")
    add_url_options(parser)
    options = parser.parse_args(arguments)
    pictures = read_labelled_pictures(options.pictures)
    evaluation = evaluate(pictures, open_function(parser, options), options.quiet)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack characters of the names
    if options.json:
        print(json.dumps(evaluation.as_values(), indent=2))
    else:
        _print_evaluation(evaluation)
    if options.svg:
        _write_svg(evaluation, options.svg)
    if evaluation.gave_up:
        return batch.UNREACHABLE
    return batch.SOME_FAILED if evaluation.failed else batch.OK
