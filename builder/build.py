"""The build from end to end: runtime, model, zip, audit, smoke test."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from builder.artifact import audit, contents, memory, platform, smoke
from builder.artifact.smoke import SAMPLE
from builder.base import archive, cpython, files
from builder.base.console import Console, megabytes
from builder.base.errors import BuildError
from builder.base.paths import BUILD
from builder.model import agreement, compatibility, resolve
from builder.model.int8 import convert_to_int8
from builder.model.resolve import Model, ModelOptions
from builder.packages import DEFAULT_OPTIONS, RuntimeOptions, operator_versions
from builder.packages.providers import PROVIDERS

REQUANTIZED = BUILD / "requantized"
# Per Python version the last zip that passed, unpacked, for `python3 -m action`.
LOCAL = BUILD / "local"


@dataclass(frozen=True)
class BuildConfig:
    """What the command line asked for."""

    pythons: tuple[str, ...]
    output: Path
    model: str | None = None
    model_options: ModelOptions = field(default_factory=ModelOptions)
    requantize: bool = True
    """Whether a uint8 model is converted to int8."""
    provider: str = "auto"
    options: RuntimeOptions = DEFAULT_OPTIONS
    execution_env: str = ""
    """OW_EXECUTION_ENV of the image that a precompiled zip is for; empty for a portable one."""
    smoke: bool = True
    keep: bool = True
    """Whether `python -m action` shall use this build."""


@dataclass(frozen=True)
class BuildResult:
    """What came out.

    Attributes:
        audit: of the zip.
        model: its model's settings.
        smoke: per Python version the answer for the sample picture, where it was asked.
    """

    audit: audit.Audit
    model: dict[str, Any]
    smoke: dict[str, smoke.SmokeResult]


def build(config: BuildConfig, console: Console) -> BuildResult:
    """Build the zip, check it, invoke it, and only then put it in its place.

    Raises:
        BuildError: any of it failed; an earlier zip at `output` is untouched.
    """
    for python in config.pythons:
        if python not in platform.pythons_with_image():
            console.warn(
                f"no image of OpenWhisk's is known for Python {python}: "
                f"python:{python} is a kind only where somebody added it"
            )
    with console.step("model") as details:
        chosen = resolve.resolve_model(config.model, config.model_options, console)
        chosen = resolve.strip_final_activation(chosen)
        details.append(f"{chosen.settings.name}, {megabytes(chosen.path.stat().st_size)}")
        card = chosen.settings.card
        lines = [f"{title}: {card[title]}" for title in ("input", "output", "labels")]
        details += [shorten(line, 76, placeholder=" ...") for line in lines]
    figures = None
    if config.requantize:
        chosen, figures = _int8(chosen, console)
    provider = _provider(config, chosen, console)
    runtimes = [
        _python_runtime(python, provider, config.options, console) for python in config.pythons
    ]
    for runtime in runtimes:
        origin = f"{provider}'s interpreter" if provider != "auto" else runtime.packages.origin
        compatibility.check_operators(chosen.tflite, runtime.packages.operators, origin)
    with files.atomic_write(config.output, "--output") as part:
        with console.step("zip"):
            entries = contents.collect_entries(runtimes, chosen, config.execution_env)
            archive.write_zip(entries, part)
        audited = _audit(part, config, console)
        answers = {}
        if config.smoke:
            answers = invoke(part, config.pythons, chosen.sample, console)
        else:
            console.note("not invoked, as --no-smoke says")
        for answer in answers.values():
            memory.check_measurement(audited.manifest.memory, audited.bytes, answer.rss * 1e6)
    for python in config.pythons if config.keep else ():
        _keep(config.output, python, console)
    return BuildResult(audited, {**describe_model(chosen), "requantized": figures}, answers)


def _audit(part: Path, config: BuildConfig, console: Console) -> audit.Audit:
    """The audit of a zip that is still to be put in its place.

    Raises:
        BuildError: something is wrong with it.
    """
    with console.step("audit"):
        audited = audit.audit_zip(part)
        audited.path = str(config.output)
    if not audited.ok:
        hint = "several Pythons in one zip may be too many: build one zip for each"
        raise BuildError(
            "the zip failed its audit: " + "; ".join(audited.problems[:3]),
            hint if len(config.pythons) > 1 and audited.bytes > platform.zip_limit() else "",
        )
    return audited


def _int8(chosen: Model, console: Console) -> tuple[Model, dict[str, Any] | None]:
    """The model with int8 weights, and what that did to it; None if it has no uint8 weights."""
    converted = convert_to_int8(chosen.tflite)
    if converted is None:
        return chosen, None
    with console.step("int8 weights") as details:
        path = REQUANTIZED / chosen.component.sha256[:12] / chosen.settings.file
        int8 = resolve.replace_file(chosen, path, converted.content, "converted to int8")
        scale = chosen.tflite.outputs[0].scale
        agreed = agreement.check_agreement(chosen.path, path, chosen.settings, scale, SAMPLE)
        details.append(
            f"{converted.rescaled:,} of {converted.channels:,} channels rescaled; probabilities "
            f"differ by at most {agreed.probability:.3f}"
        )
    figures = {
        "channels": converted.channels,
        "rescaled": converted.rescaled,
        "largestWeightError": round(converted.error, 6),
        "agreement": asdict(agreed),
    }
    return int8, figures


def _provider(config: BuildConfig, chosen: Model, console: Console) -> str:
    """The provider to ask: not one that would compile what lacks an operator of the model.

    Raises:
        ModelError: just that one was asked for.
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
            reminder="built from ready-made wheels: five times the size, and slower to start",
        )
        return "wheels"
    return config.provider


def _python_runtime(
    python: str, provider: str, options: RuntimeOptions, console: Console
) -> contents.PythonRuntime:
    interpreter = cpython.find_python(python)
    with console.step(f"packages for Python {python}") as details:
        packages = PROVIDERS[provider](python, options, console)
        parts = ", ".join(f"{part.name} {part.version}" for part in packages.components)
        details += [parts, packages.origin]
    if not interpreter:
        console.warn(
            f"no Python {python} runs here: its modules are not byte-compiled (correct, but a "
            f"slower cold start). Install Python {python} and build again."
        )
    return contents.PythonRuntime(packages, interpreter)


def default_python() -> str:
    """The running Python's version if there is an image of it, else one that can be invoked here.

    3.11 before the others: it is in OpenWhisk's default list of kinds.
    """
    stock = platform.pythons_with_image()
    running = "{}.{}".format(*sys.version_info)
    if running in stock:
        return running
    liked = ["3.11", *reversed(stock)]
    return next((python for python in liked if cpython.find_python(python)), liked[0])


def invoke(
    archive: Path, pythons: Sequence[str], expected: str, console: Console
) -> dict[str, smoke.SmokeResult]:
    """Invoke a zip with the sample picture under each Python that runs here; says where none does.

    Args:
        archive: the zip.
        pythons: the versions that it was built for.
        expected: WordNet id that the sample must get; empty to take any answer.
        console: shows what is going on.

    Returns:
        The outcome of `smoke.run_smoke_test` per Python version.

    Raises:
        SmokeError: it did not answer, or not as expected.
    """
    answers = {}
    for python in pythons:
        interpreter = cpython.find_python(python)
        if interpreter is None or not interpreter.runs_zips:
            found = interpreter.platform if interpreter else f"no Python {python}"
            console.warn(f"not invoked: that takes Python {python} on linux-x86_64, found {found}")
            continue
        with console.step(f"invoke with Python {python}"):
            answer = smoke.run_smoke_test(archive, interpreter.path, SAMPLE, expected)
        answers[python] = answer
    return answers


def _keep(archive: Path, python: str, console: Console) -> None:
    """Unpack the finished zip for `python -m action`, in one move."""
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
