"""Evaluate the function on labelled pictures: `python3 -m action evaluate DIR`."""

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

from action.request import ActionError, Options
from client import batch
from client.answer_formats import printable
from client.confusion_svg import MAX_CLASSES, draw_confusion_matrix
from client.function import Function, add_url_options, open_function
from client.labelled_pictures import ClassNames, LabelledPicture, read_labelled_pictures

# A right answer among so many is counted, too.
_TOP = 5
# How many confused pairs, wrong and failed pictures a person is shown; --json has all.
_MAX_SHOWN = 10


class Answered(NamedTuple):
    """A picture that was answered; `milliseconds` are to the answer, and in the function."""

    file: str
    expected: int
    results: list[dict[str, Any]]
    milliseconds: tuple[float, float]


class Evaluation(NamedTuple):
    """What the function answered for labelled pictures.

    Attributes:
        labels: of the model.
        answered: the pictures with their answers.
        failed: the other pictures, with the error.
        gave_up: whether the function was out of reach, so that pictures are missing.
    """

    labels: Sequence[str]
    answered: list[Answered]
    failed: list[dict[str, str]]
    gave_up: bool

    def count_pairs(self) -> Counter[tuple[int, int]]:
        """Return how many pictures of a class were answered as which, by both indices."""
        return Counter((each.expected, each.results[0]["classIndex"]) for each in self.answered)

    def top(self, count: int) -> float | None:
        """Return the share of pictures whose class is among the first answers."""
        right = sum(
            each.expected in [result["classIndex"] for result in each.results[:count]]
            for each in self.answered
        )
        return round(right / len(self.answered), 4) if self.answered else None

    def as_values(self) -> dict[str, Any]:
        """Return all of it as values for JSON."""
        pairs, labels = self.count_pairs(), self.labels
        pictures = Counter(each.expected for each in self.answered)
        wrong = [each for each in self.answered if each.results[0]["classIndex"] != each.expected]
        milliseconds = [each.milliseconds for each in self.answered] or [(0.0, 0.0)]
        answer, function = (statistics.median(each) for each in zip(*milliseconds, strict=True))
        return {
            "pictures": len(self.answered) + len(self.failed),
            "answered": len(self.answered),
            "top1": self.top(1),
            "top5": self.top(_TOP) if len(labels) > _TOP else None,
            "classes": [
                {"className": labels[index], "pictures": count, "right": pairs[index, index]}
                for index, count in sorted(pictures.items())
            ],
            "confusions": [
                {"expected": labels[expected], "answered": labels[answered], "pictures": count}
                for (expected, answered), count in pairs.most_common()
                if expected != answered
            ],
            "wrong": [
                {
                    "file": each.file,
                    "expected": labels[each.expected],
                    "answered": each.results[0]["className"],
                    "probability": each.results[0]["probability"],
                }
                for each in wrong
            ],
            "failed": self.failed,
            "milliseconds": {"answer": round(answer, 3), "function": round(function, 3)},
            "gaveUp": self.gave_up,
        }


def evaluate(pictures: Sequence[LabelledPicture], function: Function, quiet: bool) -> Evaluation:
    """Classify labelled pictures, and keep the answers with the expected classes.

    Raises:
        ActionError: the model lacks a class, or no picture is answered.
    """
    files = [picture.file for picture in pictures]
    names = _fetch_class_names(files, function)
    expected = [names.find(picture.class_name) for picture in pictures]
    options = Options(min(_TOP, function.classes), 0.0, True, function.classes)

    answered: list[Answered] = []
    failed: list[dict[str, str]] = []
    gave_up = False
    outcomes = batch.classify_files(function, options, files, quiet)
    try:
        for file, index, outcome in zip(files, expected, outcomes, strict=True):
            answer = outcome.answer
            if outcome.kind == "answered":
                milliseconds = (1000 * outcome.seconds, answer["details"]["timings"]["total"])
                answered.append(Answered(file, index, answer["results"], milliseconds))
            else:
                failed.append({"file": file, "error": answer["error"]})
    except batch.FunctionGoneError:
        gave_up = True
    return Evaluation(names.labels, answered, failed, gave_up)


def _fetch_class_names(files: Sequence[str], function: Function) -> ClassNames:
    """Return the classes of the model, by all results for the first picture that it answers."""
    options = Options(function.classes, 0.0, True, function.classes)
    error = ""
    for file in files:
        outcome = batch.classify_file(function, options, file)
        if outcome.kind == "answered":
            results = sorted(outcome.answer["results"], key=lambda each: int(each["classIndex"]))
            ids = [each.get("wordnetId", "") for each in results]
            return ClassNames([each["className"] for each in results], ids)
        error = outcome.answer["error"]
        if outcome.kind == "undelivered":
            break
    raise ActionError(f"no picture was answered: {error}")


def _print_report(report: dict[str, Any]) -> None:
    """Print a report for people."""
    print(f"{report['pictures']} pictures of {len(report['classes'])} classes")
    print(f"{report['answered']} answered, {len(report['failed'])} failed")
    for name, title in (("top1", "top-1"), ("top5", "top-5")):
        if report[name] is not None:
            print(f"{title}: {100 * report[name]:.1f} %")
    speed = report["milliseconds"]
    print(f"median: {speed['answer']:.1f} ms a picture, {speed['function']:.1f} in the function")
    for title, form in (
        ("confusions", "{expected} answered as {answered}: {pictures}"),
        ("wrong", "{file}: {expected}, answered {answered} ({probability:.1%})"),
        ("failed", "{file}: {error}"),
    ):
        rows = report[title]
        if rows:
            print(f"{title}:")
        for row in rows[:_MAX_SHOWN]:
            print(f"    {printable(form.format(**row))}")
        if len(rows) > _MAX_SHOWN:
            print(f"    and {len(rows) - _MAX_SHOWN} more (--json lists all)")


def _write_svg(evaluation: Evaluation, path: Path) -> None:
    """Write the confusion matrix of the pictures' classes; other answers share a column."""
    pairs = evaluation.count_pairs()
    classes = sorted({expected for expected, _ in pairs})
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise ActionError(
            f"--svg: expected pictures of at most {MAX_CLASSES} classes, found {len(classes)}"
        )
    names = [evaluation.labels[index] for index in classes]
    counts = [[pairs[row, column] for column in classes] for row in classes]
    totals = Counter(each.expected for each in evaluation.answered)
    others = [totals[row] - sum(cells) for row, cells in zip(classes, counts, strict=True)]
    if any(others):
        names.append("another class")
        counts = [[*cells, other] for cells, other in zip(counts, others, strict=True)]
    path.write_text(draw_confusion_matrix(names, counts), "utf-8")


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
    svg = f"draw the confusion matrix of up to {MAX_CLASSES} classes"
    add("--svg", type=Path, metavar="FILE", help=svg)
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
        _print_report(evaluation.as_values())
    if options.svg:
        _write_svg(evaluation, options.svg)
    if evaluation.gave_up:
        return batch.UNREACHABLE
    return batch.SOME_FAILED if evaluation.failed else batch.OK
