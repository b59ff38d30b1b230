"""The command line of `build_zip.py`: read, and run in the tool's environment."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from builder.errors import BuildError
from builder.paths import BUILDER, ROOT, ZIP
from builder.tools import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.deploy import command as deployment

MEMORY = 256
INSIDE = "CLASSIFY_TOOLS"
"""Set for the process that runs in the tool environment."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    usage = argparse.ArgumentParser(
        prog="build_zip.py",
        description="Build, check and invoke a zip that classifies pictures on OpenWhisk's stock "
        "Python runtime.",
    )
    add = usage.add_argument
    add(
        "--python",
        metavar="X.Y[,X.Y...]",
        help="Python of the kind to deploy on, as 3.11, or several in one zip "
        "(default: this one's, else 3.11)",
    )
    add("--model", metavar="NAME|PATH", help="a model of model/catalogue.toml, or a .tflite file")
    add("--labels", metavar="PATH", type=Path, help="class names, one per line")
    add(
        "--mean",
        metavar="N",
        type=float,
        help="of the model's input: a pixel enters as (pixel - mean) / std",
    )
    add("--std", metavar="N", type=float, help="see --mean")
    add(
        "--no-requantize",
        action="store_true",
        help="ship a uint8 model as it is, not converted to int8",
    )
    add(
        "--runtime",
        choices=("auto", "container", "local", "wheels"),
        default="auto",
        help="where the native parts come from: compiled in a container or on this machine, or "
        "ready-made wheels (default: auto, the best that is to be had)",
    )
    add(
        "--ops",
        choices=("classifier", "all"),
        default="classifier",
        help="operators of a compiled interpreter: those of image classifiers, or all of TFLite's",
    )
    add(
        "--precompiled",
        action="store_true",
        help="a zip that skips the runtime's own compile step at each cold start; for exactly one "
        "kind (--kind) or deployment (--execution-env)",
    )
    add("--kind", metavar="python:X.Y", help="with --precompiled: the kind to deploy on")
    add(
        "--execution-env",
        metavar="STRING",
        help="with --precompiled: what OW_EXECUTION_ENV is in the deployment's image, if it is not "
        "Apache's",
    )
    add(
        "--optimize",
        choices=("size", "balanced", "cold"),
        default="balanced",
        help="which files are deflated: all that shrink, those that start faster for it, or a "
        "balance of both, since each MB of zip takes some 3.5 of the action's memory (default: "
        "balanced)",
    )
    add("--engine", metavar="NAME", default="", help="docker, podman or buildah (default: found)")
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
    add("--output", metavar="PATH", type=Path, default=ZIP, help="default: dist/classify.zip")
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
    return usage


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    usage = parser()
    options = usage.parse_args(arguments)
    if (options.mean is None) != (options.std is None):
        usage.error("--mean and --std go together")
    if options.std is not None and not options.std > 0:
        usage.error(f"--std: expected a number above 0, found {options.std}")
    try:
        if os.environ.get(INSIDE) != str(BUILDER):
            return _inside(environment("tools", BUILDER / "requirements.txt"), arguments)
        return _run(options)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; no zip was written", file=sys.stderr)
        return 130


def _inside(python: Path, arguments: list[str]) -> int:
    """Run the command again, in the tool environment."""
    command = [str(python), str(ROOT / "build_zip.py"), *arguments]
    variables = {**os.environ, INSIDE: str(BUILDER)}
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(python, command, variables)
    return subprocess.run(command, env=variables).returncode


def _run(options: argparse.Namespace) -> int:
    from builder import audit, build, data, report
    from builder.console import Console
    from builder.deploy import command as deployment
    from builder.model import Normalization
    from builder.runtime import Options

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(options.quiet)
    asked = _deployment(options)
    if asked and options.undeploy is not None:
        deployment.undeploy(asked, console)
        return 0
    target = deployment.Target(asked, console) if asked else None
    if options.check:
        checked = audit.audit(options.check)
        report.show_audit(checked, console)
        answers = {}
        if checked.ok and not options.no_smoke:
            answers = build.invoke(options.check, checked.pythons, "", console)
        if answers:
            report.show_answer(answers, build.SAMPLE, console)
        deployed = None
        if target and checked.ok:
            kind = target.kind(checked.pythons, options.kind)
            answer = answers.get(kind.python)
            deployed = target.deploy(options.check, kind, MEMORY, build.SAMPLE, answer)
            deployment.show(deployed, console)
        if options.json:
            print(report.as_json(checked, console, answers, {}, (), deployment.as_json(deployed)))
        for problem in build.problems(checked) if options.quiet else ():
            print(f"error: {problem}", file=sys.stderr)
        return 0 if checked.ok else 1
    execution_env = _execution_env(options)
    kind_python = (options.kind or "").removeprefix("python:")
    wanted = options.python or kind_python or build.default_python()
    if target and not options.python and not kind_python:
        others = [python for python in reversed(data.pythons()) if python != wanted]
        wanted = target.kind([wanted, *others]).python
    pythons = tuple(dict.fromkeys(wanted.split(",")))
    if execution_env and len(pythons) > 1:
        raise BuildError(f"--precompiled: expected one --python, found {wanted}")
    if kind_python and pythons != (kind_python,):
        raise BuildError(f"--kind {options.kind} runs Python {kind_python}, --python says {wanted}")
    for python in pythons:
        if python not in data.pythons():
            known = ", ".join(data.pythons())
            raise BuildError(f"--python: expected one or more of {known}, found {python}")
    if target:
        target.kind(pythons, options.kind)  # or an error, before anything is built
    if options.sources and not options.sources.is_dir():
        raise BuildError(f"--sources: expected a folder, found {options.sources}")
    if options.output.is_dir():
        raise BuildError(f"--output: expected a file, found the folder {options.output}")
    mean_std = options.mean is not None and Normalization((options.mean,), (options.std,))
    wishes = build.Wishes(
        pythons=pythons,
        output=options.output,
        model=options.model,
        labels=options.labels,
        normalization=mean_std or None,
        requantize=not options.no_requantize,
        provider=options.runtime,
        options=Options(options.ops, options.sources, options.engine, tuple(options.engine_arg)),
        optimize=options.optimize,
        execution_env=execution_env,
        smoke=not options.no_smoke,
        keep=not options.no_keep,
    )
    outcome = build.build(wishes, console)
    report.show_plan(outcome.plan, console)
    report.show_audit(outcome.audit, console)
    if outcome.smoke:
        report.show_answer(outcome.smoke, build.SAMPLE, console)
    report.show_commands(options.output, outcome.audit, console)
    deployed = None
    if target:
        kind = target.kind(pythons, options.kind)
        answer = outcome.smoke.get(kind.python)
        deployed = target.deploy(options.output, kind, MEMORY, build.SAMPLE, answer)
        deployment.show(deployed, console)
    if options.json:
        about = deployment.as_json(deployed)
        print(
            report.as_json(
                outcome.audit, console, outcome.smoke, outcome.model, outcome.plan, about
            )
        )
    return 0


def _deployment(options: argparse.Namespace) -> deployment.Asked | None:
    """What the options say of a deployment; None if none is asked for."""
    from builder.deploy import command as deployment

    names = {
        "--platform": options.platform,
        "--apihost": options.apihost,
        "--auth": options.auth,
        "--insecure": options.insecure or None,
        "--web": options.web,
        "--web-secure": options.web_secure,
    }
    given = [name for name, value in names.items() if value is not None]
    if options.deploy is None and options.undeploy is None:
        if given:
            raise BuildError(f"{given[0]} goes with --deploy or --undeploy")
        return None
    if options.deploy is not None and options.undeploy is not None:
        raise BuildError("expected either --deploy or --undeploy")
    return deployment.Asked(
        options.deploy if options.undeploy is None else options.undeploy,
        options.platform or "openwhisk",
        options.apihost or "",
        options.auth or "",
        options.insecure,
        options.web,
        options.web_secure,
    )


def _execution_env(options: argparse.Namespace) -> str:
    """What a precompiled zip names as its environment; empty for a portable one."""
    from builder import build

    if not options.precompiled:
        if options.kind or options.execution_env:
            raise BuildError(
                "--kind and --execution-env go with --precompiled",
                "a portable zip is for a Python (--python); its kind is named when it is deployed",
            )
        return ""
    if options.execution_env:
        if options.execution_env != options.execution_env.strip():
            raise BuildError("--execution-env: expected no white space around it")
        return str(options.execution_env)
    if not options.kind:
        raise BuildError(
            "--precompiled: expected the --kind to deploy on, found none",
            "for example --kind python:3.11; for another deployment than Apache's image, "
            "--execution-env with its OW_EXECUTION_ENV",
        )
    return build.execution_env(options.kind)
