"""The model that goes into the zip: from the catalogue or from the user, with labels, checked."""

import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from builder import data, files
from builder.console import Console, megabytes
from builder.download import Package, fetch, from_index
from builder.errors import DownloadError, ModelError
from builder.files import sha256_of
from builder.paths import DOWNLOADS, FETCHED, MODELS
from builder.runtime import Part
from builder.tflite import Signature, Tensor, signature

DEFAULT_CROP = 0.875
DTYPES = ("uint8", "int8", "float32")
_BACKGROUND = ("background", "dummy", "???")
_IMAGENET_CLASSES = (1000, 1001)


@dataclass(frozen=True)
class Model:
    """A model that passed the checks.

    Attributes:
        path: of the .tflite file.
        settings: what `action/classifier.py` reads as `model.json`.
        part: its provenance.
        sample: WordNet id that the sample picture must get; empty if nobody knows.
        operators: names of the TFLite operators that it uses.
    """

    path: Path
    settings: dict[str, Any]
    part: Part
    sample: str
    operators: frozenset[str]


@dataclass(frozen=True)
class Normalization:
    """A pixel p enters the network as (p - mean) / std; one number, or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def resolve(
    wanted: str | None,
    labels: Path | None,
    console: Console,
    normalization: Normalization | None = None,
    catalogue: dict[str, Any] | None = None,
    folder: Path = FETCHED,
) -> Model:
    """Have the model that `--model` names, with labels and settings.

    Args:
        wanted: a name in the catalogue, a path, or None for the default: the catalogue's first
            model, or, where that cannot be downloaded, its next, said aloud.
        labels: a file with class names; None for the model's own or the catalogue's.
        normalization: overrides what the model says of its input.
        console: shows what is going on.
        catalogue: another catalogue than `model/catalogue.toml`.
        folder: where the catalogue's models are kept.

    Raises:
        ModelError: no such model, or it and its labels do not fit.
        DownloadError: it could not be fetched.
    """
    known = data.catalogue() if catalogue is None else catalogue
    if wanted is None:
        name, path = _default(known, folder, console)
    elif wanted in known:
        name, path = wanted, _fetch(wanted, known[wanted], folder, console)
    else:
        path = Path(wanted)
        if not path.is_file():
            raise ModelError(
                f"--model: expected one of {', '.join(known)} or a .tflite file, found {wanted!r}",
                "check the name; a path is taken from the current folder",
            )
        digest = sha256_of(path)
        name = next((name for name, entry in known.items() if entry["sha256"] == digest), "")
    return _model(path, name, known.get(name, {}), labels, console, normalization)


def _default(known: dict[str, Any], folder: Path, console: Console) -> tuple[str, Path]:
    first, *others = known
    try:
        return first, _fetch(first, known[first], folder, console)
    except DownloadError as error:
        if not others:
            raise
        console.warn(f"{first} is not to be had, going on with {others[0]} instead.")
        console.warn(str(error))
        console.warn(error.hint)
    return others[0], _fetch(others[0], known[others[0]], folder, console)


def _fetch(name: str, entry: dict[str, Any], folder: Path, console: Console) -> Path:
    """Have the catalogue's model `name` in `folder`, and prove that it is the pinned one."""
    target: Path = folder / entry["file"]
    if not files.is_there(target):
        with files.lock(target, f"fetching {name}", console.note):
            if not files.is_there(target):
                return _fetch_anew(name, entry, target, console)
    found = sha256_of(target)
    if found != entry["sha256"]:
        raise ModelError(
            f"{folder.name}/{target.name}: expected sha256 {entry['sha256']}, found {found}",
            f"delete it to fetch {name} anew, or use it as it is with --model {quote(str(target))}",
        )
    return target


def _fetch_anew(name: str, entry: dict[str, Any], target: Path, console: Console) -> Path:
    how = (
        f"to use {name} all the same: put the file with sha256 {entry['sha256']} at "
        f"{target.parent.name}/{target.name}, or pass any copy with --model PATH"
    )
    reasons = []
    for source in entry["sources"]:
        try:
            _take(_download(source, console), source.get("member", ""), entry["sha256"], target)
            return target
        except DownloadError as error:
            reasons.append(f"  {error}")
    raise DownloadError(f"{name} could not be downloaded:\n" + "\n".join(reasons), how)


def _download(source: dict[str, str], console: Console) -> Path:
    if "index" in source:
        name, _, version = source["index"].partition("==")
        package = Package(name, version, source["file"], source["sha256"])
        return from_index([package], DOWNLOADS, console)[0]
    # Kept under its hash: two addresses may serve different files under one name.
    target = DOWNLOADS / f"{source['sha256'][:12]}-{source['url'].rpartition('/')[2]}"
    return fetch([source["url"]], source["sha256"], target, console)


def _take(archive: Path, member: str, sha256: str, target: Path) -> None:
    """Move the model out of the downloaded file to `target`, if it has the right sha256."""
    try:
        with files.replacing(target) as part:
            part.write_bytes(_member(archive, member) if member else archive.read_bytes())
            found = sha256_of(part)
            if found != sha256:
                raise DownloadError(
                    f"{member or archive.name}: expected sha256 {sha256}, found {found}"
                )
    finally:
        archive.unlink(missing_ok=True)


def _member(archive: Path, member: str) -> bytes:
    try:
        with tarfile.open(archive) as tar:
            for info in tar:
                if info.isfile() and ("/" + info.name).endswith("/" + member):
                    file = tar.extractfile(info)
                    assert file is not None
                    return file.read()
    except (tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{archive.name} is not a tar archive") from error
    raise DownloadError(f"{archive.name} holds no {member}")


def _model(
    path: Path,
    name: str,
    entry: dict[str, Any],
    labels: Path | None,
    console: Console,
    normalization: Normalization | None,
) -> Model:
    about = signature(path)
    classes = check_signature(path.name, about)
    names, wordnet_ids = _labels(path, about, classes, labels, entry, console)
    if normalization is None and entry:
        normalization = Normalization(tuple(entry["mean"]), tuple(entry["std"]))
    if normalization is None:
        normalization = _normalization(path.name, about, console)
    if not about.probabilities:
        console.note(f"{path.name} ends without a softmax: the function applies one")
    settings: dict[str, Any] = {
        "name": name or path.stem,
        "file": entry["file"] if entry else re.sub(r"[^\w.-]", "_", path.name, flags=re.ASCII),
        "crop": entry.get("crop", DEFAULT_CROP),
        "mean": list(normalization.mean),
        "std": list(normalization.std),
        "softmax": not about.probabilities,
        "labels": names,
    }
    if any(wordnet_ids):
        settings["wordnetIds"] = wordnet_ids
    part = Part(
        name=f"model {settings['name']}",
        version=entry.get("title", ""),
        source=_origin(entry) if entry else f"{path.name} (given with --model)",
        sha256=sha256_of(path),
        licence=entry.get("licence", "as its owner says"),
        licence_texts=(),
    )
    sample = entry.get("sample", "") if labels is None else ""
    return Model(path, settings, part, sample, frozenset(about.operators))


def _origin(entry: dict[str, Any]) -> str:
    source = entry["sources"][0]
    return source.get("url") or f"{source['file']} (package index)"


def check_signature(name: str, about: Signature) -> int:
    """Check that a model takes one picture and gives one score per class.

    Returns:
        The number of classes.

    Raises:
        ModelError: it does not; names what was expected and found.
    """
    if about.custom:
        raise ModelError(
            f"{name} uses operators that are not built into TFLite: {', '.join(about.custom)}",
            "convert the model with builtin operators only",
        )
    if len(about.inputs) != 1 or len(about.outputs) != 1:
        raise ModelError(
            f"{name}: expected one input (a picture) and one output (a score per class), "
            f"found {len(about.inputs)} and {len(about.outputs)}",
            "this looks like another kind of model, a detector for instance",
        )
    source, sink = about.inputs[0], about.outputs[0]
    if len(source.shape) != 4 or source.shape[3] not in (1, 3) or min(source.shape[1:3]) < 1:
        raise ModelError(
            f"{name}: expected an input of shape [1, height, width, 3 or 1], found {source}"
        )
    if source.shape[0] not in (1, -1) or sink.shape[:1] not in ((1,), (-1,)):
        raise ModelError(
            f"{name}: expected a batch of 1 picture, found input {source} and output {sink}"
        )
    scores = [size for size in sink.shape[1:] if size != 1]
    if len(sink.shape) < 2 or len(scores) != 1 or scores[0] < 2:
        raise ModelError(
            f"{name}: expected an output of shape [1, classes], found {sink}",
            "this looks like another kind of model, a segmenter for instance",
        )
    for tensor in (source, sink):
        _check_dtype(name, tensor)
    return scores[0]


def _check_dtype(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in DTYPES:
        raise ModelError(
            f"{name}: expected tensors of {', '.join(DTYPES)}, found {tensor.name}: {tensor}"
        )
    if tensor.dtype != "float32" and tensor.scale <= 0:
        raise ModelError(
            f"{name}: expected a scale and a zero point for {tensor.name} ({tensor}), found none",
            "convert the model with quantized inputs and outputs, or with float ones",
        )


def _normalization(name: str, about: Signature, console: Console) -> Normalization:
    """From the metadata; else the bytes as they are (quantized), or -1..1 (float)."""
    source = about.inputs[0]
    channels = source.shape[3]
    if about.mean and len(about.mean) == len(about.std) and len(about.mean) in (1, channels):
        found = Normalization(about.mean, about.std)
        if _uses_range(found, source):
            return found
        console.note(f"{name}: the metadata's mean and std do not fit its input: not used")
    if source.dtype == "float32":
        console.note(f"{name} does not say how its input is scaled: taking -1..1 (--mean, --std)")
        return Normalization((127.5,), (127.5,))
    low = 0 if source.dtype == "uint8" else -128
    return Normalization(((source.zero_point - low) * 1.0,), (1 / source.scale,))


def _uses_range(found: Normalization, source: Tensor) -> bool:
    """Whether at least a quarter of the 256 pixel values stay apart in a quantized input."""
    if min(found.std) <= 0:
        return False
    if source.dtype == "float32":
        return True
    step = 1 / (found.std[0] * source.scale)
    offset = source.zero_point - found.mean[0] * step
    low = 0 if source.dtype == "uint8" else -128
    values = {min(max(round(p * step + offset), low), low + 255) for p in range(256)}
    return len(values) >= 64


def _labels(
    path: Path,
    about: Signature,
    classes: int,
    given: Path | None,
    entry: dict[str, Any],
    console: Console,
) -> tuple[list[str], list[str]]:
    """Class names and WordNet ids: given, the catalogue's, the model's own, or ImageNet's."""
    if given is not None:
        try:
            return fit_labels(parse_labels(given.read_text("utf-8-sig")), classes, str(given))
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"--labels: expected a UTF-8 text file with a class name per line, found {given}: "
                f"{error}"
            ) from error
    if entry:
        text = (MODELS / entry["labels"]).read_text("utf-8")
        return fit_labels(parse_labels(text), classes, entry["labels"])
    for name, text in about.label_files.items():
        console.note(f"labels: {name}, embedded in {path.name}")
        return fit_labels(parse_labels(text), classes, f"{path.name}/{name}")
    if classes in _IMAGENET_CLASSES:
        console.note(f"labels: ImageNet's, since {path.name} has {classes} classes (--labels)")
        text = (MODELS / "labels.txt").read_text("utf-8")
        return fit_labels(parse_labels(text), classes, "labels.txt")
    raise ModelError(
        f"{path.name} has {classes} classes and no labels", "pass their names with --labels FILE"
    )


def parse_labels(text: str) -> list[tuple[str, str]]:
    """(WordNet id or "", class name) per non-empty line of a labels file.

    Lines are plain names, `n01440764 name`, or `0 name` (also `0: name`, `0,name`) where the
    numbers count up from 0 or 1.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [re.fullmatch(r"(\d+)\s*[\s:,;]\s*(\S.*)", line) for line in lines]
    if all(numbered):
        pairs = sorted((int(match[1]), match[2]) for match in numbered if match)
        if [number for number, _ in pairs] in (
            list(range(len(pairs))),
            list(range(1, len(pairs) + 1)),
        ):
            lines = [name for _, name in pairs]
    synsets = [re.fullmatch(r"(n\d{8})\s+(\S.*)", line) for line in lines]
    if lines and all(
        match or line in _BACKGROUND for match, line in zip(synsets, lines, strict=True)
    ):
        return [
            (match[1], match[2]) if match else ("", line)
            for match, line in zip(synsets, lines, strict=True)
        ]
    return [("", line) for line in lines]


def fit_labels(
    labels: Sequence[tuple[str, str]], classes: int, origin: str
) -> tuple[list[str], list[str]]:
    """Class names and WordNet ids, one per class of the model.

    A model may have a background class that the labels lack (it comes first), or the reverse.

    Raises:
        ModelError: the counts differ otherwise; names both.
    """
    pairs = list(labels)
    if len(pairs) == classes - 1:
        pairs.insert(0, ("", "background"))
    elif len(pairs) == classes + 1 and pairs[0][1].lower() in _BACKGROUND:
        del pairs[0]
    if len(pairs) != classes:
        raise ModelError(
            f"labels: expected {classes} names (one per class of the model) or {classes - 1} "
            f"(without background), found {len(labels)} in {origin}",
            "pass the labels that the model was trained with: --labels FILE, one name per line",
        )
    return [name for _, name in pairs], [wordnet_id for wordnet_id, _ in pairs]


def describe(model: Model) -> list[str]:
    """Lines for the build's log."""
    size = megabytes(model.path.stat().st_size)
    settings = model.settings
    return [
        f"{settings['name']} {model.part.version}".strip(),
        f"{len(settings['labels'])} classes, {size}, sha256 {model.part.sha256}",
    ]
