"""The tables of a run: each is Markdown, or nothing where that was not measured."""

from __future__ import annotations

import statistics

from bench.measure.cold import STAGES
from bench.measure.warm import BARE
from bench.peers.peer import HELLO_WORLD, OURS, PRECOMPILED
from bench.report import markdown as text
from bench.report.figures import PIP, deployable, figure
from bench.report.markdown import NONE, ratio, table
from bench.results import XNNPACK, Run, Warm

TARGETS = (
    ("smaller", "size", "at least", 5),
    ("faster cold", "cold", "at least", 5),
    ("faster warm", "warm", "at least", 20),
    ("the memory", "memory", "at most", 0.5),
)
"""What this zip should be, against the pip-made one."""


def peers(run: Run) -> str:
    """Who was compared."""
    rows = []
    for name, peer in run.peers.items():
        answer = peer.answer
        rows.append(
            [
                name,
                ", ".join(" ".join(each) for each in peer.versions.items()) or NONE,
                deployable(run, name) or "as a zip",
                answer.class_name.partition(",")[0] if answer else NONE,
                str(answer.class_index) if answer else NONE,
                f"{answer.probability:.3f}" if answer else NONE,
            ]
        )
    head = ["", "what is in it", "deployed", "answer for the sample", "class", "probability"]
    return table(head, rows, left=4) if rows else ""


def targets(run: Run) -> str:
    """The ratios to the pip-made zip, against what they should be."""
    lines = []
    for words, key, bound, target in TARGETS:
        ours, theirs = (figure(run, key, name) for name in (OURS, PIP))
        if not (ours and theirs):
            lines.append(f"- {words}, {bound} {target}x: not measured in this run")
            continue
        times = round(ours / theirs if key == "memory" else theirs / ours, 2)  # judged as shown
        met = times <= target if key == "memory" else times >= target
        verdict = "met" if met else f"**falls short of {target}x**"
        line = f"- {times:.2f}x {words} ({bound} {target}x was the target): {verdict}"
        if key == "memory":
            line += f"; {run.memory[OURS].peak / run.memory[PIP].peak:.2f}x at its peak"
        if key == "cold" and (precompiled := figure(run, key, PRECOMPILED)):
            line += f"; precompiled, {theirs / precompiled:.2f}x"
        lines.append(line)
    return "\n".join(lines)


def size(run: Run) -> str:
    """Zips, and what ours consist of."""
    base = figure(run, "size", OURS)
    rows = [
        [
            name,
            deployable(run, name),
            ratio(each.zip, base),
            text.mb(each.zip),
            text.mb(each.unpacked),
            f"{each.files:,}",
        ]
        for name, each in run.size.items()
    ]
    head = ["", "", f"to {OURS}", "zip", "unpacked", "files"]
    return "\n\n".join([table(head, rows, left=2), *_parts(run)]) if rows else ""


def _parts(run: Run) -> list[str]:
    zips = {name: each.parts for name, each in run.size.items() if each.parts}
    names = list(dict.fromkeys(part for parts in zips.values() for part in parts))
    rows = [
        [name, *(text.mb(parts[name]) if name in parts else NONE for parts in zips.values())]
        for name in names
    ]
    return [table(["part, MB in the zip", *zips], rows)] if rows else []


def warm(run: Run) -> str:
    """Warm activations, seen from outside."""
    bare, ours = (figure(run, "warm", name) for name in (BARE, OURS))
    rows = []
    for name, each in run.warm.items():
        if each.ms:
            median = statistics.median(each.ms)
            spread = [text.ms(text.percentile(each.ms, percent)) for percent in (10, 90, 99)]
            ratios = [ratio(median, ours), ratio(median, bare)]
            rows.append([name, *ratios, text.ms(median), *spread, top_1(each), f"{len(each.ms):,}"])
    head = ["", f"to {OURS}", "to bare", "median", "10 %", "90 %", "99 %", "top-1", "activations"]
    return table(head, rows) if rows else ""


def warm_stages(run: Run) -> str:
    """Of those whose clock tells them."""
    by_peer = {name: each.stages for name, each in run.warm.items() if each.stages}
    stages = list(dict.fromkeys(stage for each in by_peer.values() for stage in each))
    rows = [
        [name, *(text.ms(each[stage]) if stage in each else NONE for stage in stages)]
        for name, each in by_peer.items()
    ]
    return table(["", *stages], rows) if rows else ""


def cold(run: Run) -> str:
    """Cold starts by stage, as ratios to hello world first."""
    hello = figure(run, "cold", HELLO_WORLD)
    rows = [
        [
            name,
            ratio(each.total, hello),
            text.ms(each.total),
            *(text.ms(each.stages[stage]) if stage in each.stages else NONE for stage in STAGES),
            f"{len(each.ms):,}",
        ]
        for name, each in run.cold.items()
    ]
    head = ["", f"to {HELLO_WORLD}", "total", *STAGES, "rounds"]
    return "\n\n".join([table(head, rows), *filter(None, _beside_cold(run))]) if rows else ""


def _beside_cold(run: Run) -> list[str]:
    """What the table of cold starts does not say."""
    notes = [pulled(run)]
    if run.pace:
        notes.append(
            f"What is priced (receive, unzip) was taken times {run.pace:.2f}: so many times does "
            "hello world take here what it takes where the prices are from."
        )
    precompiled = run.cold.get(PRECOMPILED)
    if run.import_numpy and precompiled:
        notes.append(
            f"From the start of its process until it is ready, {PRECOMPILED}, takes "
            f"{ratio(precompiled.start, run.import_numpy)} what `python -I -S -c 'import numpy'` "
            f"takes with numpy as pip installs it ({text.ms(precompiled.start)} ms to "
            f"{text.ms(run.import_numpy)} ms)."
        )
    return [text.paragraph(each) for each in notes if each]


def pulled(run: Run) -> str:
    """A sentence on custom images, or nothing."""
    images = [name for name, peer in run.peers.items() if peer.image]
    if not images:
        return ""
    verb = "are" if len(images) > 1 else "is"
    return f"{text.names(images)} {verb} in a custom image: pulling it is not counted."


def inference(run: Run) -> str:
    """The model alone, by interpreter and types of tensors."""
    measured = [each for each in run.inference if each.ms]
    if not measured:
        return ""
    ours = statistics.median(measured[0].ms)
    own = {  # XNNPACK's own kernels, of the same class of CPU
        (each.network, each.forced): statistics.median(each.ms)
        for each in measured
        if each.kernels == XNNPACK
    }
    rows = []
    for each in measured:
        median = statistics.median(each.ms)
        spread = [text.ms(text.percentile(each.ms, percent)) for percent in (10, 90)]
        ratios = [ratio(median, ours), ratio(median, own.get((each.network, each.forced)))]
        kernels = each.kernels + (f", forced to {each.forced}" if each.forced else "")
        row = [each.interpreter, each.network, kernels, *ratios, text.ms(median), *spread]
        rows.append([*row, f"{len(each.ms):,}"])
    head = ["", "types", "kernels", f"to {OURS}", "to XNNPACK's own", "median", "10 %", "90 %"]
    without = "" if own else "XNNPACK's own kernels were not compiled, so they are not compared."
    return "\n\n".join(filter(None, [table([*head, "inferences"], rows, left=3), without]))


def top_1(warm: Warm) -> str:
    """The share of labelled pictures that were answered right."""
    if warm.right is None or not warm.labelled:
        return NONE
    return f"{warm.right / warm.labelled:.3f}"
