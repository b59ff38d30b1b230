"""Tell the user what came out: the table of parts, the checks, the answer, what to type next."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from builder.artifact import platform
from builder.artifact.audit import Audit
from builder.artifact.plan import File
from builder.base.console import Console

PLANNED = 8
"""How many files the plan shows."""


def show_audit(report: Audit, console: Console) -> None:
    """The table of parts and the outcome of each check."""
    rows = [
        (
            f"{part.name} {part.version}".strip(),
            str(part.files),
            f"{part.unpacked:,}",
            f"{part.packed:,}",
            f"{100 * part.packed / report.bytes:.1f} %",
        )
        for part in report.components
    ]
    total = [
        sum(getattr(part, name) for part in report.components) for name in ("files", "unpacked")
    ]
    rows.append(("total", str(total[0]), f"{total[1]:,}", f"{report.bytes:,}", "100.0 %"))
    console.table("Bytes", ("part", "files", "unpacked", "in the zip", "share"), rows)
    limit = platform.zip_limit()
    console.text(
        f"{report.bytes / 2**20:.2f} of {limit / 2**20:.0f} MiB used "
        f"({100 * report.bytes / limit:.0f} %): OpenWhisk takes 48 MiB of base64"
    )
    if report.memory:
        console.text(f"{report.memory} MB of memory needed: process, proxy, zip, a large picture")
    console.text()
    for check in report.checks:
        mark = "✗" if check.problems else "✓"
        console.text(f"{mark} {check.title}: {check.found}".rstrip(": "))
        for problem in check.problems[:20]:
            console.text(f"    {problem}")
        if len(check.problems) > 20:
            console.text(f"    and {len(check.problems) - 20} more")


def show_card(report: Audit, console: Console) -> None:
    """What was decided about the model when the zip was built."""
    if report.card:
        console.text()
        console.text("The model:")
    for title, text in report.card.items():
        console.text(f"    {title}: {text}")


def show_plan(plan: Sequence[File], console: Console) -> None:
    """What becomes of the largest files, and what that costs a cold start."""
    rows = [
        (
            file.path if len(file.path) <= 40 else f"...{file.path[-37:]}",
            f"{file.bytes:,}",
            "deflated" if file.deflated else "stored",
            f"{file.zipped:,}",
            f"{file.ms:.1f}",
        )
        for file in sorted(plan, key=lambda file: -file.ms)[:PLANNED]
    ]
    total = [sum(getattr(file, name) for file in plan) for name in ("bytes", "zipped", "ms")]
    rows.append((f"all {len(plan)} files", f"{total[0]:,}", "", f"{total[1]:,}", f"{total[2]:.1f}"))
    console.table("Plan", ("file", "bytes", "", "in the zip", "ms at a cold start"), rows)
    console.text()


def show_answer(answers: dict[str, dict[str, Any]], sample: Path, console: Console) -> None:
    """The zip's answer for the sample picture, and its times under each Python."""
    console.text()
    console.text(f"{sample.name}:")
    for result in next(iter(answers.values()))["results"]:
        console.text(f"    {100 * result['probability']:5.1f} %  {result['className']}")
    for python, answer in answers.items():
        console.text(
            f"Python {python}: init {1000 * answer['init']:.0f} ms, "
            f"first {1000 * answer['first']:.0f} ms, warm {1000 * answer['warm']:.1f} ms, "
            f"memory {answer['rss']:.0f} MB"
        )
    for said in dict.fromkeys(describe_nodes(answer["nodes"]) for answer in answers.values()):
        console.text(said)


_NOT_DELEGATED = {
    "SOFTMAX": "XNNPACK's graphs have no quantized softmax",
    "QUANTIZE": "XNNPACK's graphs do not change int8 to uint8 or back",
    "AVERAGE_POOL_2D": "XNNPACK's graphs have no quantized pooling but over the whole picture",
}
"""Why XNNPACK leaves an operator to TFLite's own kernels, where that is known."""


def describe_nodes(nodes: dict[str, Any]) -> str:
    """Where the nodes of a model run, in words; `nodes` as in the answer's details."""
    text = f"{nodes['delegated']} of {nodes['total']} nodes run on XNNPACK"
    others: list[str] = sorted(set(nodes["others"]))
    if not others:
        return text
    if not nodes["delegated"]:
        return f"{text}: this interpreter was built without it, or it was refused; that is slow"
    count = {name: nodes["others"].count(name) for name in others}
    named = [name if count[name] == 1 else f"{count[name]} {name}" for name in others]
    why = [_NOT_DELEGATED[name] for name in others if name in _NOT_DELEGATED]
    return f"{text}; not {', '.join(named)}" + (f" ({'; '.join(why)})" if why else "")


DEFAULT_MEMORY = 256
"""MB for a zip whose manifest does not say what it needs: OpenWhisk's own default."""


def commands(
    path: Path, pythons: list[str], precompiled: bool = False, memory: int = DEFAULT_MEMORY
) -> list[str]:
    """The `wsk` lines that create the action: by exact kind, and as older deployments call it.

    Not the latter for a precompiled zip, which fits no more than one image.
    """
    with suppress(ValueError):
        path = path.resolve().relative_to(Path.cwd())
    text = shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))
    kinds = [f"python:{python}" for python in pythons] + ([] if precompiled else ["python:3"])
    return [f"wsk action create classify {text} --kind {kind} --memory {memory}" for kind in kinds]


def _commands(path: Path, report: Audit) -> list[str]:
    memory = report.memory or DEFAULT_MEMORY
    return commands(path, report.pythons, bool(report.execution_env), memory)


def show_commands(path: Path, report: Audit, console: Console) -> None:
    """What to type to deploy the zip."""
    console.text()
    if report.execution_env:
        console.text(f"To deploy it where OW_EXECUTION_ENV is {report.execution_env}:")
    else:
        console.text("To deploy it (the last line is for deployments that know no exact kinds):")
    for command in _commands(path, report):
        console.command(command)


def as_values(
    report: Audit,
    console: Console,
    smoke: dict[str, dict[str, Any]],
    model: dict[str, Any],
    deployment: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole report for machines."""
    path = Path(report.path)
    return {
        "ok": report.ok,
        "zip": report.path,
        "bytes": report.bytes,
        "limit": platform.zip_limit(),
        "sha256": report.sha256,
        "python": report.pythons,
        "bytecode": report.bytecode,
        "model": model,
        "card": report.card,
        "parts": [asdict(part) for part in report.components],
        "checks": [asdict(check) for check in report.checks],
        "smoke": smoke,
        "steps": console.seconds,
        "notes": console.notes,
        "executionEnv": report.execution_env,
        "deployment": deployment,
        "memory": report.memory or DEFAULT_MEMORY,
        "commands": _commands(path, report),
    }
