"""The options and subcommands of `build_zip.py`: parsed, then checked. Standard library only.

All checks run before anything is installed, downloaded or compiled.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from builder.artifact.action_files import read_constant
from builder.base import files
from builder.base.errors import UsageError
from builder.base.paths import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.base.images import Image
    from builder.model.resolve import ModelOptions

PROGRAM = "python3 build_zip.py"
ZIP = WORK / "dist" / "classify.zip"
# The same words as `postprocessing.KINDS`, which only the tool's environment can import.
SCORES = ("probabilities", "logits", "scores")
RUNTIMES = ("auto", "container", "local", "prebuilt", "wheels")
OPS = ("classifier", "all")
_EPILOG = f"""\
examples:
  {PROGRAM} --python 3.11
  {PROGRAM} --model plants.tflite --labels plants.txt -o plants.zip
  {PROGRAM} deploy dist/classify.zip --name plants

exit status:
  0  done          1  failed
  2  wrong call  130  stopped by Ctrl-C or SIGTERM
"""
# Spellings of earlier versions, and what replaces them.
_RENAMED = {
    "--check": "is now the subcommand: check ZIP",
    "--deploy": "is now the subcommand: deploy [ZIP] [--name NAME]",
    "--undeploy": "is now the subcommand: undeploy NAME",
    "--export-runtime": "is now the subcommand: runtime export FILE",
    "--runtime-from": "is now the subcommand: runtime import FILE, before the build",
    "--optimize": "is gone: each file is stored or deflated, whichever starts faster",
    "--platform": "is gone: deploy/digitalocean/ has the files for doctl",
}
# Options that have no effect with a runtime.
_UNUSED = {
    "wheels": ("ops", "engine", "engine_arg", "sources", "threads"),
    "prebuilt": ("engine", "engine_arg", "sources"),
    "local": ("engine", "engine_arg"),
}
# Options that `deploy ZIP` takes; all others describe a build.
_DEPLOYING = (
    *("zip", "name", "kind", "apihost", "auth", "insecure", "ca", "keep_broken"),
    *("web", "web_secure", "memory", "timeout", "param"),
)


_Group = argparse._ArgumentGroup


class _Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviated options and raises UsageError."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the checked options; those that are not given are None, False or empty.

    Raises:
        UsageError: they are wrong, alone or together, or name a path that cannot be used.
        BuildError: the output cannot be written.
    """
    main, subcommands = _parsers()
    name = _subcommand(arguments, subcommands)
    known = {"": main, **subcommands}
    for word in arguments:
        option = word.partition("=")[0]
        if word == "--":
            break
        if option.startswith("--") and option not in known[name]._option_string_actions:
            raise _unknown_option(option, name, known)
    options = main.parse_args(arguments)
    if options.command != name:
        raise UsageError(f"expected the subcommand first: {PROGRAM} {options.command} ...")
    _check(options)
    return options


def _subcommand(arguments: list[str], subcommands: Iterable[str]) -> str:
    """Return the subcommand that a command line begins with; empty if it is a build."""
    if not arguments or arguments[0].startswith("-"):
        return ""
    first = arguments[0]
    pair = " ".join(arguments[:2])
    if pair in subcommands:
        return pair
    names = [name for name in subcommands if " " not in name]
    if first not in names:
        raise UsageError(
            f"expected an option or one of {', '.join(names)}, found {first!r}",
            did_you_mean(first, names) or f"{PROGRAM} --help lists the options",
        )
    return first


def _unknown_option(option: str, name: str, known: dict[str, _Parser]) -> UsageError:
    if option in _RENAMED:
        return UsageError(f"{option} {_RENAMED[option]}")
    others = [other for other, parser in known.items() if option in parser._option_string_actions]
    if others:
        users = ", ".join(other or "a build" for other in others)
        return UsageError(f"{option} does not go with {name or 'a build'}", f"it is for {users}")
    options = [each for each in known[name]._option_string_actions if each.startswith("--")]
    return UsageError(f"unknown option {option}", did_you_mean(option, options))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the hint that names the known word closest to this one; empty if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"Did you mean {close[0]}?" if close else ""


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser of the whole command line, and that of each subcommand by its name."""
    main = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [OPTION...]\n       {PROGRAM} SUBCOMMAND ...",
        description="Build, check and invoke a zip that classifies pictures\n"
        "on OpenWhisk's stock Python runtime.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.set_defaults(command="")
    main.add_argument(
        "--version", action="version", version=read_constant("__init__.py", "__version__")
    )
    group = main.add_subparsers(title="subcommands", prog=PROGRAM, metavar="SUBCOMMAND")
    title = "Exchange compiled packages as a file."
    runtime = group.add_parser("runtime", help=title, description=title)
    runtime_group = runtime.add_subparsers(
        title="subcommands", prog=f"{PROGRAM} runtime", metavar="SUBCOMMAND", required=True
    )
    _add_build_options(main)
    parsers: dict[str, _Parser] = {}
    for name, (title, operands, add_options) in _SUBCOMMANDS.items():
        parser = (runtime_group if " " in name else group).add_parser(
            name.rpartition(" ")[2],
            help=title,
            description=title,
            usage=f"{PROGRAM} {name} {operands} [OPTION...]",
        )
        nargs = "?" if operands.startswith("[") else None
        operand = operands.strip("[]")
        parser.add_argument(operand.lower(), metavar=operand, nargs=nargs, help=_OPERANDS[operand])
        add_options(parser)
        parser.set_defaults(command=name)
        parsers[name] = parser
    return main, {**parsers, "runtime": runtime}


def _add_build_options(parser: _Parser) -> None:
    group = parser.add_argument_group("the model", "Most models' files say what is not given here.")
    group.add_argument(
        "--model", metavar="NAME|PATH", help="a name in model/catalogue.toml, or a .tflite file"
    )
    _add_model_options(group)
    add = parser.add_argument_group("where it will run").add_argument
    add(
        "--python",
        metavar="X.Y[,X.Y...]",
        help="Python version of the kind, or several in one zip (default: this Python's if "
        "OpenWhisk has an image of it, else 3.11; with deploy that of the host's default kind)",
    )
    add("--kind", metavar="python:X.Y", help="the kind to deploy on, which decides the Python")
    add(
        "--precompiled",
        action="store_true",
        help="skip the runtime's compile step at each cold start; needs --kind or --execution-env "
        "unless deployed",
    )
    add("--execution-env", metavar="TEXT", help="OW_EXECUTION_ENV of an image not known here")
    add(
        "--threads",
        type=int,
        choices=(1, 2),
        help="threads of an inference in the compiled interpreter (default: decided at each start, "
        "by the CPUs that the function may use)",
    )
    group = parser.add_argument_group("native packages")
    add = group.add_argument
    add(
        "--runtime",
        choices=RUNTIMES,
        help="compile in a container or on this machine (local), download what a release compiled "
        "(prebuilt), or take ready-made wheels (default: auto, the best available)",
    )
    _add_ops_option(group)
    add("--engine", metavar="NAME", help="docker, podman or buildah (default: the first found)")
    add(
        "--engine-arg",
        metavar="ARG",
        action="append",
        default=[],
        help="an argument for the engine's build command; repeatable (--engine-arg=--no-cache)",
    )
    add("--sources", metavar="DIR", type=Path, help="where to look for source archives first")
    add = parser.add_argument_group("the zip").add_argument
    add("-o", "--output", metavar="PATH", help="where to write it (default: dist/classify.zip)")
    add("--force", action="store_true", help="replace a file that is no zip of this program")
    add("--no-requantize", action="store_true", help="do not convert a uint8 model to int8")
    add("--no-smoke", action="store_true", help="do not invoke the zip")
    add("--no-keep", action="store_true", help="leave python3 -m action with its earlier build")
    _add_general_options(parser)


def _add_inspect_options(parser: _Parser) -> None:
    _add_model_options(parser.add_argument_group("the model"))
    _add_general_options(parser)


def _add_check_options(parser: _Parser) -> None:
    parser.add_argument("--no-smoke", action="store_true", help="do not invoke the zip")
    _add_general_options(parser)


def _add_deploy_options(parser: _Parser) -> None:
    group = parser.add_argument_group("the deployment")
    add = group.add_argument
    add("--name", help="[/NAMESPACE/][PACKAGE/]ACTION, created or updated (default: classify)")
    _add_host_options(group)
    add(
        "--web",
        choices=("true", "raw", "no"),
        help="whether anybody may invoke it over the web; raw passes the body unparsed (default: "
        "unchanged; true for a new action)",
    )
    add(
        "--web-secure",
        metavar="SECRET",
        help="clients must send it as X-Require-Whisk-Auth: SECRET, @FILE, env:NAME, true for a "
        "random number, false for none",
    )
    add("--memory", metavar="MB", type=_positive, help="limit (default: what the zip needs)")
    add("--timeout", metavar="MS", type=_positive, help="limit of an activation (default: 60000)")
    add(
        "--param",
        metavar="KEY=VALUE",
        type=_parameter,
        action="append",
        default=[],
        help="bind a parameter; repeatable. VALUE is JSON, else text",
    )
    add("--portable", action="store_true", help="not precompiled (default: if that is not safe)")
    add("--keep-broken", action="store_true", help="leave a version that fails its check")
    _add_build_options(parser)


def _add_undeploy_options(parser: _Parser) -> None:
    _add_host_options(parser.add_argument_group("the deployment"))
    _add_general_options(parser)


def _add_export_options(parser: _Parser) -> None:
    parser.add_argument("--python", metavar="X.Y", help="the packages' Python version")
    _add_ops_option(parser)
    _add_general_options(parser)


def _add_model_options(group: _Group) -> None:
    add = group.add_argument
    add("--labels", metavar="PATH", type=Path, help="class names: a line each, JSON or CSV")
    add("--locale", metavar="XX", help="which labels inside the model, if it has several")
    add("--background", choices=("yes", "no"), help="whether a class means 'none of these'")
    add(
        "--mean",
        metavar="N[,N,N]",
        type=_channel_numbers,
        help="with --std: a pixel of 0..255 enters the model as (pixel - mean) / std; one number "
        "or one per channel",
    )
    add("--std", metavar="N[,N,N]", type=_channel_numbers, help="see --mean")
    add(
        "--fit",
        choices=("crop", "squash", "pad"),
        help="how a picture gets the model's size: its central part, all of it squashed, or all of "
        "it with black bars (default: by the catalogue; crop for ImageNet's classes; else squash)",
    )
    add(
        "--crop",
        metavar="SHARE",
        type=_share,
        help="with --fit crop: what is kept of the largest central part (default: 0.875)",
    )
    add(
        "--channels",
        choices=("rgb", "bgr"),
        help="the order of colours in which pixels enter the model (default: rgb)",
    )
    add("--signature", metavar="NAME", help="which, of several (default: serving_default)")
    add("--layout", choices=("nhwc", "nchw"), help="channels last or first (default: by shape)")
    add("--scores", choices=SCORES, help="what its output is (default: by its last operator)")
    add(
        "--label-offset",
        metavar="N",
        type=int,
        help="by how many outputs each label is later than its place in the file (default: 0)",
    )
    add(
        "--pictures",
        metavar="DIR",
        type=Path,
        help="folders of pictures that are named after classes, or a CSV of file and class: what "
        "the model's file leaves open is tried on them",
    )


def _add_ops_option(group: _Group | _Parser) -> None:
    group.add_argument(
        "--ops", choices=OPS, help="operators that are compiled (default: classifier)"
    )


def _add_host_options(group: _Group) -> None:
    add = group.add_argument
    add("--apihost", metavar="HOST", help="OpenWhisk's API host (default: that of ~/.wskprops)")
    add("--auth", metavar="KEY", help="its key: KEY, @FILE or env:NAME (default: ~/.wskprops)")
    add("--ca", metavar="FILE", help="certificates to verify the API host's with")
    add("--insecure", action="store_true", help="do not verify the API host's certificate")


def _add_general_options(parser: _Parser) -> None:
    add = parser.add_argument_group("general").add_argument
    add("--work", metavar="DIR", type=Path, help="a folder for all downloads and caches")
    add("--json", action="store_true", help="print a report as JSON on stdout")
    add("--quiet", action="store_true", help="print warnings and errors only")


_OPERANDS = {
    "MODEL": "a name in the catalogue, or a .tflite file",
    "ZIP": "a zip that was built before",
    "NAME": "[/NAMESPACE/][PACKAGE/]ACTION",
    "FILE": "the file of packages; to import also its URL#sha256=HEX",
}
# Name -> title, operand, the function that adds the options.
_SUBCOMMANDS: dict[str, tuple[str, str, Callable[[_Parser], None]]] = {
    "inspect": ("Print what a build decides about a model.", "MODEL", _add_inspect_options),
    "check": ("Check a zip, list its contents, invoke it.", "ZIP", _add_check_options),
    "deploy": ("Deploy a zip to OpenWhisk; build it first if none.", "[ZIP]", _add_deploy_options),
    "undeploy": ("Delete an action of OpenWhisk.", "NAME", _add_undeploy_options),
    "runtime export": ("Write compiled packages to a file.", "FILE", _add_export_options),
    "runtime import": ("Keep a file's packages for builds.", "FILE", _add_general_options),
}


def _channel_numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of --mean or --std."""
    with suppress(ValueError):
        numbers = tuple(float(part) for part in text.split(","))
        if len(numbers) in (1, 3) and all(map(math.isfinite, numbers)):
            return numbers
    raise argparse.ArgumentTypeError(f"expected one number or three, found {text!r}")


def _share(text: str) -> float:
    """Return the number of --crop."""
    with suppress(ValueError):
        if 0 < (share := float(text)) <= 1:
            return share
    raise argparse.ArgumentTypeError(f"expected a share above 0 and up to 1, found {text!r}")


def _positive(text: str) -> int:
    """Return the number of --memory or --timeout."""
    if text.isascii() and text.isdigit() and 0 < int(text) < 2**31:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")


def _parameter(text: str) -> tuple[str, Any]:
    """Return key and value of --param; the value is JSON, else text, as with wsk."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, found {text!r}")
    with suppress(ValueError):
        return key, json.loads(value)
    return key, value


def _check(options: argparse.Namespace) -> None:
    """Raise if the options of a subcommand are wrong, alone or together."""
    _check_path("--work", options.work, ("", "folder"), "a folder")
    if options.command in ("deploy", "undeploy"):
        _check_deployment(options)
    if options.command in ("check", "deploy") and options.zip is not None:
        _check_path(options.command, options.zip, ("file",), "a zip")
        if options.command == "deploy":
            allowed = (*_DEPLOYING, "no_smoke", "work", "json", "quiet", "command")
            _refuse(options, set(vars(options)) - {*allowed}, "deploy ZIP, which builds nothing")
    elif options.command in ("", "deploy"):
        _check_build(options)
    elif options.command == "inspect":
        _check_model(options)
    elif options.command == "runtime export":
        _check_writable("runtime export", Path(options.file), options.file, "another FILE")
        with suppress(ImportError):
            _check_python(options.python or "3.11")


def _check_deployment(options: argparse.Namespace) -> None:
    _check_path("--ca", options.ca, ("file",), "a file")
    if options.ca is not None and options.insecure:
        raise UsageError("--ca does not go with --insecure, which verifies nothing")
    if options.command == "undeploy":
        return
    if options.web_secure == "":
        raise UsageError("--web-secure: expected a secret, found an empty one")
    if options.web == "no" and options.web_secure not in (None, "false"):
        raise UsageError("--web-secure does not go with --web no")
    if options.portable:
        _refuse(options, ("precompiled", "execution_env"), "--portable")


def _check_build(options: argparse.Namespace) -> None:
    _check_packages(options)
    if options.execution_env is not None and not options.precompiled:
        raise UsageError("--execution-env goes with --precompiled: a portable zip names no image")
    env = options.execution_env
    if env is not None and (not env or env != env.strip() or "\n" in env):
        raise UsageError(
            "--execution-env: expected the image's OW_EXECUTION_ENV, no white space around it, "
            f"found {env!r}"
        )
    _check_model(options)
    # A bare Python 3.10 may lack a TOML reader: then the tool's environment checks these.
    with suppress(ImportError):
        execution_env(options)
        pythons(options, "3.11")
    output(options)


def _check_packages(options: argparse.Namespace) -> None:
    """Raise if --runtime and the options of a compilation cannot be used together."""
    unused = _UNUSED.get(options.runtime, ())
    _refuse(options, unused, f"--runtime {options.runtime}, which does not use it")
    if options.engine is not None and shutil.which(options.engine) is None:
        raise UsageError(
            "--engine: expected docker, podman, buildah or the path of one, found "
            f"{options.engine!r}, which is no program here",
        )
    _check_path("--sources", options.sources, ("folder",), "a folder")


def _check_model(options: argparse.Namespace) -> None:
    """Raise if the model, its labels or its numbers cannot be used."""
    if (options.mean is None) != (options.std is None):
        raise UsageError("--mean and --std go together")
    if options.fit in ("squash", "pad"):
        _refuse(options, ("crop",), f"--fit {options.fit}, which keeps the whole picture")
    for number in options.std or ():
        if number <= 0:
            raise UsageError(f"--std: expected a number above 0, found {number}")
    labels = "a file with a class name per line, JSON or CSV"
    _check_path("--labels", options.labels, ("file",), labels)
    pictures = "a folder with a folder for each class, or a CSV of file and class"
    _check_path("--pictures", options.pictures, ("file", "folder"), pictures)
    with suppress(ImportError):
        _check_model_name(options.model)


def _check_model_name(wanted: str | None) -> None:
    from builder.model import known_models

    known = list(known_models())
    if wanted is None:
        return
    if wanted not in known and files.describe_path(Path(wanted)) != "file":
        found = repr(wanted) if not files.describe_path(Path(wanted)) else _what_is_at(Path(wanted))
        raise UsageError(
            f"--model: expected one of {', '.join(known)} or a .tflite file, found {found}",
            did_you_mean(wanted, known) or "a path is relative to the current folder",
        )


def model_options(options: argparse.Namespace) -> ModelOptions:
    """Return what the options say about the model; inspect and a build have the same ones."""
    from builder.model.normalization import Normalization
    from builder.model.resolve import ModelOptions

    return ModelOptions(
        labels=options.labels,
        normalization=Normalization(options.mean, options.std) if options.mean else None,
        signature=options.signature or "",
        layout=options.layout or "",
        scores=options.scores or "",
        background={"yes": True, "no": False}.get(options.background),
        locale=options.locale or "",
        fit=options.fit or "",
        crop=options.crop,
        channels=options.channels or "",
        threads=getattr(options, "threads", None),  # inspect has no such option
        label_offset=options.label_offset,
    )


def output(options: argparse.Namespace) -> Path:
    """Return the path that the zip is written to.

    Raises:
        UsageError: it is no path for a zip, or --force is needed to replace a file there.
        BuildError: its folder cannot be written.
    """
    given = options.output
    if given in SCORES:
        raise UsageError(f"--output {given} is now --scores {given}", f"a zip's path: ./{given}")
    path = ZIP if given is None else Path(given)
    if given is None and options.work is not None:
        path = options.work / "dist" / ZIP.name
    _check_writable("--output", path, given, "--work DIR" if given is None else "--output")
    if path.exists() and not options.force and not _is_our_zip(path):
        raise UsageError(
            f"--output: {path} exists and is no zip of this program",
            "choose another path, or replace the file with --force",
        )
    return path


def _is_our_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return {"packed.zip", "action/__init__.py"} <= set(archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def _check_writable(option: str, path: Path, given: str | None, instead: str) -> None:
    """Raise unless `path` is that of a file, or free, in a folder that can be written."""
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
    """Return the Python versions that a zip is for, each once.

    Raises:
        UsageError: one is not supported, or they do not go with the other options.
    """
    exact = re.fullmatch(r"python:(\d+\.\d+)", options.kind or "")
    kind_python = exact[1] if exact else ""
    if not exact and not options.command and options.kind:  # with a host, that says what it is
        kind_python = _image_of_kind(options.kind).python
    wanted = kind_python or default if options.python is None else options.python
    found = tuple(dict.fromkeys(each.strip() for each in wanted.split(",")))
    for python in found:
        _check_python(python)
    if options.precompiled and len(found) > 1:
        raise UsageError(f"--precompiled: expected one --python, found {wanted}")
    if kind_python and found != (kind_python,):
        raise UsageError(f"--kind {options.kind} runs Python {kind_python}, --python says {wanted}")
    return found


def _check_python(python: str) -> None:
    from builder.artifact import platform

    supported = platform.pythons()
    if python in supported:
        return
    short = re.match(r"(?:python:?)?(\d+\.\d+)", python)
    raise UsageError(
        f"--python: expected one or more of {', '.join(supported)}, found {python}",
        f"a kind is for all of a minor version: --python {short[1]}"
        if short and short[1] in supported
        else "",
    )


def execution_env(options: argparse.Namespace) -> str:
    """Return the OW_EXECUTION_ENV that a precompiled zip names; empty for a portable zip.

    Raises:
        UsageError: neither --execution-env nor a kind with a known image is given.
    """
    if not options.precompiled:
        return ""
    if options.execution_env is not None:
        return str(options.execution_env)
    if options.command == "deploy":
        return ""  # the host names its image
    if options.kind is None:
        raise UsageError(
            "--precompiled: expected the --kind to deploy on, found none",
            "for example --kind python:3.11; if the image is not known here, pass --execution-env "
            "with its OW_EXECUTION_ENV",
        )
    return _image_of_kind(options.kind).execution_env


def _image_of_kind(kind: str) -> Image:
    from builder.base import images

    for image in images.images_of_kind(kind):
        return image
    raise UsageError(
        f"--kind: expected one of {', '.join(images.known_kinds())}, found {kind}",
        "for an image that is not known here, pass --python, --precompiled and --execution-env",
    )


def _check_path(option: str, path: Path | str | None, kinds: Iterable[str], expected: str) -> None:
    """Raise if an option that is given names no path of these kinds."""
    if path is not None and files.describe_path(Path(path)) not in kinds:
        raise UsageError(f"{option}: expected {expected}, found {_what_is_at(Path(path))}")


def _what_is_at(path: Path) -> str:
    kind = files.describe_path(path)
    return f"the {kind} {path}" if kind else f"nothing at {path}"


def _refuse(options: argparse.Namespace, names: Iterable[str], other: str) -> None:
    """Raise if one of these options is given."""
    for name in names:
        if getattr(options, name) not in (None, False, []):
            raise UsageError(f"--{name.replace('_', '-')} does not go with {other}")
