"""The command line of `build_zip.py`: read, checked, and run in the tool's environment.

Exit status: 0; 1 if something failed; 2 for a wrong call; 130 if it was stopped. With --json, each
of them prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from builder import options as command_line
from builder.base import environments
from builder.base.errors import BuildError, UsageError
from builder.base.paths import BUILDER, ENVIRONMENTS, ROOT, WORK_VARIABLE
from builder.base.variables import neutral_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder import build
    from builder.base.console import Console
    from builder.deploy import command as deployment
    from builder.model.resolve import ModelOptions

# The environment that builds run in, made from builder/requirements.txt.
ENVIRONMENT = "tools"
# Set once that environment was built a second time.
_REBUILT = "CLASSIFY_TOOLS_REBUILT"


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    try:
        return _main(arguments)
    except UsageError as error:
        usage = "usage: python build_zip.py [OPTION...], see --help"
        return _failed(2, str(error), f"{error.hint}\n  {usage}".lstrip(), arguments)
    except BuildError as error:
        return _failed(1, str(error), error.hint, arguments)
    except OSError as error:
        return _failed(1, str(error), "", arguments)
    except KeyboardInterrupt:
        return _failed(130, "stopped; no zip was written", "", arguments)


def _failed(status: int, error: str, hint: str, arguments: list[str]) -> int:
    print(error if status == 130 else f"error: {error}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
    if "--json" in arguments:
        _print_json({"ok": False, "status": status, "error": error, "hint": hint})
    return status


def _print_json(value: object) -> None:
    # What cannot be UTF-8 (a name of odd bytes) is escaped, as all else may be.
    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.flush()


def _main(arguments: list[str]) -> int:
    options = command_line.parser().parse_args(arguments)
    command_line.check(options)
    if environments.is_inside(ENVIRONMENT):
        try:
            return _run(options)
        except ImportError as error:
            return _rebuild_environment(error, arguments)
    folder = ENVIRONMENTS
    variables = neutral_variables()
    if options.work is not None:
        work = options.work.resolve()
        folder = work / "build"
        variables[WORK_VARIABLE] = str(work)
    requirements = BUILDER / "requirements.txt"
    notify = (lambda text: None) if options.quiet else environments.print_progress
    python = environments.ensure_environment(
        ENVIRONMENT, requirements, folder=folder, notify=notify
    )
    command = [str(ROOT / "build_zip.py"), *arguments]
    return environments.reexec(ENVIRONMENT, python, command, variables)


def _rebuild_environment(error: ImportError, arguments: list[str]) -> int:
    """Build the environment again, once: a package in it no longer imports."""
    environments.invalidate(Path(sys.executable))
    if os.environ.get(_REBUILT):
        raise BuildError(
            f"the tool's environment does not work, even after a rebuild: {error}",
            f"remove {Path(sys.executable).parent.parent} and run this again",
        ) from error
    print(f"a package of the tool's environment does not import: {error}", file=sys.stderr)
    command = [str(ROOT / "build_zip.py"), *arguments]
    return environments.reexec("", environments.BASE_PYTHON, command, {**os.environ, _REBUILT: "1"})


def _run(options: argparse.Namespace) -> int:
    from builder import build, report
    from builder.artifact.smoke import SAMPLE
    from builder.base.console import Console
    from builder.deploy import command as deployment

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(options.quiet)
    asked = _deployment(options)
    if asked and options.undeploy is not None:
        deployment.undeploy(asked, console)
        if options.json:
            _print_json({"ok": True, "undeployed": asked.name})
        return 0
    if options.export_runtime is not None:
        return _export(options, console)
    target = deployment.Target(asked, console) if asked else None
    if options.check:
        return _check(options, target, console)
    config = _config(options, target, console)
    outcome = build.build(config, console)
    report.show_plan(outcome.plan, console)
    report.show_audit(outcome.audit, console)
    if outcome.smoke:
        report.show_answer(outcome.smoke, SAMPLE, console)
    report.show_commands(config.output, outcome.audit, console)
    deployed = None
    if target:
        kind = target.kind(config.pythons, options.kind)
        memory = outcome.audit.memory
        answer = outcome.smoke.get(kind.python)
        deployed = target.deploy(config.output, kind, memory, SAMPLE, answer)
        deployment.show(deployed, console)
    if options.json:
        shown = deployment.as_json(deployed)
        values = report.as_values(outcome.audit, console, outcome.smoke, outcome.model, shown)
        _print_json({**values, "plan": [asdict(file) for file in outcome.plan]})
    return 0


def _check(options: argparse.Namespace, target: deployment.Target | None, console: Console) -> int:
    """Check a zip that is there, and perhaps deploy it; returns the exit status."""
    from builder import build, report
    from builder.artifact import audit
    from builder.artifact.smoke import SAMPLE
    from builder.deploy import command as deployment

    checked = audit.audit_zip(options.check)
    report.show_audit(checked, console)
    report.show_card(checked, console)
    answers = {}
    failed = BuildError("")
    try:
        if checked.ok and not options.no_smoke:
            answers = build.invoke(options.check, checked.pythons, "", console)
    except BuildError as error:
        failed = error
        print(f"error: {error}", file=sys.stderr)
    if answers:
        report.show_answer(answers, SAMPLE, console)
    deployed = None
    if target and checked.ok and not str(failed):
        kind = target.kind(checked.pythons, options.kind)
        memory = checked.memory or report.DEFAULT_MEMORY
        answer = answers.get(kind.python)
        deployed = target.deploy(options.check, kind, memory, SAMPLE, answer)
        deployment.show(deployed, console)
    if options.json:
        values = report.as_values(checked, console, answers, {}, deployment.as_json(deployed))
        if str(failed):
            values |= {"ok": False, "status": 1, "error": str(failed), "hint": failed.hint}
        _print_json(values)
    for problem in checked.problems if options.quiet else ():
        print(f"error: {problem}", file=sys.stderr)
    return 0 if checked.ok and not str(failed) else 1


def _export(options: argparse.Namespace, console: Console) -> int:
    """Write compiled packages to a file; returns the exit status."""
    from builder import build
    from builder.packages import RuntimeOptions, prebuilt

    path = command_line.exported(options)
    pythons = command_line.pythons(options, build.default_python())
    if len(pythons) > 1:
        raise UsageError(f"--export-runtime: expected one --python, found {options.python}")
    with console.step(f"compiled packages for Python {pythons[0]}") as details:
        ops = RuntimeOptions(options.ops or "classifier")
        sha256 = prebuilt.export(pythons[0], ops, path, console)
        details.append(f"{path}, sha256 {sha256}")
    if options.json:
        _print_json({"ok": True, "runtime": str(path), "sha256": sha256, "python": pythons[0]})
    return 0


def _config(
    options: argparse.Namespace, target: deployment.Target | None, console: Console
) -> build.BuildConfig:
    """What is asked of the build."""
    from builder import build
    from builder.artifact import platform
    from builder.packages import RuntimeOptions

    default = build.default_python()
    pythons = command_line.pythons(options, default)
    if options.python is None and options.kind is None:
        if target:
            others = [python for python in reversed(platform.pythons()) if python != default]
            pythons = (target.kind([default, *others]).python,)
        running = "{}.{}".format(*sys.version_info)
        if running not in pythons:
            console.note(f"this Python is {running}: building for {pythons[0]} (--python)")
    if target:
        target.kind(pythons, options.kind)  # or an error, before anything is built
    return build.BuildConfig(
        pythons=pythons,
        output=command_line.output(options),
        model=options.model,
        model_options=_model_options(options),
        requantize=not options.no_requantize,
        provider=options.runtime or "auto",
        options=RuntimeOptions(
            options.ops or "classifier",
            options.sources,
            options.engine or "",
            tuple(options.engine_arg),
            options.runtime_from or "",
        ),
        optimize=options.optimize or "balanced",
        execution_env=command_line.execution_env(options),
        smoke=not options.no_smoke,
        keep=not options.no_keep,
    )


def _model_options(options: argparse.Namespace) -> ModelOptions:
    """What the options say of the model."""
    from builder.model.preprocessing import Normalization
    from builder.model.resolve import ModelOptions

    return ModelOptions(
        labels=options.labels,
        normalization=Normalization(options.mean, options.std) if options.mean else None,
        layout=options.layout or "",
        scores=options.output_kind or "",
        background={"yes": True, "no": False}.get(options.background),
        locale=options.locale or "",
    )


def _deployment(options: argparse.Namespace) -> deployment.Asked | None:
    """What the options say of a deployment; None if none is asked for."""
    from builder.deploy import command as deployment

    if options.deploy is None and options.undeploy is None:
        return None
    return deployment.Asked(
        options.deploy if options.undeploy is None else options.undeploy,
        options.platform or "openwhisk",
        options.apihost or "",
        options.auth or "",
        options.insecure,
        options.web,
        options.web_secure,
    )
