"""Memory, and what activations cost with the least memory that suffices."""

from __future__ import annotations

from bench.report import cost
from bench.report import markdown as text
from bench.report.figures import PIP, figure, without_variants
from bench.report.markdown import NONE, ratio, table
from bench.results import Run

TERMS = (
    "By the model of bench/cost.py, in US dollars per million activations beyond what is free, and "
    "how many activations a month are free; cold means that each of them is a cold start, billed "
    "for all of its stages. On such platforms CPU grows with memory, which is not modelled: the "
    "times are those measured on whole cores (see Less CPU). The least memory is that of "
    + ", ".join(map(str, cost.SIZES))
    + f" MB which holds the peak of the process and {cost.PROXY / 1e6:.0f} MB for the platform's "
    "proxy. Nor is it considered whether a platform takes the peer at all."
)


def memory(run: Run) -> str:
    """Of the action's process."""
    pip = run.memory.get(PIP)
    rows = [
        [
            name,
            ratio(each.peak, pip.peak if pip else None),
            *map(text.memory_mb, (each.resident, each.private, each.peak)),
            f"{size} MB" if (size := cost.least(each.peak)) else f"over {cost.SIZES[-1]} MB",
        ]
        for name, each in run.memory.items()
    ]
    head = ["", f"peak to {PIP}", "resident", "private", "peak", "fits an action of"]
    return table(head, rows) if rows else ""


def costs(run: Run) -> str:
    """By price list: warm and cold, per million and free."""
    run = without_variants(run)
    fixed = int(run.prices.get("memory") or cost.MEMORY)
    parts = []
    for prices in cost.lists(run.prices):
        rows = []
        for name in run.peers:
            warm, cold = (figure(run, key, name) for key in ("warm", "cold"))
            peak = run.memory[name].peak if name in run.memory else None
            least = cost.least(peak) if peak else None
            for size in dict.fromkeys(size for size in (least, fixed) if size):
                cells = _priced(prices, warm, size) + _priced(prices, cold, size)
                if warm or cold:
                    short = peak is not None and (least is None or size < least)
                    rows.append([name, f"{size} MB" + (", too little" if short else ""), *cells])
        if not rows:
            return ""
        head = ["", "memory", "warm, billed", "per million", "free"]
        head += ["cold, billed", "per million", "free"]
        parts += [f"#### {prices.title[0].upper()}{prices.title[1:]}"]
        parts += [text.paragraph(_terms(prices)), table(head, rows)]
    return "\n\n".join(parts)


def _priced(prices: cost.Prices, ms: float | None, memory: int) -> list[str]:
    if ms is None:
        return [NONE] * 3
    million = f"${prices.million(ms, memory):.2f}"
    return [f"{prices.billed(ms):,.0f} ms", million, f"{prices.free(ms, memory):,}"]


def _terms(prices: cost.Prices) -> str:
    terms = f"${prices.gb_second:.10f}".rstrip("0") + " per GB-s"
    terms += f", {prices.free_gb_seconds:,.0f} GB-s a month free, rounded up to {prices.step:g} ms"
    if prices.minimum:
        terms += f", at least {prices.minimum:g} ms"
    if prices.million_requests:
        terms += f", ${prices.million_requests:.2f} per million requests"
        terms += f" of which {prices.free_requests:,.0f} a month are free"
    source = f" ([source]({prices.source}), {prices.date})" if prices.source else ""
    return f"{terms}{source}. {prices.note}".strip()
