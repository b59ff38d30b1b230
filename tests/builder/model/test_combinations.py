"""Labelled pictures decide what a model's file leaves open, or name a tie."""

from __future__ import annotations

import csv
import itertools
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from action.picture import decode
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model import combinations, normalization
from builder.model.combinations import Combination, PictureEvidence, resolve_by_pictures
from builder.model.normalization import Normalization
from builder.model.preprocessing import Fit
from builder.model.resolve import Model, ModelOptions
from tests.builder.model.conftest import ZERO_TO_ONE
from tests.conftest import encoded, plain
from tests.support.models import COLOURS, Array, ColourModel, write_template_network

CLASSES, SIDE = 8, 12
NAMES = [f"class-{number}" for number in range(CLASSES)]
PICTURES_PER_CLASS = 2


@dataclass
class Case:
    """A network that was made for one combination, with pictures, and the labels in a file."""

    folder: Path
    truth: Combination
    seed: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.labels = self.folder / "labels.txt"
        self.labels.write_text("\n".join(NAMES))
        self.pictures = self.folder / "pictures"
        self.model = self.folder / "m.tflite"
        common = self.random.integers(60, 196, (4, 6, 3))
        differences = self.random.integers(-60, 60, (CLASSES, 4, 6, 3))
        patterns = (common + differences).astype(np.uint8)
        rows = [self._write_pictures(*each) for each in zip(NAMES, patterns, strict=True)]
        templates = np.roll(np.array(rows), self.truth.label_offset, axis=0)
        write_template_network(self.model, templates, self.truth.activation == "")

    def _write_pictures(self, name: str, pattern: Array) -> Array:
        """Write noisy pictures of a class; return what enters the network for the clean one."""
        (self.pictures / name).mkdir(parents=True)
        clean = np.asarray(Image.fromarray(pattern).resize((60, 40), Image.Resampling.NEAREST))
        for number in range(PICTURES_PER_CLASS):
            noise = self.random.normal(0, 12, clean.shape)
            noisy = Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8))
            noisy.save(self.pictures / name / f"{number}.png")
        fit, normalization = self.truth.fit, self.truth.normalization
        picture = encoded(Image.fromarray(clean))
        pixels = decode(picture, SIDE, SIDE, 3, fit.crop, fit=fit.mode).pixels
        ordered = pixels[..., ::-1] if self.truth.channels == "bgr" else pixels
        entered = (ordered - np.array(normalization.mean)) / np.array(normalization.std)
        return np.asarray(entered)

    def resolve(self, **options: Any) -> tuple[Model, PictureEvidence]:
        chosen = ModelOptions(labels=self.labels, **options)
        return resolve_by_pictures(str(self.model), chosen, self.pictures, Console(silent=True))


def every_combination() -> list[Combination]:
    return [
        Combination(fit, channels, Normalization(each.mean[::step], each.std[::step]), *rest)
        for fit in combinations.FITS
        for channels, step in (("rgb", 1), ("bgr", -1))
        for each in normalization.NAMED.values()
        for rest in itertools.product(("", "softmax"), (0, 1, -1))
    ]


def check_right_or_tied(case: Case) -> None:
    model, found = case.resolve()
    truth = next(attempt for attempt in found.attempts if attempt.combination == case.truth)
    assert truth.right == found.count == CLASSES * PICTURES_PER_CLASS
    chosen = found.chosen.combination
    for question in found.open:
        right = case.truth.describe(question)
        assert right in (chosen.describe(question), *found.tied(question)), question
    settings = model.settings
    assert Fit(settings.fit, settings.crop) == chosen.fit
    assert (settings.channels, settings.activation) == (chosen.channels, chosen.activation)
    assert (settings.mean, settings.std) == (chosen.normalization.mean, chosen.normalization.std)
    assert settings.labels == tuple(np.roll(NAMES, chosen.label_offset))
    assert settings.card["pictures"] == str(found)
    assert all(int(lead) > 1 for lead in re.findall(r"(\S+) pictures ahead", str(found)))


@pytest.mark.parametrize("seed", range(4))
def test_right_combination_or_named_tie(seed: int, tmp_path: Path, thorough: bool) -> None:
    chosen = random.Random(seed).sample(every_combination(), 10 if thorough else 1)
    for number, truth in enumerate(chosen):
        (tmp_path / str(number)).mkdir()
        check_right_or_tied(Case(tmp_path / str(number), truth, seed))


def test_decisive_pictures_decide_and_options_are_not_tried(tmp_path: Path) -> None:
    truth = Combination(Fit("pad"), "bgr", Normalization((0.0,), (1.0,)), "softmax", -1)
    case = Case(tmp_path, truth, 3)
    model, found = case.resolve(fit="pad")
    assert found.open == ["channels", "normalization", "label_offset"]
    assert found.tied("channels") == found.tied("label_offset") == []
    assert (model.settings.channels, model.settings.labels[0]) == ("bgr", NAMES[1])
    card = model.settings.card
    assert re.search(r"BGR, \d+ pictures ahead", card["pictures"])
    assert "(--fit)" in card["fit"]  # given by the user, unlike these
    assert "(labelled pictures)" in card["input"] and "(labelled pictures)" in card["labels"]
    values = found.as_values()
    assert values["chosen"]["right"] == values["pictures"] == 16
    assert len(values["combinations"]) == 2 * 5 * 3


def colour_case(folder: Path, names: tuple[str, ...], pictures: tuple[str, ...]) -> Path:
    """Write a model of colours, its labels, and a plain picture of each colour; return a CSV."""
    ColourModel().write(folder / "m.tflite")
    (folder / "labels.txt").write_text("\n".join(names))
    rows = []
    for number, name in enumerate(pictures):
        (folder / f"{number}.png").write_bytes(
            encoded(plain("lime" if name == "green" else name, (40, 20)))
        )
        rows.append((f"{number}.png", name))
    with open(folder / "pictures.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "pictures.csv"


def resolve_colours(folder: Path, source: Path, **options: Any) -> tuple[Model, PictureEvidence]:
    chosen = ModelOptions(labels=folder / "labels.txt", **options)
    return resolve_by_pictures(str(folder / "m.tflite"), chosen, source, Console(silent=True))


def test_ties_are_named_and_left_to_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = colour_case(tmp_path, COLOURS, COLOURS * 4)
    model, found = resolve_colours(tmp_path, source, normalization=ZERO_TO_ONE)
    assert "squash by the file or the default; a tie with crop 0.875, crop 1, pad" in str(found)
    assert model.settings.card["fit"].startswith("the whole picture, squashed")
    assert model.settings.card["pictures"].startswith("12 of 12 labelled pictures")
    found.show(Console())
    shown = capsys.readouterr().err
    assert re.search(r"^squash, RGB, as it is, labels 0 \* +12 of 12 +0\.000$", shown, re.MULTILINE)
    assert "(--fit, --crop)" in shown and "(--label-offset)" in shown


@pytest.mark.parametrize(("count", "order"), [(1, "rgb"), (2, "bgr")])
def test_one_picture_of_difference_is_a_tie(count: int, order: str, tmp_path: Path) -> None:
    """The labels are those of a BGR model: RGB answers no red picture rightly."""
    source = colour_case(tmp_path, ("blue", "green", "red"), ("red",) * count)
    options = {"normalization": ZERO_TO_ONE, "label_offset": 0}
    model, found = resolve_colours(tmp_path, source, **options)
    assert model.settings.channels == order
    assert bool(found.tied("channels")) == (count == 1)


def test_missing_background_and_range_are_found(tmp_path: Path) -> None:
    """Without pictures both are errors; the labels start one output too early."""
    source = colour_case(tmp_path, ("green", "blue"), ("green", "blue") * 4)
    model, found = resolve_colours(tmp_path, source)
    assert model.settings.labels == ("background", "green", "blue")
    assert model.settings.background == 0
    assert "normalization" in found.open and "normalization" not in found.known


def test_score_of_two_classes_may_be_that_of_the_second(tmp_path: Path) -> None:
    """The labels are the wrong way round."""
    folder = tmp_path
    Image.new("L", (8, 8), 250).save(folder / "0.png")
    Image.new("L", (8, 8), 5).save(folder / "1.png")
    ColourModel(channels=1).write(folder / "m.tflite")
    (folder / "labels.txt").write_text("dark\nbright")
    (folder / "pictures.csv").write_text("0.png,bright\n1.png,dark\n" * 2)
    model, found = resolve_colours(folder, folder / "pictures.csv", normalization=ZERO_TO_ONE)
    assert model.settings.labels == ("bright", "dark")
    assert found.tied("label_offset") == []


def test_pictures_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    source = colour_case(tmp_path, COLOURS, COLOURS)
    (tmp_path / "0.png").write_bytes(b"broken")
    for name, text in (
        ("purple", "--pictures: expected a class .*, found 'purple'"),
        ("red", r"0\.png: not a picture: expected JPEG"),
    ):
        source.write_text(f"0.png,{name}\n")
        with pytest.raises(ModelError, match=text):
            resolve_colours(tmp_path, source, normalization=ZERO_TO_ONE)


def test_model_that_no_answer_resolves_is_refused_as_without_pictures(tmp_path: Path) -> None:
    source = colour_case(tmp_path, ("red",), ("red",))
    with pytest.raises(ModelError, match="does not say how its input"):
        resolve_colours(tmp_path, source)


def test_catalogues_settings_are_kept(shared_images: Path, tmp_path: Path) -> None:
    pictures = sorted(shared_images.glob("*.JPEG"))[:20]
    rows = [f"{path},{path.name.partition('_')[0]}\n" for path in pictures]
    (tmp_path / "pictures.csv").write_text("".join(rows))
    model, found = resolve_by_pictures(
        "efficientnet_lite0", ModelOptions(), tmp_path / "pictures.csv", Console(silent=True)
    )
    assert found.chosen.combination.describe("fit") == "crop 0.875"
    assert found.chosen.right >= 15
    assert found.tied("channels") == found.tied("label_offset") == []
    assert model.settings.card["pictures"] == str(found)
