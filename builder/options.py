"""The options of `build_zip.py`, and whether they go together. Standard library only.

All of it is looked at before anything is installed, fetched or compiled.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from builder.base import files
from builder.base.errors import UsageError
from builder.base.paths import WORK

ZIP = WORK / "dist" / "classify.zip"

_BUILDING = (
    *("python", "model", "labels", "locale", "background", "mean", "std", "layout"),
    *("output_kind", "no_requantize", "runtime", "ops"),
    *("runtime_from", "export_runtime"),
    *("precompiled", "kind", "execution_env", "optimize", "engine", "engine_arg", "sources"),
    *("output", "no_keep"),
)
"""What says how a zip is built."""
_DEPLOYING = ("platform", "apihost", "auth", "insecure", "web", "web_secure")
"""What says where and how one is deployed."""
OUTPUT_KINDS = ("probabilities", "logits", "scores")
"""Words after --output that are no path: `model_output.KINDS`, which only the tool's environment
can import."""
_COMPILING = ("ops", "engine", "engine_arg", "sources")
"""What ready-made wheels have no use for."""
_EXPORTING = ("python", "ops", "export_runtime", "work", "json", "quiet")
"""What an export of compiled packages has a use for."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parser() -> argparse.ArgumentParser:
    """The command line. Options that are not given are None, False or empty."""
    usage = _Parser(
        prog="build_zip.py",
        description="Build, check and invoke a zip that classifies pictures on OpenWhisk's stock "
        "Python runtime.",
    )
    add = usage.add_argument
    add(
        "--python",
        metavar="X.Y[,X.Y...]",
        help="Python of the kind to deploy on, as 3.11, or several in one zip (default: this "
        "one's if OpenWhisk has an image of it, else 3.11)",
    )
    add("--model", metavar="NAME|PATH", help="a model of model/catalogue.toml, or a .tflite file")
    add(
        "--labels",
        metavar="PATH",
        type=Path,
        help="class names: text with one per line, numbered or not, JSON or CSV",
    )
    add("--locale", metavar="XX", help="of the labels inside the model, if it has several")
    add(
        "--background",
        choices=("yes", "no"),
        help="whether class 0 stands for none of the others (default: what its name says)",
    )
    add(
        "--mean",
        metavar="N[,N,N]",
        type=_numbers_of,
        help="of the model's input, one number or one per channel: a pixel of 0..255 enters as "
        "(pixel - mean) / std (default: what the model's file says)",
    )
    add("--std", metavar="N[,N,N]", type=_numbers_of, help="see --mean")
    add(
        "--layout",
        choices=("nhwc", "nchw"),
        help="of the model's input: channels last or first (default: what its shape says)",
    )
    add(
        "--no-requantize",
        action="store_true",
        help="ship a uint8 model as it is, not converted to int8",
    )
    add(
        "--runtime",
        choices=("auto", "container", "local", "prebuilt", "wheels"),
        help="where the native parts come from: compiled in a container, on this machine or for a "
        "release, or ready-made wheels (default: auto, the best that is to be had)",
    )
    add(
        "--runtime-from",
        metavar="FILE|URL",
        help="with --runtime prebuilt: the file that --export-runtime made, or its address with "
        "#sha256=HEX behind it, in place of the release's",
    )
    add(
        "--export-runtime",
        metavar="FILE",
        help="only write the compiled packages of a Python version to a file, for --runtime-from; "
        "they have to be compiled before",
    )
    add(
        "--ops",
        choices=("classifier", "all"),
        help="operators of a compiled interpreter: those of image classifiers (the default), or "
        "all of TFLite's",
    )
    add(
        "--precompiled",
        action="store_true",
        help="a zip that skips the runtime's own compile step at each cold start; for exactly one "
        "kind (--kind) or deployment (--execution-env)",
    )
    add(
        "--kind",
        metavar="python:X.Y",
        help="with --precompiled or --deploy: the kind to deploy on",
    )
    add(
        "--execution-env",
        metavar="STRING",
        help="with --precompiled: what OW_EXECUTION_ENV is in the deployment's image, if it is not "
        "Apache's",
    )
    add(
        "--optimize",
        choices=("size", "balanced", "cold"),
        help="which files are deflated: all that shrink, those that start faster for it, or a "
        "balance of both, since each MB of zip takes some 3.5 of the action's memory (default: "
        "balanced)",
    )
    add("--engine", metavar="NAME", help="docker, podman or buildah (default: found)")
    add(
        "--engine-arg",
        metavar="ARG",
        action="append",
        default=[],
        help="passed to the engine's build command; may be repeated (--engine-arg=--no-cache)",
    )
    add(
        "--sources",
        metavar="DIR",
        type=Path,
        help="folder that is searched for source archives, by sha256, before any is fetched",
    )
    add(
        "--output",
        metavar="PATH|KIND",
        action=_Output,
        help="the zip (default: dist/classify.zip); or, as one of the words probabilities, logits "
        "and scores, what the model's output is (default: what the model says and does). May be "
        "given twice; a zip of such a name is ./logits",
    )
    add(
        "--work",
        metavar="DIR",
        type=Path,
        help="where all is kept that is fetched and made, in place of this checkout's folders and "
        "of the user's cache, if those cannot be written",
    )
    add(
        "--check",
        metavar="ZIP",
        type=Path,
        help="only check a zip that is there, invoke it, and report",
    )
    add(
        "--deploy",
        metavar="NAME",
        nargs="?",
        const="classify",
        help="deploy the zip to OpenWhisk, for one of its kinds, invoke it there and print its "
        "address; what is there under NAME is updated (default: classify)",
    )
    add(
        "--undeploy",
        metavar="NAME",
        nargs="?",
        const="classify",
        help="only delete the action NAME",
    )
    add(
        "--platform",
        choices=("openwhisk", "digitalocean"),
        help="where --deploy deploys to; DigitalOcean's Functions by doctl (default: openwhisk)",
    )
    add("--apihost", metavar="HOST", help="OpenWhisk's API host (default: that of ~/.wskprops)")
    add("--auth", metavar="KEY", help="key for it (default: that of ~/.wskprops)")
    add("--insecure", action="store_true", help="do not verify the API host's certificate")
    add(
        "--web",
        choices=("true", "raw", "no"),
        help="with --deploy: whether anybody may invoke it over the web, and with which form of "
        "parameters (default: as it is; true for a new action)",
    )
    add(
        "--web-secure",
        metavar="SECRET",
        help="with --deploy: clients have to send it as X-Require-Whisk-Auth",
    )
    add("--no-smoke", action="store_true", help="do not invoke the zip")
    add("--no-keep", action="store_true", help="leave python -m action with its earlier build")
    add("--json", action="store_true", help="print the report as JSON on standard output")
    add("--quiet", action="store_true", help="print warnings and errors only")
    usage.set_defaults(output_kind=None)
    return usage


class _Output(argparse.Action):
    """`--output`: a path, or one of the words that say what the model's output is."""

    def __call__(self, usage: Any, namespace: Any, value: Any, option: str | None = None) -> None:
        name = "output_kind" if value in OUTPUT_KINDS else "output"
        earlier = namespace.output_kind if name == "output_kind" else None
        if earlier not in (None, value):
            raise UsageError(f"--output: expected one kind, found {earlier} and {value}")
        setattr(namespace, name, value)


def _numbers_of(text: str) -> tuple[float, ...]:
    """The numbers of --mean and --std."""
    with suppress(ValueError):
        numbers = tuple(float(part) for part in text.split(","))
        if len(numbers) in (1, 3):
            return numbers
    raise argparse.ArgumentTypeError(f"expected one number or three, found {text!r}")


def check(options: argparse.Namespace) -> None:
    """Check the options, alone and together, and the paths that they name.

    Raises:
        UsageError: they cannot be followed.
        BuildError: the output cannot be written.
    """
    _together(options)
    _numbers(options)
    _paths(options)
    if _readable():
        if options.model is not None:
            _model(options.model)
        execution_env(options)
        pythons(options, "3.11")
    if options.export_runtime is not None:
        exported(options)
    elif options.check is None and options.undeploy is None:
        output(options)


def output(options: argparse.Namespace) -> Path:
    """Where the zip goes; checked.

    Raises:
        UsageError: no zip can be there.
        BuildError: its folder cannot be written.
    """
    given = options.output
    path = ZIP if given is None else Path(given)
    if given is None and options.work is not None:
        path = options.work / "dist" / ZIP.name
    _writable("--output", path, given, "--work DIR" if given is None else "--output")
    inputs = (("--model", options.model), ("--labels", options.labels))
    for name, value in inputs:
        if path.exists() and value and Path(value).exists() and path.samefile(value):
            raise UsageError(f"--output: expected another file than {name}, found {path} for both")
    return path


def exported(options: argparse.Namespace) -> Path:
    """Where compiled packages are written to; checked, and raises, as `output`."""
    path = Path(options.export_runtime)
    _writable("--export-runtime", path, options.export_runtime, "--export-runtime")
    return path


def _writable(option: str, path: Path, given: str | None, instead: str) -> None:
    kind = files.describe_path(path)
    if given is not None and (not given or given.endswith(("/", os.sep)) or path.name == ""):
        raise UsageError(f"{option}: expected the path of a file, found {given!r}")
    if kind not in ("", "file"):
        raise UsageError(
            f"{option}: expected a file, found the {kind} {path}", "choose another path"
        )
    folder = next(each for each in path.absolute().parents if files.describe_path(each))
    try:
        with tempfile.TemporaryFile(dir=os.path.realpath(folder)):
            pass
    except OSError as error:
        raise files.write_error(path, error, instead) from error


def pythons(options: argparse.Namespace, default: str) -> tuple[str, ...]:
    """The Python versions that a zip is asked for, each once.

    Raises:
        UsageError: one is not supported, or they do not go with the other options.
    """
    from builder.artifact import platform

    exact = re.fullmatch(r"python:(\d+\.\d+)", options.kind or "")  # an old "python:3" is any
    kind_python = exact[1] if exact else ""
    wanted = kind_python or default if options.python is None else options.python
    found = tuple(dict.fromkeys(each.strip() for each in wanted.split(",")))
    supported = platform.pythons()
    for python in found:
        if python not in supported:
            short = re.match(r"(?:python:?)?(\d+\.\d+)", python)
            raise UsageError(
                f"--python: expected one or more of {', '.join(supported)}, found {python}",
                f"a kind is for all of a minor version: --python {short[1]}"
                if short and short[1] in supported
                else "",
            )
    if options.precompiled and len(found) > 1:
        raise UsageError(f"--precompiled: expected one --python, found {wanted}")
    if kind_python and found != (kind_python,):
        raise UsageError(f"--kind {options.kind} runs Python {kind_python}, --python says {wanted}")
    return found


def execution_env(options: argparse.Namespace) -> str:
    """What a precompiled zip names as its environment; empty for a portable one.

    Raises:
        UsageError: it is not said, or no image of the kind is known.
    """
    from builder.artifact import platform

    if not options.precompiled:
        return ""
    if options.execution_env is not None:
        return str(options.execution_env)
    if options.kind is None:
        raise UsageError(
            "--precompiled: expected the --kind to deploy on, found none",
            "for example --kind python:3.11; for another deployment than Apache's image, "
            "--execution-env with its OW_EXECUTION_ENV",
        )
    found = platform.execution_env(options.kind)
    if not found:
        kinds = ", ".join(
            kind for kind in platform.table()["kinds"] if platform.execution_env(kind)
        )
        raise UsageError(
            f"--kind: expected one of {kinds}, found {options.kind}",
            "a precompiled zip must name its image's OW_EXECUTION_ENV: for another deployment pass "
            "it with --execution-env",
        )
    return found


def _together(options: argparse.Namespace) -> None:
    if options.deploy is not None and options.undeploy is not None:
        raise UsageError("expected either --deploy or --undeploy")
    if options.undeploy is not None:
        building = (*_BUILDING, "check", "no_smoke", "web", "web_secure")
        _refuse(options, building, "--undeploy, which only deletes an action")
    elif options.deploy is None:
        for name in _given(options, _DEPLOYING):
            raise UsageError(f"{name} goes with --deploy or --undeploy")
    if options.check is not None:
        others = [each for each in _BUILDING if each != "kind" or options.deploy is None]
        _refuse(options, others, "--check, which builds nothing")
    if options.platform == "digitalocean":
        openwhisks = tuple(each for each in _DEPLOYING if each != "platform")
        _refuse(options, openwhisks, "--platform digitalocean, where doctl decides")
    if options.runtime == "wheels":
        _refuse(options, _COMPILING, "--runtime wheels, which compiles nothing")
    if options.runtime == "prebuilt":
        _refuse(options, _COMPILING[1:], "--runtime prebuilt, which compiles nothing")
    elif options.runtime_from is not None:
        raise UsageError("--runtime-from goes with --runtime prebuilt")
    if options.export_runtime is not None:
        others = [name for name in vars(options) if name not in _EXPORTING]
        _refuse(options, others, "--export-runtime, which only writes what was compiled before")
    if options.runtime == "local":
        _refuse(options, ("engine", "engine_arg"), "--runtime local, which needs no container")
    if not options.precompiled and (
        options.execution_env is not None or (options.kind is not None and options.deploy is None)
    ):
        raise UsageError(
            "--kind and --execution-env go with --precompiled",
            "a portable zip is for a Python (--python); its kind is named when it is deployed",
        )
    if options.execution_env is not None:
        env = options.execution_env
        if env != env.strip() or "\n" in env:
            raise UsageError("--execution-env: expected no white space around it")
        if not env:
            raise UsageError("--execution-env: expected the image's OW_EXECUTION_ENV, found ''")
    if options.engine is not None and shutil.which(options.engine) is None:
        raise UsageError(
            "--engine: expected docker, podman, buildah or the path of one, found "
            f"{options.engine!r}, which is no program here",
        )


def _numbers(options: argparse.Namespace) -> None:
    if (options.mean is None) != (options.std is None):
        raise UsageError("--mean and --std go together")
    for number in options.mean or ():
        if not math.isfinite(number):
            raise UsageError(f"--mean: expected a number, found {number}")
    for number in options.std or ():
        if not (number > 0 and math.isfinite(number)):
            raise UsageError(f"--std: expected a number above 0, found {number}")


def _paths(options: argparse.Namespace) -> None:
    if options.labels is not None and files.describe_path(options.labels) != "file":
        raise UsageError(
            "--labels: expected a file with a class name per line, JSON or CSV, found "
            + _what_is_at(options.labels)
        )
    if options.sources is not None and not options.sources.is_dir():
        raise UsageError(f"--sources: expected a folder, found {_what_is_at(options.sources)}")
    if options.work is not None and files.describe_path(options.work) not in (
        *("", "folder", "link to a folder"),
    ):
        raise UsageError(f"--work: expected a folder, found {_what_is_at(options.work)}")
    if options.check is not None and files.describe_path(options.check) != "file":
        raise UsageError(f"--check: expected a zip, found {_what_is_at(options.check)}")


def _model(wanted: str) -> None:
    from builder.model import known_models

    known = list(known_models())
    if wanted not in known and files.describe_path(Path(wanted)) != "file":
        found = repr(wanted) if not files.describe_path(Path(wanted)) else _what_is_at(Path(wanted))
        raise UsageError(
            f"--model: expected one of {', '.join(known)} or a .tflite file, found {found}",
            "check the name; a path is taken from the current folder",
        )


def _what_is_at(path: Path) -> str:
    kind = files.describe_path(path)
    return f"the {kind} {path}" if kind else f"nothing at {path}"


def _given(options: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Those of the options that are on the command line, as they are typed."""
    given = [name for name in names if getattr(options, name) not in (None, False, [])]
    return ["--" + name.removesuffix("_kind").replace("_", "-") for name in given]


def _refuse(options: argparse.Namespace, names: Iterable[str], other: str) -> None:
    for name in _given(options, names):
        raise UsageError(f"{name} does not go with {other}")


def _readable() -> bool:
    """Whether this Python can read TOML; else all is looked at in the tool's environment."""
    try:
        from builder.artifact import platform
    except ImportError:
        return False
    return bool(platform.table())
