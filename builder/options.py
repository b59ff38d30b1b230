"""The options and subcommands of `build_zip.py`: parsed, then checked. Standard library only.

All checks run before anything is installed, downloaded or compiled.
"""

from __future__ import annotations

import argparse
import dataclasses
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
    from builder.base.runtime_images import Image
    from builder.model.resolve import ModelOptions

PROGRAM = "python3 build_zip.py"
ZIP = WORK / "dist" / "classify.zip"
_DESCRIPTION = """\
Build, check and invoke a zip that classifies pictures
on OpenWhisk's stock Python runtime."""
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
    "--layout": "is gone: the input's shape says it",
    "--optimize": "is gone: each file is stored or deflated, whichever starts faster",
    "--platform": "is gone: deploy/digitalocean/ has the files for doctl",
}
# Options that have no effect with a runtime.
_UNUSED = {
    "wheels": {"--ops", "--engine", "--engine-arg", "--sources", "--threads"},
    "local": {"--engine", "--engine-arg"},
}
# Options of a build that `deploy ZIP` takes too.
_NOT_BUILDING = {"--kind", "--no-smoke", "--work", "--json", "--quiet", "--help", "-h"}
# Name of an option or operand -> the path that is expected, and what may be there.
_PATHS = {
    "work": ("a folder", "folder", ""),
    "zip": ("a zip", "file"),
    "ca": ("a file", "file"),
    "sources": ("a folder", "folder"),
    "labels": ("a file with a class name per line, JSON or CSV", "file"),
    "pictures": ("a folder for each class, or a CSV of file and class", "file", "folder"),
}

# A group of options -> each one with its value, as the help shows them -> what it is for.
Groups = dict[str, dict[str, str]]

_MODEL = {
    "--labels FILE": "class names: a line each, JSON or CSV",
    "--locale XX": "which labels inside the model, if it has several",
    "--background yes|no": "whether a class means 'none of these'",
    "--mean N[,N,N]": "with --std: a pixel of 0..255 enters the model as (pixel - mean) / std; one "
    "number or one per channel",
    "--std N[,N,N]": "see --mean",
    "--fit crop|squash|pad": "how a picture gets the model's size: its central part, all of it "
    "squashed, or all of it with black bars (default: by the catalogue; crop for ImageNet's "
    "classes; else squash)",
    "--crop SHARE": "with --fit crop: what is kept of the largest central part (default: 0.875)",
    "--channels rgb|bgr": "the order of colours in which pixels enter the model (default: rgb)",
    "--signature NAME": "which, of several (default: serving_default)",
    # The same words as `postprocessing.KINDS`, which only the tool's environment can import.
    "--scores probabilities|logits|scores": "what its output is (default: by its last operators)",
    "--label-offset N": "by how many outputs each label is later than its place in the file "
    "(default: 0)",
    "--pictures DIR": "folders of pictures that are named after classes, or a CSV of file and "
    "class: what the model's file leaves open is tried on them",
}
_OPS = "--ops classifier|all"
_GENERAL = {
    "--work DIR": "a folder for all downloads and caches",
    "--json": "print a report as JSON on stdout",
    "--quiet": "print warnings and errors only",
}
_BUILD: Groups = {
    "the model": {
        "--model NAME|PATH": "a name in model/catalogue.toml, or a .tflite file; most files say "
        "what is not given below",
        **_MODEL,
    },
    "where it will run": {
        "--python X.Y[,X.Y...]": "Python version of the kind, or several in one zip (default: this "
        "Python's if OpenWhisk has an image of it, else 3.11; with deploy that of the host's "
        "default kind)",
        "--kind python:X.Y": "the kind to deploy on, which decides the Python",
        "--precompiled": "skip the runtime's compile step at each cold start; needs --kind or "
        "--execution-env unless deployed",
        "--execution-env TEXT": "OW_EXECUTION_ENV of an image not known here",
        "--threads 1|2": "threads of an inference in the compiled interpreter (default: decided at "
        "each start, by the CPUs that the function may use)",
    },
    "native packages": {
        "--runtime auto|container|local|wheels": "compile in a container or on this machine "
        "(local), or take ready-made wheels (default: auto, the best available)",
        _OPS: "operators that are compiled (default: classifier)",
        "--engine NAME": "docker, podman or buildah (default: the first found)",
        "--engine-arg ARG...": "an argument for the engine's build command; repeatable "
        "(--engine-arg=--no-cache)",
        "--sources DIR": "where to look for source archives first",
    },
    "the zip": {
        "-o/--output PATH": "where to write it (default: dist/classify.zip)",
        "--force": "replace a file that is no zip of this program",
        "--no-requantize": "do not convert a uint8 model to int8",
        "--no-smoke": "do not invoke the zip",
        "--no-keep": "leave python3 -m action with its earlier build",
    },
    "general": _GENERAL,
}
_HOST = {
    "--apihost HOST": "OpenWhisk's API host (default: that of ~/.wskprops)",
    "--auth KEY": "its key: KEY, @FILE or env:NAME (default: ~/.wskprops)",
    "--ca FILE": "certificates to verify the API host's with",
    "--insecure": "do not verify the API host's certificate",
}
_DEPLOYMENT = {
    "--name NAME": "[/NAMESPACE/][PACKAGE/]ACTION, created or updated (default: classify)",
    **_HOST,
    "--web true|raw|no": "whether anybody may invoke it over the web; raw passes the body unparsed "
    "(default: unchanged; true for a new action)",
    "--web-secure SECRET": "clients must send it as X-Require-Whisk-Auth: SECRET, @FILE, env:NAME, "
    "true for a random number, false for none",
    "--memory MB": "limit (default: what the zip needs)",
    "--timeout MS": "limit of an activation (default: 60000)",
    "--param KEY=VALUE...": "bind a parameter; repeatable. VALUE is JSON, else text",
    "--portable": "not precompiled (default: if that is not safe)",
    "--keep-broken": "leave a version that fails its check",
}
# Name -> title, operands and what they are, groups of options.
_SUBCOMMANDS: dict[str, tuple[str, dict[str, str], Groups]] = {
    "inspect": (
        "Print what a build decides about a model.",
        {"MODEL": "a name in the catalogue, or a .tflite file"},
        {"the model": _MODEL, "general": _GENERAL},
    ),
    "check": (
        "Check a zip, list its contents, invoke it.",
        {"ZIP": "a zip that was built before"},
        {"general": {"--no-smoke": "do not invoke the zip", **_GENERAL}},
    ),
    "deploy": (
        "Deploy a zip to OpenWhisk; build it first if none.",
        {"[ZIP]": "a zip that was built before"},
        {"the deployment": _DEPLOYMENT, **_BUILD},
    ),
    "undeploy": (
        "Delete an action of OpenWhisk.",
        {"NAME": "[/NAMESPACE/][PACKAGE/]ACTION"},
        {"the deployment": _HOST, "general": _GENERAL},
    ),
    "runtime": (
        "Exchange compiled packages as a file.",
        {
            "export|import": "write them, or keep them for builds",
            "FILE": "the file",
        },
        {
            "with export": {
                "--python X.Y": "the packages' Python version",
                _OPS: "their operators (default: classifier)",
            },
            "general": _GENERAL,
        },
    ),
}


class Options(argparse.Namespace):
    """The options and operands that are given; all others are None.

    Attributes:
        command: the subcommand; empty for a build.
        words: the options as they were typed, without values, such as "--json" or "-o".
    """

    command: str
    words: set[str]

    def __getattr__(self, _: str) -> Any:
        return None

    def fields_of(self, record: type) -> dict[str, Any]:
        """Return those that are fields of a dataclass; its defaults stand for the others."""
        names = [field.name for field in dataclasses.fields(record)]
        return {name: value for name, value in vars(self).items() if name in names}

    def refuse(self, words: Iterable[str], other: str) -> None:
        """Raise UsageError if one of these options is given."""
        for word in sorted(self.words.intersection(words)):
            raise UsageError(f"{word} does not go with {other}")


class _Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviated options, knows no defaults, and raises UsageError."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **settings,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(arguments: list[str]) -> Options:
    """Return the checked options.

    Raises:
        UsageError: they are wrong, alone or together, or name a path that cannot be used.
        BuildError: the output cannot be written.
    """
    name = _find_subcommand(arguments)
    parser, typed = _make_parser(name), [word for word in arguments if word.startswith("-")]
    given, unknown = parser.parse_known_args(arguments[bool(name) :])
    if unknown:
        raise _unknown_word(unknown[0].partition("=")[0], name)
    words = {word.partition("=")[0] if word[1:2] == "-" else word[:2] for word in typed}
    options = Options(command=name, words=words, **vars(given))
    _check(options)
    return options


def _find_subcommand(arguments: list[str]) -> str:
    """Return the subcommand that a command line begins with; empty if it is a build."""
    if not arguments or arguments[0].startswith("-"):
        return ""
    if (first := arguments[0]) in _SUBCOMMANDS:
        return first
    raise UsageError(
        f"expected an option or one of {', '.join(_SUBCOMMANDS)}, found {first!r}",
        did_you_mean(first, _SUBCOMMANDS) or f"{PROGRAM} --help lists the options",
    )


def _unknown_word(word: str, name: str) -> UsageError:
    """Return the error for a word that a subcommand's parser does not know."""
    if word in _RENAMED:
        return UsageError(f"{word} {_RENAMED[word]}")
    if word in _SUBCOMMANDS:
        return UsageError(f"expected the subcommand first: {PROGRAM} {word} ...")
    kind = "option" if word.startswith("-") else "argument"
    known = _make_parser(name)._option_string_actions
    text = f"{name or 'a build'} has no {kind} {word}"
    return UsageError(text, did_you_mean(word, known))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the hint that names the known word closest to this one; empty if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"Did you mean {close[0]}?" if close else ""


def _make_parser(name: str) -> _Parser:
    """Return the parser of a subcommand; of a build if the name is empty."""
    if name:
        title, operands, groups = _SUBCOMMANDS[name]
        usage = f"{PROGRAM} {name} {' '.join(operands)} [OPTION...]"
        parser = _Parser(prog=PROGRAM, usage=usage, description=title)
        for operand, text in operands.items():
            _add_operand(parser, operand, text)
    else:
        groups = _BUILD
        usage = f"{PROGRAM} [OPTION...]\n       {PROGRAM} SUBCOMMAND ..."
        parser = _Parser(prog=PROGRAM, usage=usage, description=_DESCRIPTION, epilog=_EPILOG)
        version = read_constant("__init__.py", "__version__")
        parser.add_argument("--version", action="version", version=version)
        lines = [f"{name:10}{title}" for name, (title, *_) in _SUBCOMMANDS.items()]
        parser.add_argument_group("subcommands", "\n".join(lines))
    for title, options in groups.items():
        group = parser.add_argument_group(title)
        for option, text in options.items():
            names, _, value = option.partition(" ")
            group.add_argument(*names.split("/"), help=text, **_read_value(names, value))
    return parser


def _add_operand(parser: _Parser, operand: str, text: str) -> None:
    if "|" in operand:
        choices = operand.split("|")
        parser.add_argument("direction", metavar=operand, choices=choices, help=text)
    else:
        name, nargs = operand.strip("[]"), "?" if operand.startswith("[") else None
        parser.add_argument(name.lower(), metavar=name, nargs=nargs, help=text)


def _read_value(option: str, value: str) -> dict[str, Any]:
    """Return argparse's settings for an option whose help shows this value."""
    if option.startswith("--no-"):
        return {"action": "store_false", "dest": option.removeprefix("--no-")}
    if not value:
        return {"action": "store_true"}
    if value == value.lower():
        return {"choices": value.split("|")}
    metavar = value.removesuffix("...")
    action = "store" if metavar == value else "append"
    return {"metavar": metavar, "action": action, "type": _VALUES.get(metavar, str)}


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


# A value as the help shows it -> the function that reads it.
_VALUES: dict[str, Callable[[str], Any]] = {
    "FILE": Path,
    "DIR": Path,
    "N": int,
    "N[,N,N]": _channel_numbers,
    "SHARE": _share,
    "MB": _positive,
    "MS": _positive,
    "KEY=VALUE": _parameter,
}


def _check(options: Options) -> None:
    """Raise if the options of a subcommand are wrong, alone or together."""
    for name, (expected, *kinds) in _PATHS.items():
        path = getattr(options, name)
        if path is not None and (found := files.describe_path(Path(path))) not in kinds:
            option = options.command if name == "zip" else f"--{name}"
            raise UsageError(f"{option}: expected {expected}, found {_name_path(path, found)}")
    if options.insecure:
        options.refuse(["--ca"], "--insecure, which verifies nothing")
    builds = options.command == "" or (options.command == "deploy" and not options.zip)
    if options.command == "deploy":
        _check_deployment(options)
    if options.command == "runtime":
        _check_runtime(options)
    if builds:
        _check_build(options)
    _check_numbers(options)
    # A bare Python 3.10 may lack a TOML reader: then the tool's environment checks these.
    with suppress(ImportError):
        _check_model(options)
        if builds or options.direction == "export":
            execution_env(options)
            pythons(options, "3.11")


def _check_deployment(options: Options) -> None:
    if options.web_secure == "":
        raise UsageError("--web-secure: expected a secret, found an empty one")
    if options.web == "no" and options.web_secure != "false":
        options.refuse(["--web-secure"], "--web no")
    if options.portable:
        options.refuse(["--precompiled", "--execution-env"], "--portable")
    if options.zip:
        building = {"--portable", *_make_parser("")._option_string_actions} - _NOT_BUILDING
        options.refuse(building, "deploy ZIP, which builds nothing")


def _check_runtime(options: Options) -> None:
    if options.direction == "import":
        options.refuse(["--python", "--ops"], "runtime import")
        if (found := files.describe_path(Path(options.file))) != "file":
            found = _name_path(options.file, found)
            raise UsageError(f"runtime import: expected a file, found {found}")
        return
    _check_writable("runtime export", Path(options.file), options.file, "another FILE")


def _check_build(options: Options) -> None:
    unused = _UNUSED.get(options.runtime, ())
    options.refuse(unused, f"--runtime {options.runtime}, which does not use it")
    if options.engine is not None and shutil.which(options.engine) is None:
        raise UsageError(
            "--engine: expected docker, podman, buildah or the path of one, found "
            f"{options.engine!r}, which is no program here",
        )
    env = options.execution_env
    if env is not None and not options.precompiled:
        raise UsageError("--execution-env goes with --precompiled: a portable zip names no image")
    if env is not None and (not env or env != env.strip() or "\n" in env):
        raise UsageError(
            "--execution-env: expected the image's OW_EXECUTION_ENV, no white space around it, "
            f"found {env!r}"
        )
    output(options)


def _check_numbers(options: Options) -> None:
    """Raise if options about the model contradict each other."""
    if (options.mean is None) != (options.std is None):
        raise UsageError("--mean and --std go together")
    if options.fit in ("squash", "pad"):
        options.refuse(["--crop"], f"--fit {options.fit}, which keeps the whole picture")
    for number in options.std or ():
        if number <= 0:
            raise UsageError(f"--std: expected a number above 0, found {number}")


def _check_model(options: Options) -> None:
    """Raise unless --model is a name in the catalogue or a file."""
    from builder.model import known_models

    known, wanted = list(known_models()), options.model
    found = files.describe_path(Path(wanted or "."))
    if wanted is None or wanted in known or found == "file":
        return
    hint = did_you_mean(wanted, known) or "a path is relative to the current folder"
    if Path(wanted, "saved_model.pb").exists():
        hint = "convert it: tf.lite.TFLiteConverter.from_saved_model(FOLDER).convert()"
    elif found == "folder":
        hint = "pass the .tflite file inside, if there is one"
    found = _name_path(wanted, found) if found else repr(wanted)
    expected = f"expected one of {', '.join(known)} or a .tflite file"
    raise UsageError(f"--model: {expected}, found {found}", hint)


def _name_path(path: Path | str, kind: str) -> str:
    return f"the {kind} {path}" if kind else f"nothing at {path}"


def model_options(options: Options) -> ModelOptions:
    """Return what the options say about the model; inspect and a build have the same ones."""
    from builder.model.normalization import Normalization
    from builder.model.preprocessing import DEFAULT_CROP, Fit
    from builder.model.resolve import ModelOptions

    given = options.fields_of(ModelOptions)
    if options.mean:
        given["normalization"] = Normalization(options.mean, options.std)
    if options.fit or options.crop:
        mode = options.fit or "crop"
        given["fit"] = Fit(mode, options.crop or (DEFAULT_CROP if mode == "crop" else 1.0))
    if options.background:
        given["background"] = options.background == "yes"
    if options.threads:
        given["threads"] = int(options.threads)
    return ModelOptions(**given)


def output(options: Options) -> Path:
    """Return the path that the zip is written to.

    Raises:
        UsageError: it is no path for a zip, or --force is needed to replace a file there.
        BuildError: its folder cannot be written.
    """
    given = options.output
    if given in ("probabilities", "logits", "scores"):
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


def pythons(options: Options, default: str) -> tuple[str, ...]:
    """Return the Python versions that a zip is for, each once.

    Raises:
        UsageError: one is not supported, or they do not go with the other options.
    """
    from builder.artifact import platform

    exact = re.fullmatch(r"python:(\d+\.\d+)", options.kind or "")
    kind_python = exact[1] if exact else ""
    if not exact and not options.command and options.kind:  # with a host, that says what it is
        kind_python = _image_of_kind(options.kind).python
    wanted = kind_python or default if options.python is None else options.python
    found = tuple(dict.fromkeys(each.strip() for each in wanted.split(",")))
    supported = platform.pythons()
    if not {*found} <= {*supported}:
        raise UsageError(
            f"--python: expected one or more of {', '.join(supported)}, found {wanted}"
        )
    if options.precompiled and len(found) > 1:
        raise UsageError(f"--precompiled: expected one --python, found {wanted}")
    if kind_python and found != (kind_python,):
        raise UsageError(f"--kind {options.kind} runs Python {kind_python}, --python says {wanted}")
    return found


def execution_env(options: Options) -> str:
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
    from builder.base import runtime_images

    for image in runtime_images.images_of_kind(kind):
        return image
    raise UsageError(
        f"--kind: expected one of {', '.join(runtime_images.known_kinds())}, found {kind}",
        "for an image that is not known here, pass --python, --precompiled and --execution-env",
    )
