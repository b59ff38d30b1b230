"""Labelled pictures decide what a model's file leaves open, or name a tie."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from action.picture import decode
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.combinations import FITS, Combination, PictureEvidence, resolve_by_pictures
from builder.model.normalization import BYTES, RANGES, Normalization
from builder.model.preprocessing import Fit
from builder.model.resolve import Model, ModelOptions
from tests.builder.model.conftest import ZERO_TO_ONE, dense, entering, softmax, unary
from tests.conftest import encoded, plain
from tests.support.models import COLOURS, Array, ColourModel, write_template_network

CLASSES, SIDE = 8, 12
NAMES = [f"class-{number}" for number in range(CLASSES)]
PICTURES_PER_CLASS = 2


def resolve(folder: Path, **options: Any) -> tuple[Model, PictureEvidence]:
    """Resolve a folder's m.tflite by its labels.txt and its pictures, in a folder or a CSV."""
    [source] = folder.glob("pictures*")
    chosen = ModelOptions(labels=folder / "labels.txt", **options)
    return resolve_by_pictures(str(folder / "m.tflite"), chosen, source, Console(silent=True))


def write_case(folder: Path, truth: Combination, seed: int) -> None:
    """Write a network that was made for one combination, with noisy pictures and its labels."""
    random = np.random.default_rng(seed)
    (folder / "labels.txt").write_text("\n".join(NAMES))
    common = random.integers(60, 196, (4, 6, 3))
    patterns = (common + random.integers(-60, 60, (CLASSES, 4, 6, 3))).astype(np.uint8)
    entering = []
    for name, pattern in zip(NAMES, patterns, strict=True):
        clean = np.asarray(Image.fromarray(pattern).resize((60, 40), Image.Resampling.NEAREST))
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(PICTURES_PER_CLASS):
            noisy = np.clip(clean + random.normal(0, 12, clean.shape), 0, 255)
            picture = Image.fromarray(noisy.astype(np.uint8))
            picture.save(folder / "pictures" / name / f"{number}.png")
        entering.append(enter(clean, truth))
    templates = np.roll(np.array(entering), truth.label_offset, axis=0)
    write_template_network(folder / "m.tflite", templates, truth.activation == "")


def enter(picture: Array, truth: Combination) -> Array:
    """Return what a picture is when it enters a network."""
    fit, normalization = truth.fit, truth.normalization
    content = encoded(Image.fromarray(picture))
    pixels = decode(content, SIDE, SIDE, 3, fit.crop, fit=fit.mode).pixels
    ordered = pixels[..., ::-1] if truth.channels == "bgr" else pixels
    return np.asarray((ordered - np.array(normalization.mean)) / np.array(normalization.std))


def every_combination() -> list[Combination]:
    return [
        Combination(fit, channels, Normalization(each.mean[::step], each.std[::step]), *rest)
        for fit in FITS
        for channels, step in (("rgb", 1), ("bgr", -1))
        for each in RANGES.values()
        for rest in itertools.product(("", "softmax"), (0, 1, -1))
    ]


@pytest.mark.parametrize("seed", range(4))
def test_right_combination_or_named_tie(seed: int, tmp_path: Path, thorough: bool) -> None:
    truths = random.Random(seed).sample(every_combination(), 10 if thorough else 1)
    for number, truth in enumerate(truths):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_case(folder, truth, seed)
        check_right_or_tied(folder, truth)


def check_right_or_tied(folder: Path, truth: Combination) -> None:
    model, found = resolve(folder)
    attempt = next(each for each in found.attempts if each.combination == truth)
    assert attempt.right == found.count == CLASSES * PICTURES_PER_CLASS
    chosen = found.chosen.combination
    for question in found.open:
        right = truth.describe(question)
        assert right in (chosen.describe(question), *found.tied(question)), question
    settings = model.settings
    assert Fit(settings.fit, settings.crop) == chosen.fit
    assert (settings.channels, settings.activation) == (chosen.channels, chosen.activation)
    assert (settings.mean, settings.std) == (chosen.normalization.mean, chosen.normalization.std)
    assert settings.labels == tuple(np.roll(NAMES, chosen.label_offset))
    assert settings.card["pictures"] == str(found)


def test_decisive_pictures_decide_and_options_are_not_tried(tmp_path: Path) -> None:
    write_case(tmp_path, Combination(Fit("pad"), "bgr", BYTES, "softmax", -1), 3)
    model, found = resolve(tmp_path, fit=Fit("pad"))
    assert found.open == ["channels", "normalization", "label_offset"]
    assert found.tied("channels") == found.tied("label_offset") == []
    assert (model.settings.channels, model.settings.labels[0]) == ("bgr", NAMES[1])
    card = model.settings.card
    assert re.search(r"BGR, \d+ pictures ahead", card["pictures"])
    assert "(--fit, --crop)" in card["fit"]  # given by the user, unlike these
    assert "(labelled pictures)" in card["input"] and "(labelled pictures)" in card["labels"]
    values = found.as_values()
    assert values["chosen"]["right"] == values["pictures"] == 16
    assert len(values["combinations"]) == 2 * 5 * 3


def write_colours(folder: Path, names: tuple[str, ...], pictures: tuple[str, ...]) -> None:
    """Write a model of colours, its labels, and a plain picture of each colour."""
    ColourModel().write(folder / "m.tflite")
    (folder / "labels.txt").write_text("\n".join(names))
    rows = []
    for number, name in enumerate(pictures):
        picture = plain("lime" if name == "green" else name, (40, 20))
        picture.save(folder / f"{number}.png")
        rows.append(f"{number}.png,{name}\n")
    (folder / "pictures.csv").write_text("".join(rows))


def test_ties_are_named_and_left_to_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_colours(tmp_path, COLOURS, COLOURS * 4)
    model, found = resolve(tmp_path, normalization=ZERO_TO_ONE)
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
    write_colours(tmp_path, ("blue", "green", "red"), ("red",) * count)
    options = {"normalization": ZERO_TO_ONE, "label_offset": 0}
    model, found = resolve(tmp_path, **options)
    assert model.settings.channels == order
    assert bool(found.tied("channels")) == (count == 1)


def test_missing_background_and_range_are_found(tmp_path: Path) -> None:
    """Without pictures both are errors; the labels start one output too early."""
    write_colours(tmp_path, ("green", "blue"), ("green", "blue") * 4)
    model, found = resolve(tmp_path)
    assert model.settings.labels == ("background", "green", "blue")
    assert model.settings.background == 0
    assert "normalization" in found.open and "normalization" not in found.known


def test_ranges_that_the_file_contradicts_are_not_tried(tmp_path: Path) -> None:
    """An int16 input that holds -1..1 is for 0..1 or -1..1."""
    write_colours(tmp_path, COLOURS, COLOURS * 2)
    head = entering(unary("DEQUANTIZE"), dtype="int16", scale=1 / 32767)
    (tmp_path / "m.tflite").write_bytes(dense(head, softmax))
    _, found = resolve(tmp_path)
    tried = {each.combination.describe("normalization") for each in found.attempts}
    assert tried == {"0..1", "-1..1"}


def test_score_of_two_classes_may_be_that_of_the_second(tmp_path: Path) -> None:
    """The labels are the wrong way round, and pixels of 0..255 would not give scores."""
    for number, grey in enumerate((250, 0)):
        Image.new("L", (8, 8), grey).save(tmp_path / f"{number}.png")
    ColourModel(channels=1).write(tmp_path / "m.tflite")
    (tmp_path / "labels.txt").write_text("dark\nbright")
    (tmp_path / "pictures.csv").write_text("0.png,bright\n1.png,dark\n" * 2)
    model, found = resolve(tmp_path)
    assert model.settings.labels == ("bright", "dark")
    assert found.tied("label_offset") == []


def test_one_number_that_may_be_any_is_a_logit(tmp_path: Path) -> None:
    """Without pictures it is an error."""
    write_colours(tmp_path, ("red", "other"), ("red", "blue"))
    (tmp_path / "pictures.csv").write_text("0.png,red\n1.png,other\n" * 2)
    (tmp_path / "m.tflite").write_bytes(dense(outputs=1))
    model, found = resolve(tmp_path, normalization=ZERO_TO_ONE)
    assert (model.settings.activation, found.chosen.right) == ("sigmoid", 4)


def test_pictures_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    write_colours(tmp_path, COLOURS, COLOURS)
    (tmp_path / "0.png").write_bytes(b"broken")
    for name, text in (
        ("purple", "--pictures: expected a class .*, found 'purple'"),
        ("red", r"0\.png: not a picture: expected JPEG"),
    ):
        (tmp_path / "pictures.csv").write_text(f"0.png,{name}\n")
        with pytest.raises(ModelError, match=text):
            resolve(tmp_path, normalization=ZERO_TO_ONE)


def test_model_that_no_answer_resolves_is_refused_as_without_pictures(tmp_path: Path) -> None:
    write_colours(tmp_path, ("red",), ("red",))
    with pytest.raises(ModelError, match="does not say how its input"):
        resolve(tmp_path)


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
