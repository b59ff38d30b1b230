"""Build a zip from end to end: model, packages, zip, audit, smoke test."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from builder.artifact import audit, contents, memory, modules, platform, smoke
from builder.artifact.smoke import SAMPLE
from builder.base import archive, cpython, files
from builder.base.console import Console, megabytes
from builder.base.errors import BuildError, SmokeError
from builder.base.paths import BUILD
from builder.model import agreement, combinations, compatibility, known_models, resolve
from builder.model.int8 import convert_to_int8
from builder.model.resolve import Model, ModelOptions
from builder.packages import DEFAULT_OPTIONS, RuntimeOptions, operator_versions
from builder.packages.providers import PROVIDERS

REQUANTIZED = BUILD / "requantized"
# Per Python version the last zip that passed, unpacked, for `python3 -m action`.
LOCAL = BUILD / "local"


@dataclass(frozen=True)
class BuildConfig:
    """The settings of a build.

    Attributes:
        pythons: versions that the zip is for, as "3.11".
        output: where the zip is written to.
        model: a name in the catalogue or a path; None for the default.
        model_options: what is given about the model.
        pictures: folder or CSV of labelled pictures that decide what is open about it.
        requantize: whether a uint8 model is converted to int8.
        provider: where the native packages come from, a key of PROVIDERS.
        options: how they are compiled.
        execution_env: OW_EXECUTION_ENV of a precompiled zip's image; empty for a portable zip.
        smoke: whether the zip is invoked.
        keep: whether `python3 -m action` uses this build from now on.
    """

    pythons: tuple[str, ...]
    output: Path
    model: str | None = None
    model_options: ModelOptions = field(default_factory=ModelOptions)
    pictures: Path | None = None
    requantize: bool = True
    provider: str = "auto"
    options: RuntimeOptions = DEFAULT_OPTIONS
    execution_env: str = ""
    smoke: bool = True
    keep: bool = True


@dataclass(frozen=True)
class BuildResult:
    """A finished build, with the outcomes of its smoke tests by Python version."""

    audit: audit.Audit
    model: dict[str, Any]
    smoke: dict[str, smoke.SmokeResult]


def build(config: BuildConfig, console: Console) -> BuildResult:
    """Build the zip, audit it, invoke it, and only then move it to its place.

    Raises:
        BuildError: one of these failed; an earlier zip at `output` is untouched.
    """
    with console.step("model") as details:
        chosen, _ = resolve_model(config.model, config.model_options, config.pictures, console)
        chosen = resolve.strip_final_activation(chosen)
        details.append(f"{chosen.settings.name}, {megabytes(chosen.path.stat().st_size)}")
        card = chosen.settings.card
        lines = [f"{title}: {card[title]}" for title in ("input", "fit", "output", "labels")]
        details += [shorten(line, 76, placeholder=" ...") for line in lines]
    conversion = None
    if config.requantize:
        chosen, conversion = _convert_to_int8(chosen, console)
    provider = _choose_provider(config, chosen, console)
    runtimes = [
        _collect_packages(python, provider, config.options, console) for python in config.pythons
    ]
    for runtime in runtimes:
        origin = f"{provider}'s interpreter" if provider != "auto" else runtime.packages.origin
        compatibility.check_operators(chosen.tflite, runtime.packages.operators, origin)
    with files.atomic_write(config.output, "--output") as part:
        with console.step("zip"):
            entries = contents.collect_entries(runtimes, chosen, config.execution_env)
            archive.write_zip(entries, part)
        audited = _audit_part(part, config, console)
        answers = {}
        if config.smoke:
            answers = _invoke_new(part, provider, chosen, config.pythons, console)
        else:
            console.note("not invoked (--no-smoke), nor were its answers compared with the trial's")
        for answer in answers.values():
            memory.check_measurement(audited.manifest.memory, audited.bytes, answer.rss * 1e6)
    for python in config.pythons if config.keep else ():
        _keep_local(config.output, python, console)
    uncompared = [python for python in config.pythons if python not in answers]
    model = {**describe_model(chosen), "requantized": conversion, "notCompared": uncompared}
    return BuildResult(audited, model, answers)


def _invoke_new(
    part: Path, provider: str, chosen: Model, pythons: Sequence[str], console: Console
) -> dict[str, smoke.SmokeResult]:
    """Invoke a new zip, and compare its interpreter's answers with those of the trial."""
    with console.step("trial"):
        trial = agreement.run_trial(chosen)
    try:
        return invoke(part, pythons, chosen.sample, console, trial)
    except SmokeError as error:
        hint = "" if provider == "wheels" else smoke.WAY_OUT
        raise SmokeError(str(error), hint) from error


def resolve_model(
    name: str | None, options: ModelOptions, pictures: Path | None, console: Console
) -> tuple[Model, combinations.PictureEvidence | None]:
    """Return the model, and how the labelled pictures decided what its file leaves open.

    Raises:
        BuildError: it cannot be fetched or read, or something about it stays open.
    """
    if pictures is None:
        return resolve.resolve_model(name, options, console), None
    return combinations.resolve_by_pictures(name, options, pictures, console)


def _audit_part(part: Path, config: BuildConfig, console: Console) -> audit.Audit:
    """Return the audit of the unfinished zip; raise BuildError if it found a problem."""
    with console.step("audit"):
        audited = audit.audit_zip(part)
        audited.path = str(config.output)
    if not audited.ok:
        raise BuildError("the zip failed its audit: " + "; ".join(audited.problems[:3]))
    return audited


def _convert_to_int8(chosen: Model, console: Console) -> tuple[Model, dict[str, Any] | None]:
    """Return the model with int8 weights, and how they differ; None if it is unchanged."""
    converted = convert_to_int8(chosen.tflite)
    if converted is None:
        return chosen, None
    with console.step("int8 weights") as details:
        path = REQUANTIZED / chosen.component.sha256[:12] / chosen.settings.file
        int8 = resolve.replace_file(chosen, path, converted.content, "converted to int8")
        agreed = agreement.check_agreement(chosen, path, SAMPLE)
        details.append(
            f"{converted.rescaled:,} of {converted.channels:,} channels rescaled; probabilities "
            f"differ by at most {agreed.probability:.3f}"
        )
    differences = {
        "channels": converted.channels,
        "rescaled": converted.rescaled,
        "largestWeightError": round(converted.error, 6),
        "agreement": asdict(agreed),
    }
    return int8, differences


def _choose_provider(config: BuildConfig, chosen: Model, console: Console) -> str:
    """Return the provider: wheels, if a compiled interpreter would lack an operator of the model.

    Raises:
        ModelError: the given provider would lack one.
    """
    name, known = chosen.path.name, operator_versions.of_compiled(config.options.ops)
    if config.provider == "wheels":
        return config.provider
    if config.provider != "auto":
        compatibility.check_operators(chosen.tflite, known, "a compiled interpreter")
    elif lacking := compatibility.find_missing_operators(chosen.tflite, known):
        console.warn(
            f"{name} needs operators that a compiled interpreter lacks: {', '.join(lacking)}. "
            "Using ready-made wheels.",
            reminder="built from ready-made wheels: 2.5 times the size, slower to start",
        )
        return "wheels"
    return config.provider


def _collect_packages(
    python: str, provider: str, options: RuntimeOptions, console: Console
) -> modules.PythonRuntime:
    with console.step(f"packages for Python {python}") as details:
        packages = PROVIDERS[provider](python, options, console)
        names = ", ".join(f"{part.name} {part.version}" for part in packages.components)
        details.append(shorten(f"{names}; {packages.origin}", 76, placeholder=" ..."))
    interpreter = cpython.find_python(python)
    if interpreter is None:
        console.warn(
            f"Python {python} is not installed: the modules are not byte-compiled, which makes "
            f"cold starts slower. Install it and build again."
        )
    return modules.PythonRuntime(packages, interpreter)


def estimate_memory(config: BuildConfig) -> int:
    """Return the least memory limit, in MB, to expect of a zip before it is built."""
    known = known_models()
    name = config.model or default_model()
    size = known[name]["bytes"] if name in known else Path(name).stat().st_size
    return memory.estimate_early(config.provider, size)


def default_model() -> str:
    """Return the name of the model that a build takes if none is given."""
    return next(iter(known_models()))


def default_python() -> str:
    """Return the running Python's version if it has an image, else one that is installed here.

    3.11 comes first: it is in OpenWhisk's default list of kinds.
    """
    stock = platform.pythons_with_image()
    running = "{}.{}".format(*sys.version_info)
    if running in stock:
        return running
    preferred = ["3.11", *reversed(stock)]
    return next((python for python in preferred if cpython.find_python(python)), preferred[0])


def invoke(
    archive: Path,
    pythons: Sequence[str],
    expected: str,
    console: Console,
    trial: agreement.Trial | None = None,
) -> dict[str, smoke.SmokeResult]:
    """Invoke a zip with the sample picture under each Python that is installed; warn about others.

    `expected` is the WordNet id that the sample must get; empty for any answer. The outcomes are
    by Python version. Raise SmokeError if it did not answer as expected.
    """
    answers = {}
    for python in pythons:
        interpreter = cpython.find_python(python)
        if interpreter is None or not interpreter.runs_zips:
            found = interpreter.platform if interpreter else f"no Python {python}"
            console.warn(
                f"not invoked: expected Python {python} on linux-x86_64, found {found}. Its "
                "answers were not compared with the trial's."
            )
            continue
        with console.step(f"invoke with Python {python}"):
            answer = smoke.run_smoke_test(archive, interpreter.path, SAMPLE, expected, trial)
        answers[python] = answer
    return answers


def _keep_local(archive: Path, python: str, console: Console) -> None:
    """Unpack the finished zip for `python3 -m action`."""
    kept = LOCAL / python
    doing = f"keeping a build for Python {python}"
    with files.lock(kept, doing, console.note), files.temporary_folder(kept) as fresh:
        shutil.unpack_archive(archive, fresh, "zip")
        files.move_into_place(fresh, kept)


def describe_model(chosen: Model) -> dict[str, Any]:
    """Return the model's settings and provenance, as the report has them."""
    settings = {
        k: v for k, v in chosen.settings.as_dict().items() if k not in ("labels", "wordnetIds")
    }
    return {
        **settings,
        "classes": len(chosen.settings.labels),
        "sha256": chosen.component.sha256,
        "source": chosen.component.source,
    }
