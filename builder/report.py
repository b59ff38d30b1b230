"""Print the results of a build, a check or an inspection, and return them as JSON values."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from builder.artifact import platform
from builder.artifact.audit import Audit
from builder.artifact.smoke import SAMPLE, SmokeResult
from builder.base import runtime_images
from builder.base.console import Console

# How many of a zip's files and of a check's problems are shown.
_FILES, _PROBLEMS = 8, 20
# Python version -> the outcome of its smoke test.
Answers = Mapping[str, SmokeResult]


def show_build(audited: Audit, answers: Answers, console: Console) -> None:
    """Print what a person needs after a build: answer, times, size, warnings, the next command."""
    console.text()
    if answers:
        show_answers(answers, console)
    _show_size(audited, console)
    for reminder in dict.fromkeys(console.reminders):
        console.text(f"! {reminder}")
    manifest = audited.manifest
    console.text(describe_platforms(manifest.pythons[0], manifest.execution_env))
    console.command(commands(Path(audited.path), manifest.pythons, manifest.memory)[0])


def describe_platforms(python: str, execution_env: str) -> str:
    """Return where a zip can be deployed: the platforms that have a kind for it."""
    known = runtime_images.images_of_kind(f"python:{python}")
    names = [image.platform for image in known if execution_env in ("", image.execution_env)]
    where = f" on {' or '.join(names)}" if names else ""
    image = f" where OW_EXECUTION_ENV is {execution_env}" if execution_env else ""
    return f"Deploy it{where}{',' if where and image else ''}{image}:"


def show_audit(audited: Audit, console: Console) -> None:
    """Print a zip's parts, size, decisions about its model, and the outcome of each check."""
    parts = audited.components
    rows = [
        (
            f"{part.name} {part.version}".strip(),
            str(part.files),
            f"{part.unpacked:,}",
            f"{part.packed:,}",
            f"{100 * part.packed / audited.bytes:.1f} %",
        )
        for part in parts
    ]
    files = sum(part.files for part in parts)
    unpacked = sum(part.unpacked for part in parts)
    rows.append(("total", str(files), f"{unpacked:,}", f"{audited.bytes:,}", "100.0 %"))
    console.table(("part", "files", "unpacked", "in the zip", "share"), rows)
    console.text()
    if audited.ok:
        largest = sorted(audited.contents.infos, key=lambda info: -info.compress_size)[:_FILES]
        sizes = [(i.filename, f"{i.file_size:,}", f"{i.compress_size:,}") for i in largest]
        console.table(("largest files", "bytes", "in the zip"), sizes)
        console.text()
    _show_size(audited, console)
    for title, text in audited.card.items():
        console.text(f"{title}: {text}")
    console.text()
    for check in audited.checks:
        mark = "✗" if check.problems else "✓"
        console.text(f"{mark} {check.title}: {check.found}".rstrip(": "))
        for problem in check.problems[:_PROBLEMS]:
            console.text(f"    {problem}")
        if len(check.problems) > _PROBLEMS:
            console.text(f"    and {len(check.problems) - _PROBLEMS} more")


def _show_size(audited: Audit, console: Console) -> None:
    limit = platform.zip_limit()
    memory = f"; needs {audited.manifest.memory} MB of memory"
    console.text(
        f"{_relative(Path(audited.path))}: {audited.bytes / 2**20:.2f} of {limit / 2**20:.0f} MiB "
        f"({100 * audited.bytes / limit:.0f} %){memory}"
    )


def show_answers(answers: Answers, console: Console) -> None:
    """Print the zip's answer for the sample picture, and its times under each Python."""
    results = next(iter(answers.values())).results
    best = ", ".join(f"{each['className']} {100 * each['probability']:.1f} %" for each in results)
    console.text(f"{SAMPLE.name}: {best}")
    for python, answer in answers.items():
        init, first = 1000 * answer.init, 1000 * answer.first
        console.text(
            f"Python {python}: cold {init + first:.0f} ms (init {init:.0f}, first {first:.0f}), "
            f"warm {1000 * answer.warm:.1f} ms, {answer.rss:.0f} MB"
        )
    outside = [answer.nodes for answer in answers.values() if answer.nodes["others"]]
    for nodes in dict.fromkeys(describe_nodes(each) for each in outside):
        console.text(nodes)


def describe_nodes(nodes: dict[str, Any]) -> str:
    """Return how many of a model's nodes XNNPACK runs; `nodes` as in the answer's details."""
    text = f"{nodes['delegated']} of {nodes['total']} nodes run on XNNPACK"
    others = Counter(nodes["others"])
    if not nodes["delegated"] and others:
        return f"{text}: this interpreter was built without it, or it was refused; that is slow"
    named = [name if count == 1 else f"{count} {name}" for name, count in sorted(others.items())]
    return f"{text}; not {', '.join(named)}" if named else text


def commands(path: Path, pythons: Sequence[str], memory: int) -> list[str]:
    """Return the `wsk` commands that create the action, one for each kind."""
    path = _relative(path)
    text = shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))
    create = f"wsk action create classify {text} --kind python"
    return [f"{create}:{python} --memory {memory}" for python in pythons]


def _relative(path: Path) -> Path:
    """Return a path as it can be typed in the current folder."""
    with suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path


def as_values(
    audited: Audit,
    console: Console,
    answers: Answers,
    model: dict[str, Any],
    deployment: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the whole report as values for JSON."""
    manifest = audited.manifest
    return {
        "ok": audited.ok,
        "zip": audited.path,
        "bytes": audited.bytes,
        "limit": platform.zip_limit(),
        "sha256": audited.sha256,
        "python": list(manifest.pythons),
        "bytecode": manifest.bytecode,
        "model": model,
        "card": audited.card,
        "parts": [asdict(part) for part in audited.components],
        "checks": [asdict(check) for check in audited.checks],
        "smoke": {python: asdict(answer) for python, answer in answers.items()},
        "steps": console.seconds,
        "notes": console.notes,
        "warnings": console.reminders,
        "executionEnv": manifest.execution_env,
        "deployment": deployment,
        "memory": manifest.memory,
        "commands": commands(Path(audited.path), manifest.pythons, manifest.memory),
    }
