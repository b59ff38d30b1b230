"""Run a subcommand of `build_zip.py` in the tool's environment, and exit with its status.

Exit status: 0 done, 1 failed, 2 wrong call, 130 stopped. With --json, each prints a report on
standard output, errors too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from builder import options as command_line
from builder.base import environments
from builder.base.errors import BuildError, UsageError
from builder.base.paths import BUILDER, ENVIRONMENTS, ROOT, WORK_VARIABLE
from builder.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.artifact.smoke import SmokeResult
    from builder.base.console import Console
    from builder.build import BuildConfig, BuildResult
    from builder.deploy.credentials import Host
    from builder.deploy.deployment import Deployment
    from builder.deploy.python_kinds import PythonKinds
    from builder.deploy.verify import DeployedAction

# The environment that builds run in, made from builder/requirements.txt.
ENVIRONMENT = "tools"

Report = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    try:
        return _main(arguments)
    except UsageError as error:
        usage = f"usage: {command_line.PROGRAM} [OPTION...], see --help"
        return _fail(2, str(error), f"{error.hint}\n  {usage}".lstrip(), arguments)
    except (BuildError, OSError) as error:
        return _fail(1, str(error), getattr(error, "hint", ""), arguments)
    except KeyboardInterrupt:
        return _fail(130, "stopped; no zip was written", "", arguments)


def _fail(status: int, error: str, hint: str, arguments: list[str]) -> int:
    print(error if status == 130 else f"error: {error}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
    if "--json" in arguments:
        _print_json({"ok": False, "status": status, "error": error, "hint": hint})
    return status


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))  # ASCII: escaped is what a terminal may obey


def _main(arguments: list[str]) -> int:
    options = command_line.parse(arguments)
    if environments.is_inside(ENVIRONMENT):
        return _run(options)
    folder = ENVIRONMENTS
    if options.work is not None:
        os.environ[WORK_VARIABLE] = str(options.work.resolve())
        folder = options.work.resolve() / "build"
    requirements = BUILDER / "requirements.txt"
    notify = (lambda text: None) if options.quiet else environments.print_progress
    python = environments.ensure_environment(
        ENVIRONMENT, requirements, folder=folder, notify=notify
    )
    return environments.reexec(ENVIRONMENT, python, [str(ROOT / "build_zip.py"), *arguments])


def _run(options: Options) -> int:
    """Run the subcommand; return the exit status."""
    from builder.base.console import Console

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = {
        "": _build,
        "inspect": _inspect,
        "check": _check,
        "deploy": _deploy,
        "undeploy": _undeploy,
        "runtime": _exchange_runtime,
    }[options.command]
    report = {"ok": True, **run(options, Console(options.quiet))}
    if options.json:
        _print_json(report)
    return 0 if report["ok"] else 1


def _build(options: Options, console: Console) -> Report:
    from builder import build, report

    config = _build_config(options, None, console)
    result = build.build(config, console)
    report.show_build(result.audit, result.smoke, console)
    return report.as_values(result.audit, console, result.smoke, result.model)


def _inspect(options: Options, console: Console) -> Report:
    from builder import build

    model, evidence = build.resolve_model(
        options.model, command_line.model_options(options), options.pictures, console
    )
    if evidence:
        evidence.show(console)
        console.text()
    model.show(console)
    return {
        "model": build.describe_model(model),
        "operators": model.tflite.versions,
        "pictures": evidence and evidence.as_values(),
    }


def _check(options: Options, console: Console) -> Report:
    from builder import build, report
    from builder.artifact import audit

    archive = Path(options.zip)
    audited = audit.audit_zip(archive)
    report.show_audit(audited, console)
    answers: dict[str, SmokeResult] = {}
    failure: Report = {}
    try:
        if audited.ok and options.smoke is not False:
            answers = build.invoke(archive, audited.manifest.pythons, "", console)
    except BuildError as error:
        failure = {"ok": False, "status": 1, "error": str(error), "hint": error.hint}
        print(f"error: {error}", file=sys.stderr)
    if answers:
        report.show_answers(answers, console)
    for problem in audited.problems if options.quiet else ():
        print(f"error: {problem}", file=sys.stderr)
    return {**report.as_values(audited, console, answers, {}), **failure}


def _deploy(options: Options, console: Console) -> Report:
    from builder import build, report
    from builder.deploy.action_document import ActionSettings
    from builder.deploy.deployment import Deployment
    from builder.deploy.rest_api import PlatformError

    settings = options.fields_of(ActionSettings)
    settings |= {"parameters": dict(options.param or ()), "secret": options.web_secure}
    name = options.name or "classify"
    deployment = Deployment(_find_host(options, console), name, ActionSettings(**settings), console)
    config = None
    if options.zip is None:
        config = _build_config(options, deployment.kinds, console)
        deployment.check_memory(build.estimate_memory(config), "such a zip")
        result = build.build(config, console)
        report.show_build(result.audit, result.smoke, console)
    else:
        result = _open_zip(options, deployment, console)
    try:
        action = _deploy_zip(result, options, deployment)
    except PlatformError as error:
        if not (error.at_init and config and config.execution_env and not options.precompiled):
            raise
        console.warn("the image does not start the precompiled zip: building a portable one")
        result = build.build(replace(config, execution_env=""), console)
        action = _deploy_zip(result, options, deployment)
    deployment.show(action)
    return report.as_values(result.audit, console, result.smoke, result.model, asdict(action))


def _open_zip(options: Options, deployment: Deployment, console: Console) -> BuildResult:
    """Return a zip that exists, audited and invoked; raise if the platform cannot have it."""
    from builder import build
    from builder.artifact import audit

    archive = Path(options.zip)
    audited = audit.audit_zip(archive)
    if not audited.ok:
        raise BuildError(
            f"{archive} failed its audit: " + "; ".join(audited.problems[:3]),
            f"{command_line.PROGRAM} check {archive} lists all problems",
        )
    manifest = audited.manifest
    kind = deployment.kinds.choose(manifest.pythons, options.kind)
    deployment.kinds.check_environment(kind, manifest.execution_env)
    deployment.check_memory(manifest.memory)
    answers = {}
    if options.smoke is not False:
        answers = build.invoke(archive, manifest.pythons, "", console)
    return build.BuildResult(audited, {}, answers)


def _deploy_zip(result: BuildResult, options: Options, deployment: Deployment) -> DeployedAction:
    audited = result.audit
    kind = deployment.kinds.choose(audited.manifest.pythons, options.kind)
    answer = result.smoke.get(kind.python)
    expected = answer.results if answer else None
    archive, memory = Path(audited.path), audited.manifest.memory
    return deployment.run(archive, kind, memory, expected, bool(options.keep_broken))


def _undeploy(options: Options, console: Console) -> Report:
    from builder.deploy.deployment import undeploy

    undeploy(_find_host(options, console), options.name, console)
    return {"undeployed": options.name}


def _find_host(options: Options, console: Console) -> Host:
    from builder.deploy import credentials

    apihost, auth, ca = options.apihost or "", options.auth or "", str(options.ca or "")
    return credentials.find_host(console, apihost, auth, bool(options.insecure), ca)


def _exchange_runtime(options: Options, console: Console) -> Report:
    from builder import build
    from builder.packages import RuntimeOptions, exchange

    if options.direction == "import":
        with console.step("compiled packages") as details:
            runtime = exchange.import_packages(Path(options.file), console)
            details.append(f"for Python {runtime.python}: builds with --runtime auto use them")
        folder = str(runtime.folder)
        return {"runtime": folder, "python": runtime.python, "origin": runtime.origin}
    python = options.python or build.default_python()
    with console.step(f"compiled packages for Python {python}") as details:
        packages = RuntimeOptions(**options.fields_of(RuntimeOptions))
        sha256 = exchange.export(python, packages, Path(options.file))
        details.append(f"{options.file}, sha256 {sha256}")
    return {"runtime": options.file, "sha256": sha256, "python": python}


def _build_config(options: Options, kinds: PythonKinds | None, console: Console) -> BuildConfig:
    """Return what the options ask of the build; raise if the platform has no kind for it."""
    from builder import build
    from builder.artifact.platform import pythons as supported
    from builder.packages import RuntimeOptions

    default = build.default_python()
    if kinds and options.python is None:
        known = kinds.sort_pythons([default, *reversed(supported())])
        default = kinds.choose(known, options.kind).python
    pythons = command_line.pythons(options, default)
    if options.python is None and options.kind is None:
        running = "{}.{}".format(*sys.version_info)
        if running not in pythons:
            console.note(f"this Python is {running}: building for {pythons[0]} (--python)")
    execution_env = command_line.execution_env(options)
    if kinds:
        kind = kinds.choose(pythons, options.kind)
        portable = options.portable or len(pythons) > 1
        wanted = True if options.precompiled else False if portable else None
        execution_env = execution_env or kinds.choose_environment(kind, wanted, console)
    config = options.fields_of(build.BuildConfig)
    if kinds:  # what is deployed is never another model than the default
        config.setdefault("model", build.default_model())
    config |= {"output": command_line.output(options), "execution_env": execution_env}
    packages = options.fields_of(RuntimeOptions)
    packages["engine_arguments"] = tuple(options.engine_arg or ())
    return build.BuildConfig(
        **config,
        pythons=pythons,
        model_options=command_line.model_options(options),
        provider=options.runtime or "auto",
        options=RuntimeOptions(**packages),
    )
