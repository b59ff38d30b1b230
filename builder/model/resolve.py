"""The model that goes into the zip: found, read, tried, and all that was decided about it.

The story in order: `catalogue` finds the file, `tflite` reads it, `model_input` decides how a
picture enters, `trial` runs it, `model_output` decides what its output means, `labels` gives the
classes their names. Each decision is by evidence: what the user says, what the file says, what the
model does. Where that does not suffice, nothing is guessed: a ModelError says which option does.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder.base.console import Console, megabytes
from builder.base.errors import ModelError
from builder.base.files import atomic_write
from builder.base.paths import BUILD, SAMPLE
from builder.model import MODELS, catalogue, labels, operators, postprocessing, preprocessing, run
from builder.model.catalogue import FETCHED, Found
from builder.model.final_activation import APPLIED, without
from builder.model.labels import IMAGENET, Labels
from builder.model.postprocessing import Output
from builder.model.preprocessing import Input, Normalization
from builder.model.tflite import Signature, signature
from builder.packages import NO_LICENCE, Component, operator_versions

# Models without their last activation.
TRIMMED = BUILD / "trimmed"

DEFAULT_CROP = 0.875


@dataclass(frozen=True)
class Said:
    """What the user says of a model, which counts more than all else.

    Attributes:
        labels: a file with class names; None for the model's own or the catalogue's.
        normalization: of the input's pixels.
        layout: "nhwc" or "nchw"; empty for what the file says.
        output: one of `postprocessing.KINDS`; empty for what the file says, or the model does.
        background: whether class 0 is a background class; None for what the labels say.
        locale: of the labels inside the model; empty for none in particular.
    """

    labels: Path | None = None
    normalization: Normalization | None = None
    layout: str = ""
    output: str = ""
    background: bool | None = None
    locale: str = ""


NOTHING = Said()


@dataclass(frozen=True)
class Model:
    """A model that passed the checks.

    Attributes:
        path: of the .tflite file.
        settings: what `action/classifier.py` reads as `model.json`.
        component: its provenance.
        labels_component: that of its class names.
        sample: WordNet id that the sample picture must get; empty if nobody knows.
        signature: what the file at `path` says.
    """

    path: Path
    settings: dict[str, Any]
    component: Component
    labels_component: Component
    sample: str
    signature: Signature


def resolve_model(
    wanted: str | None,
    said: Said,
    console: Console,
    known: dict[str, Any] | None = None,
    folder: Path = FETCHED,
) -> Model:
    """Have the model that `--model` names, with labels and settings.

    Args:
        wanted: a name in the catalogue, a path, or None for the default.
        said: what the user says of it.
        console: shows what is going on.
        known: another catalogue than `model/catalogue.toml`.
        folder: where the catalogue's models are kept.

    Raises:
        ModelError: no such model, or it is no classifier, or something about it is not clear.
        DownloadError: it could not be fetched.
    """
    found = catalogue.find(wanted, console, known, folder)
    about = signature(found.path)
    name, entry = found.path.name, found.entry
    source = preprocessing.decide(
        name,
        about,
        normalization=said.normalization,
        known=Normalization(tuple(entry["mean"]), tuple(entry["std"])) if entry else None,
        layout=said.layout,
    )
    if source.doubt:
        console.warn(f"--mean and --std, as you say, though {source.doubt}")
    count = postprocessing.classes(name, about)
    named, labels_component = _labels(found, about, max(count, 2), said, console)
    settings = _settings(found, source, named)
    operators.check(name, about, operator_versions.of_wheels(), "even the newest interpreter")
    outputs = run.run(found.path, settings, SAMPLE)
    sink = postprocessing.decide(name, about, count, said.output, outputs)
    if sink.doubt:
        console.warn(f"--output {said.output}, as you say, though {sink.doubt}")
    settings["activation"] = sink.activation
    settings["card"] = _card(about, source, sink, named)
    for note in named.notes:
        console.note(f"labels: {note}")
    return Model(
        path=found.path,
        settings=settings,
        component=_component(found, settings["name"]),
        labels_component=labels_component,
        sample=entry.get("sample", "") if said.labels is None else "",
        signature=about,
    )


def _settings(found: Found, source: Input, named: Labels) -> dict[str, Any]:
    entry = found.entry
    # Of any name that a user's file has, "model.json" too, which is the settings' own.
    file = re.sub(r"[^\w.-]", "_", found.path.stem, flags=re.ASCII) + ".tflite"
    settings: dict[str, Any] = {
        "name": found.name or found.path.stem,
        "file": entry["file"] if entry else file,
        "crop": entry.get("crop", DEFAULT_CROP),
        "size": [source.height, source.width, source.channels],
        "layout": source.layout,
        "mean": list(source.normalization.mean),
        "std": list(source.normalization.std),
        "activation": "",
        "labels": named.names,
    }
    if named.background is not None:
        settings["background"] = named.background
    if named.wordnet_ids:
        settings["wordnetIds"] = named.wordnet_ids
    return settings


def finer(chosen: Model) -> Model:
    """The model without its last activation, where that is quantized: the function does it."""
    made = without(chosen.path.read_bytes(), chosen.path.name, chosen.signature)
    if made is None:
        return chosen
    content, taken = made
    if chosen.settings["activation"] and taken != "LOG_SOFTMAX":
        return chosen  # its outputs are logits, as the user says
    activation = APPLIED[taken]
    path = TRIMMED / f"{chosen.component.sha256[:12]}-{activation}" / chosen.path.name
    with atomic_write(path) as fresh:
        fresh.write_bytes(content)
    done = replaced(chosen, path, f"without its last {activation}")
    done.settings["activation"] = activation
    of_words = chosen.signature.outputs[0].dtype == "int16"
    done.settings["card"]["output"] += f"; the function does the {activation}, in float" + (
        "" if of_words or taken == "LOG_SOFTMAX" else ": its own knows 256 steps"
    )
    return done


def _labels(
    found: Found, about: Signature, classes: int, said: Said, console: Console
) -> tuple[Labels, Component]:
    """Class names and WordNet ids, and their provenance.

    Given, the catalogue's, the model's own, or ImageNet's.
    """
    name = found.path.name
    ours = MODELS / found.entry.get("labels", "labels.txt")
    if said.locale and (said.labels is not None or found.entry):
        whose = "--labels names others" if said.labels is not None else "the catalogue has others"
        raise ModelError(
            f"--locale {said.locale}: it chooses among labels inside the model, and {whose}",
            "leave out --locale" + (" or --labels" if said.labels is not None else ""),
        )
    if said.labels is not None:
        try:
            content = said.labels.read_bytes()
        except OSError as error:
            raise ModelError(
                f"--labels: cannot read {said.labels}: {error.strerror or error}",
                "expected a file with a class name per line",
            ) from error
        origin, part = (
            said.labels.name,
            _labels_component(f"{said.labels.name} (given with --labels)"),
        )
    elif found.entry:
        content, origin, part = ours.read_bytes(), ours.name, _our_labels_component()
    elif own := labels.inside(about.metadata, name, said.locale):
        content, origin = own[1], f"{own[0]} inside {name}"
        part = _labels_component(origin)
    elif said.locale:
        raise ModelError(f"--locale {said.locale}: {name} carries no labels", labels.HINT)
    elif classes in (IMAGENET, IMAGENET + 1):
        console.note(f"labels: ImageNet's, since {name} has {classes} classes (--labels)")
        content, origin, part = ours.read_bytes(), ours.name, _our_labels_component()
    else:
        others = ", ".join(sorted(about.metadata.archive)[:5])
        raise ModelError(
            f"{name} has {classes} classes and no labels"
            + (f" (it carries {others}, which nothing says are labels)" if others else "")
            + (f"; {about.metadata.problem}" if about.metadata.problem else ""),
            "pass their names with --labels FILE; but if it gives an embedding, a vector that is "
            "compared with others, it is no classifier",
        )
    named = labels.fit(content, origin, classes, said.background)
    return named, replace(part, sha256=hashlib.sha256(content).hexdigest())


def _labels_component(source: str) -> Component:
    return Component("labels", "", source, "", NO_LICENCE, ())


def _our_labels_component() -> Component:
    text = (MODELS / "labels.LICENSE.txt").read_text("utf-8")
    source = "class names and settings of the model; ImageNet's come from timm 1.0.31"
    return Component("labels", "", source, "", "Apache-2.0", (("labels", text),))


def _card(about: Signature, source: Input, sink: Output, named: Labels) -> dict[str, str]:
    """What was decided and why, a line for each question."""
    names, background = named.names, named.background
    around = f"{names[0]!r} to {names[-1]!r}"
    has = "no background class" if background is None else f"class {background} is background"
    return {
        "input": source.card,
        "output": sink.card,
        "labels": f"{len(names)} from {named.origin}: {around}; {has}",
        "operators": _operators(about),
    }


def _operators(about: Signature) -> str:
    return ", ".join(f"{name} {about.versions[name]}" for name in sorted(about.versions))


def replaced(chosen: Model, path: Path, how: str) -> Model:
    """The model with another file for it.

    Args:
        chosen: the model.
        path: the file that ships.
        how: what was done to the original, for its provenance.
    """
    about = signature(path)
    card = {**chosen.settings["card"], "operators": _operators(about)}
    return replace(
        chosen,
        path=path,
        component=replace(chosen.component, source=f"{chosen.component.source}, {how}"),
        settings={**chosen.settings, "card": card},
        signature=about,
    )


def _component(found: Found, name: str) -> Component:
    entry = found.entry
    return Component(
        name=f"model {name}",
        version=entry.get("title", ""),
        source=_origin(entry) if entry else f"{found.path.name} (given with --model)",
        sha256=found.sha256,
        licence=entry.get("licence", NO_LICENCE),
        licence_texts=(),
    )


def _origin(entry: dict[str, Any]) -> str:
    source = entry["sources"][0]
    return source.get("url") or f"{source['file']} (package index)"


def describe(model: Model) -> list[str]:
    """Lines for the build's log: what it is, and the model's card."""
    size = megabytes(model.path.stat().st_size)
    settings = model.settings
    return [
        f"{settings['name']} {model.component.version}".strip(),
        f"{size}, sha256 {model.component.sha256}",
        *(f"{title}: {text}" for title, text in settings["card"].items()),
    ]
