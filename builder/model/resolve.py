"""Resolve --model to a model that is ready to ship, with its labels, settings and provenance.

The steps in order: `catalogue` finds the file, `tflite` parses it, `preprocessing` decides how a
picture enters, `labels` names the classes, `compatibility` checks the operators, `run` runs it, and
`postprocessing` decides what its output means. Each decision follows the user's options, then the
file, then the outputs. Nothing is guessed: a ModelError names the option that settles a doubt.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from builder.base.console import Console
from builder.base.errors import ModelError
from builder.base.files import atomic_write
from builder.base.paths import BUILD, SAMPLE
from builder.model import MODELS, labels
from builder.model.catalogue import ModelFile, find_model
from builder.model.compatibility import check_operators, find_missing_operators
from builder.model.evidence import Evidence
from builder.model.labels import IMAGENET, Labels
from builder.model.normalization import Normalization
from builder.model.postprocessing import (
    REPLACED_BY,
    Postprocessing,
    decide_postprocessing,
    strip_activation,
)
from builder.model.preprocessing import Fit, Preprocessing, decide_fit, decide_preprocessing
from builder.model.run import run_model
from builder.model.settings import ModelSettings
from builder.model.tflite import TFLiteModel, pack_model, read_model
from builder.model.vision_task import count_outputs
from builder.packages import NO_LICENCE, Component, operator_versions

# Models without their final activation, and with one of their signatures.
STRIPPED = BUILD / "stripped"
SIGNATURES = BUILD / "signatures"
# Topic on a model's card -> the options that change its decision.
_DECIDED_BY = {
    "model": "--model",
    "signature": "--signature",
    "input": "--mean, --std, --channels",
    "fit": "--fit, --crop",
    "output": "--scores",
    "labels": "--labels, --locale, --background, --label-offset",
}


@dataclass(frozen=True)
class ModelOptions:
    """The command line's options about a model; they override what its file says.

    Attributes:
        labels: file with the class names; None for the catalogue's or the model's own.
        normalization: of the input's pixels.
        scores: what the output is, one of `postprocessing.KINDS`; empty to find out.
        background: whether class 0 is a background class; None to follow the labels.
        locale: of the labels inside the model; empty for any.
        fit: how a picture becomes one of the model's size; None for the default.
        channels: the order of colours, "rgb" or "bgr"; empty for the default.
        signature: name of the one to run; empty for the default.
        threads: of an inference; None to decide when the function starts.
        label_offset: by how many outputs each label is later than its place in the file.
    """

    labels: Path | None = None
    normalization: Normalization | None = None
    scores: str = ""
    background: bool | None = None
    locale: str = ""
    fit: Fit | None = None
    channels: str = ""
    signature: str = ""
    threads: int | None = None
    label_offset: int | None = None


@dataclass(frozen=True)
class Model:
    """A model that passed all checks.

    Attributes:
        path: of the .tflite file.
        settings: for the function.
        component: provenance of the model.
        labels_component: provenance of the class names.
        sample: WordNet id of the sample picture's class; empty if unknown.
        tflite: the parsed file at `path`.
    """

    path: Path
    settings: ModelSettings
    component: Component
    labels_component: Component
    sample: str
    tflite: TFLiteModel

    def show(self, console: Console) -> None:
        """Print the file, its card with the options that change it, and which interpreters fit."""
        component = self.component
        console.text(f"{self.path.name}, {self.path.stat().st_size:,} bytes")
        console.text(f"sha256 {component.sha256}")
        console.text(f"source: {component.source}")
        for title, text in self.settings.card.items():
            options = f" ({_DECIDED_BY[title]})" if title in _DECIDED_BY else ""
            console.text(f"{title}{options}: {text}")
        for name, known in (
            ("compiled interpreter", operator_versions.of_compiled("classifier")),
            ("compiled with --ops all", operator_versions.of_compiled("all")),
            ("ready-made wheels", operator_versions.of_wheels()),
        ):
            lacking = ", ".join(find_missing_operators(self.tflite, known))
            console.text(f"{name}: lacks {lacking}" if lacking else f"{name}: has all operators")


def resolve_model(wanted: str | None, options: ModelOptions, console: Console) -> Model:
    """Return the model for --model, with labels and settings.

    Raises:
        ModelError: no such model, not a classifier, or something about it is unclear.
        DownloadError: it could not be downloaded.
    """
    file = find_model(wanted, console)
    model = read_model(file.path, options.signature)
    if model.is_part:
        file = _write_part(file, model)
    known = None
    if file.entry:
        known = Normalization(tuple(file.entry["mean"]), tuple(file.entry["std"]))
    preprocessing = decide_preprocessing(
        model,
        normalization=options.normalization,
        known=known,
        channels=options.channels,
    )
    if doubt := preprocessing.normalization.doubt:
        console.warn(f"{preprocessing.normalization.reason} are used, though {doubt}")
    output_count = count_outputs(model)
    classes = max(output_count, 2)
    class_labels, labels_component = _find_labels(file, model, classes, options, console)
    class_labels = labels.move_labels(class_labels, options.label_offset or 0)
    names = class_labels.wordnet_ids or class_labels.names
    fit = decide_fit(options.fit, file.entry, names)
    settings = _build_settings(file, preprocessing, fit.value, class_labels)
    check_operators(model, operator_versions.of_wheels(), "even the newest interpreter")
    [outputs] = run_model(file.path, [settings], [SAMPLE])
    postprocessing = decide_postprocessing(model, output_count, options.scores, outputs)
    if doubt := postprocessing.kind.doubt:
        console.warn(f"--scores {options.scores} is used, though {doubt}")
    for note in class_labels.notes:
        console.note(f"labels: {note}")
    return Model(
        path=file.path,
        settings=replace(
            settings,
            activation=postprocessing.activation,
            threads=options.threads,
            card=_build_card(file, model, preprocessing, fit, postprocessing, class_labels),
        ),
        component=_build_component(file),
        labels_component=labels_component,
        sample=file.entry.get("sample", "") if options.labels is None else "",
        tflite=model,
    )


def strip_final_activation(model: Model) -> Model:
    """Return the model without its final activation, if that is of 8 bits or a LOG_SOFTMAX.

    The function applies the activation in float instead.
    """
    result = strip_activation(model.tflite)
    if result is None:
        return model
    content, operator = result
    if model.settings.activation and operator != "LOG_SOFTMAX":
        return model  # the user calls its outputs logits
    activation = REPLACED_BY[operator]
    path = STRIPPED / f"{model.component.sha256[:12]}-{activation}" / model.path.name
    note = f"; the function does the {activation}, in float"
    note += "" if operator == "LOG_SOFTMAX" else ": its own knows 256 steps"
    card = {**model.settings.card, "output": model.settings.card["output"] + note}
    stripped = replace(model, settings=replace(model.settings, activation=activation, card=card))
    return replace_file(stripped, path, content, f"without its last {activation}")


def replace_file(model: Model, path: Path, content: bytes, change: str) -> Model:
    """Write a model's changed .tflite file, and return the model with that file.

    `change` says what was changed, for its provenance.
    """
    with atomic_write(path) as part:
        part.write_bytes(content)
    tflite = read_model(path)
    card = {**model.settings.card, "operators": _list_operators(tflite)}
    return replace(
        model,
        path=path,
        component=replace(model.component, source=f"{model.component.source}, {change}"),
        settings=replace(model.settings, card=card),
        tflite=tflite,
    )


def _write_part(file: ModelFile, model: TFLiteModel) -> ModelFile:
    """Write the file of a model's one signature; return its description."""
    path = SIGNATURES / f"{file.sha256[:12]}-{quote(model.signature, '')}" / file.path.name
    with atomic_write(path) as part:
        part.write_bytes(pack_model(model.tables))
    return replace(file, path=path)


def _build_settings(
    file: ModelFile, preprocessing: Preprocessing, fit: Fit, class_labels: Labels
) -> ModelSettings:
    # A user's file may have any name, even the settings' own, "model.json".
    safe_name = re.sub(r"[^\w.-]", "_", file.path.stem, flags=re.ASCII) + ".tflite"
    return ModelSettings(
        name=file.name or file.path.stem,
        file=file.entry.get("file", safe_name),
        crop=fit.crop,
        size=preprocessing.size,
        layout=preprocessing.layout,
        mean=preprocessing.normalization.value.mean,
        std=preprocessing.normalization.value.std,
        activation="",
        labels=tuple(class_labels.names),
        background=class_labels.background,
        wordnet_ids=tuple(class_labels.wordnet_ids),
        fit=fit.mode,
        channels=preprocessing.channels,
    )


def _find_labels(
    file: ModelFile, model: TFLiteModel, classes: int, options: ModelOptions, console: Console
) -> tuple[Labels, Component]:
    """Return the class names and their provenance.

    The first of these that exist: those of --labels, the catalogue's, the model's own, ImageNet's.
    """
    embedded = None
    if options.labels is None and not file.entry:
        embedded = labels.find_embedded_labels(model.metadata, model.name, options.locale)
    if options.locale and embedded is None:
        raise ModelError(
            f"--locale {options.locale}: it chooses among labels inside the model, but none of "
            "those are used",
            "leave out --locale; --labels FILE gives names",
        )
    licence, licence_text = NO_LICENCE, ""
    if options.labels is not None:
        content, origin = options.labels.read_bytes(), options.labels.name
        source = f"{origin} (given with --labels)"
    elif embedded is not None:
        content, origin = embedded[1], f"{embedded[0]} inside {model.name}"
        source = origin
    elif file.entry or classes in (IMAGENET, IMAGENET + 1):
        if not file.entry:
            console.note(f"labels: ImageNet's, for {classes} classes (--labels)")
        origin = file.entry.get("labels", "labels.txt")
        content, licence = (MODELS / origin).read_bytes(), "Apache-2.0"
        source = "class names and settings of the model; ImageNet's come from timm 1.0.31"
        licence_text = (MODELS / "labels.LICENSE.txt").read_text("utf-8")
    else:
        raise ModelError(
            f"{model.name} has {classes} classes and no labels"
            + (f"; {model.metadata.problem}" if model.metadata.problem else ""),
            "pass their names with --labels FILE; but if it gives an embedding, a vector that is "
            "compared with others, it is not a classifier",
        )
    digest = hashlib.sha256(content).hexdigest()
    texts = (("labels", licence_text),) if licence_text else ()
    component = Component("labels", "", source, digest, licence, texts)
    return labels.fit_labels(content, origin, classes, options.background), component


def _build_card(
    file: ModelFile,
    model: TFLiteModel,
    preprocessing: Preprocessing,
    fit: Evidence[Fit],
    postprocessing: Postprocessing,
    class_labels: Labels,
) -> dict[str, str]:
    """Return what was decided about a model and why, by topic."""
    names, background = class_labels.names, class_labels.background
    has = "no background class" if background is None else f"class {background} is background"
    card = {}
    if file.instead_of:
        card["model"] = f"{file.name} instead of {file.instead_of}, which could not be downloaded"
    if len(model.signatures) > 1:
        card["signature"] = f"{model.signature} of {', '.join(model.signatures)}"
    return {
        **card,
        "input": preprocessing.card,
        "fit": f"{fit.value} ({fit.reason})",
        "output": postprocessing.card,
        "labels": f"{len(names)} from {class_labels.origin}: {names[0]!r} to {names[-1]!r}; {has}",
        "operators": _list_operators(model),
    }


def _list_operators(model: TFLiteModel) -> str:
    nodes = Counter(operator.name for operator in model.operators)
    return ", ".join(
        f"{nodes[name]} {name} (version {version})"
        for name, version in sorted(model.versions.items())
    )


def _build_component(file: ModelFile) -> Component:
    source = f"{file.path.name} (given with --model)"
    if file.entry:
        first = file.entry["sources"][0]
        source = first.get("url") or f"{first['file']} (package index)"
    return Component(
        name=f"model {file.name or file.path.stem}",
        version=file.entry.get("title", ""),
        source=source,
        sha256=file.sha256,
        licence=file.entry.get("licence", NO_LICENCE),
        licence_texts=(),
    )
