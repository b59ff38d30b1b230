"""The tables of a run as Markdown; an empty text where nothing was measured."""

from __future__ import annotations

import statistics

from bench.measure.cold import STAGES
from bench.measure.warm import BARE
from bench.peers.hello import HELLO_WORLD
from bench.peers.ours import OURS
from bench.report.figures import PIP, deployment_note, find_figure
from bench.report.markdown import (
    EMPTY,
    format_mb,
    format_number,
    format_ratio,
    paragraph,
    percentile,
    table,
)
from bench.results import Run


def peers_table(run: Run) -> str:
    """Return the peers' packages, and their answers to the sample picture."""
    rows = []
    for name, info in run.peers.items():
        answer = info.answer
        rows.append(
            [
                name,
                ", ".join(" ".join(each) for each in info.versions.items()) or EMPTY,
                deployment_note(run, name) or "as a zip",
                answer.class_name.partition(",")[0] if answer else EMPTY,
                f"{answer.probability:.3f}" if answer else EMPTY,
            ]
        )
    head = ["", "packages", "deployed", "answer for the sample", "probability"]
    return table(head, rows, left=4) if rows else ""


def size_table(run: Run) -> str:
    """Return the sizes of the zips, and of the packages in ours."""
    base = find_figure(run, "size", OURS)
    rows = [
        [
            name,
            deployment_note(run, name),
            format_ratio(size.zip, base),
            format_mb(size.zip),
            format_mb(size.unpacked),
            f"{size.files:,}",
        ]
        for name, size in run.size.items()
    ]
    head = ["", "", f"to {OURS}", "zip", "unpacked", "files"]
    return f"{table(head, rows, left=2)}\n\n{_parts_table(run)}".strip() if rows else ""


def _parts_table(run: Run) -> str:
    zips = {name: size.components for name, size in run.size.items() if size.components}
    names = list(dict.fromkeys(part for parts in zips.values() for part in parts))
    rows = [
        [name, *(format_mb(parts[name]) if name in parts else EMPTY for parts in zips.values())]
        for name in names
    ]
    return table(["package, MB in the zip", *zips], rows) if rows else ""


def warm_table(run: Run) -> str:
    """Return the warm activations, measured outside the action."""
    bare, ours = (find_figure(run, "warm", name) for name in (BARE, OURS))
    rows = []
    for name, warm in run.warm.items():
        if warm.ms:
            median = statistics.median(warm.ms)
            spread = [format_number(percentile(warm.ms, percent)) for percent in (10, 90, 99)]
            ratios = [format_ratio(median, ours), format_ratio(median, bare)]
            is_labelled = warm.right is not None and warm.labelled
            top_1 = f"{(warm.right or 0) / warm.labelled:.3f}" if is_labelled else EMPTY
            rows.append([name, *ratios, format_number(median), *spread, top_1, f"{len(warm.ms):,}"])
    head = ["", f"to {OURS}", "to bare", "median", "10 %", "90 %", "99 %", "top-1", "activations"]
    return table(head, rows) if rows else ""


def warm_stages_table(run: Run) -> str:
    """Return the median per stage, for peers that report stages."""
    by_peer = {name: warm.stages for name, warm in run.warm.items() if warm.stages}
    stages = list(dict.fromkeys(stage for each in by_peer.values() for stage in each))
    rows = [
        [name, *(format_number(each[stage]) if stage in each else EMPTY for stage in stages)]
        for name, each in by_peer.items()
    ]
    return table(["", *stages], rows) if rows else ""


def cold_table(run: Run) -> str:
    """Return the cold starts by stage, as ratios to hello world first."""
    hello = find_figure(run, "cold", HELLO_WORLD)
    rows = [
        [
            name,
            format_ratio(cold.total, hello),
            format_number(cold.total),
            *(
                format_number(cold.stages[stage]) if stage in cold.stages else EMPTY
                for stage in STAGES
            ),
            f"{len(cold.ms):,}",
        ]
        for name, cold in run.cold.items()
    ]
    if not rows:
        return ""
    notes = []
    if any(info.is_image for info in run.peers.values()):
        notes.append("Pulling a custom image is not included.")
    if run.proxy_factor:
        notes.append(
            f"The proxy's times (receive, unzip) are multiplied by {run.proxy_factor:.2f}: hello "
            "world's time here by its time where the proxy was measured."
        )
    head = ["", f"to {HELLO_WORLD}", "total", *STAGES, "rounds"]
    return "\n\n".join([table(head, rows), *map(paragraph, notes)])


def memory_table(run: Run) -> str:
    """Return the memory of the actions' processes."""
    base = run.memory.get(PIP)
    rows = [
        [
            name,
            format_ratio(memory.peak, base.peak if base else None),
            *(f"{size / 1e6:.0f}" for size in (memory.resident, memory.private, memory.peak)),
        ]
        for name, memory in run.memory.items()
    ]
    return table(["", f"peak to {PIP}", "resident", "private", "peak"], rows) if rows else ""


def inference_table(run: Run) -> str:
    """Return the model alone, by interpreter and types of tensors."""
    measured = [each for each in run.inference if each.ms]
    rows = []
    for each in measured:
        median = statistics.median(each.ms)
        spread = [format_number(percentile(each.ms, percent)) for percent in (10, 90)]
        ratio = format_ratio(median, statistics.median(measured[0].ms))
        cells = [each.peer, each.interpreter, each.types, ratio, format_number(median), *spread]
        rows.append([*cells, f"{len(each.ms):,}"])
    head = ["", "interpreter", "types", f"to {OURS}", "median", "10 %", "90 %", "inferences"]
    return table(head, rows, left=3) if rows else ""


def processes_table(run: Run) -> str:
    """Return the activations per second by number of processes, also under a CPU quota."""
    rows = []
    for name, points in run.processes.items():
        for each in points:
            ratio = format_ratio(each.per_second, points[0].per_second)
            limited = f"{each.under_quota:.1f}" if each.under_quota else EMPTY
            rows.append([name, str(each.processes), f"{each.per_second:.1f}", ratio, limited])
    head = ["", "processes", "per second", "to one", "on one core"]
    note = f"\n\nNo quota could be set: {run.quota_problem}" if run.quota_problem else ""
    return table(head, rows) + note if rows else ""
