"""Measurements as Markdown: bench/RESULTS.md, and the README's section.

All of it is a function of the stored JSON (bench/results.json), so that the same JSON gives the
same bytes. Any part of the JSON may be missing: a run may be short, or interrupted.

Percentiles interpolate linearly between the two nearest of the sorted values (the "inclusive"
method of Python's `statistics.quantiles`; NumPy's default), and the median is the 50th.
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from bench import cost
from bench.cold import STAGES
from bench.peers import OURS, PRECOMPILED, pip
from bench.warm import BARE
from builder.errors import BuildError

START, END = "<!-- bench: written by python -m bench -->", "<!-- /bench -->"
"""What the README's section is put between."""
PIP, HELLO = pip.named(pip.TFLITE_RUNTIME), "hello world"
HEADLINE = "digitalocean"
"""Of the presets: the one whose prices the README names."""
TARGETS = (
    ("smaller", "size", "at least", 5),
    ("faster cold", "cold", "at least", 5),
    ("faster warm", "warm", "at least", 20),
    ("the memory", "memory", "at most", 0.5),
)
"""What this zip should be, against the pip-made one."""

_MISSING = "Not measured in this run."
_NONE = "-"

Found = dict[str, Any]


def section(found: Found) -> str:
    """The README's section: one table, the ratios against the targets, three plots."""
    problems = _left_out(found)
    found = without_variants(charted(found))
    about = found.get("about", {})
    prices = cost.presets()[HEADLINE]
    lines = [
        "## How fast, how small, how cheap",
        _text(f"{_where(about)}. {_state(about)}Printed and drawn by"),
        _code(about),
        _summary(found, prices) or _MISSING,
        _text(
            "Medians; memory is what the process has after its warm activations. A cold start is "
            "emulated and ends with the first answer. The cost is that of a million warm "
            "activations beyond what is free, "
            f"at {prices.title}' prices ({prices.date}; at least {prices.minimum:g} ms are billed) "
            "and with the least memory that suffices."
            f"{_pull(found)}{problems}"
        ),
        *filter(None, [_versions(found)]),
        f"Against the zip that pip makes of tflite-runtime, {OURS} is",
        _targets(found),
        *(f"![{alt}](docs/bench/{name}.svg)" for name, alt in PLOTS.items()),
        _text(
            "What was measured and how, all tables and the costs are in "
            "[`bench/RESULTS.md`](bench/RESULTS.md), the figures themselves in "
            "[`bench/results.json`](bench/results.json)."
        ),
    ]
    return "\n\n".join(lines) + "\n"


PLOTS = {
    "warm": "Distribution of warm activations",
    "cold": "Cold start by stage",
    "size": "Size of what is deployed",
}
"""The plots' names, and what they show."""


def placed(readme: str, text: str) -> str:
    """The README with `text` between START and END; raises BuildError if they are not there."""
    head, start, rest = readme.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise BuildError(
            f"README.md: expected the lines {START} and {END}, in this order, found no such pair",
            "put them where the section belongs",
        )
    return f"{head}{START}\n{text}{END}{tail}"


def results(found: Found) -> str:
    """bench/RESULTS.md: everything that was measured."""
    problems = _left_out(found)
    found = charted(found)
    about = found.get("about", {})
    parts: list[tuple[str, str, Callable[[Found], str]]] = [
        ("What was compared", "", _peers),
        ("Against the targets", "This zip and the zip that pip makes of tflite-runtime:", _targets),
        ("Size", "In MB (10^6 bytes). OpenWhisk takes zips of up to 36 MiB, 37.75 MB.", _size),
        (
            "A warm activation",
            "From a line of JSON on the action's standard input to its answer, in ms; each picture "
            f"to each of them in turn. The {BARE} runs the model of this zip and nothing else, in "
            "one thread: it is the floor.",
            _warm,
        ),
        (
            "A warm activation by stage",
            "Medians in ms, as the action's own clock has them, where it tells them.",
            _warm_stages,
        ),
        (
            "A cold start",
            "From the init request to the first answer: medians in ms, by stage. It is emulated "
            "(bench/cold.py says how): what comes before the runtime, HTTP and the disk are not in "
            "it, and on a platform all takes longer. Read the ratios.",
            _cold,
        ),
        (
            "Memory",
            "Of the action's process in MB (10^6 bytes): resident and private after the warm "
            "activations, and the peak.",
            _memory,
        ),
        ("One inference", "The model alone, one thread, in ms.", _inference),
        (
            "More processes",
            "Warm activations per second, of so many processes at a time; in brackets, how "
            "many times those of one.",
            _processes,
        ),
        (
            "Less CPU",
            "A warm activation and init under a CPU quota (cgroups), in ms: what an action with "
            "little memory gets where CPU grows with it.",
            _quota,
        ),
        ("Larger pictures", "One JPEG in several sizes; medians in ms.", _megapixels),
        ("What it costs", _COSTS, _cost),
    ]
    lines = [
        "# Results of `python -m bench`",
        _text(
            f"{_where(about)}. {_state(about)}This file is written by the command, from "
            "`bench/results.json`: do not edit it."
        ),
        *filter(None, [_text(problems.strip())]),
    ]
    for title, about_it, write in parts:
        lines += [f"## {title}", *filter(None, [_text(about_it)]), write(found) or _MISSING]
    lines += ["## How to reproduce it", _reproduce(about), "## How to read it", _MEANING]
    return "\n\n".join(lines) + "\n"


def charted(found: Found) -> Found:
    """The results without the peers that answered wrongly or did not start."""
    return _without(found, lambda name, peer: bool(peer.get("problem")))


def without_variants(found: Found) -> Found:
    """The results without our zip with options that are not usual."""
    usual = (OURS, PRECOMPILED)
    return _without(found, lambda name, _: name.startswith(OURS) and name not in usual)


def _without(found: Found, wanting: Callable[[str, Found], bool]) -> Found:
    wrong = {name for name, peer in found.get("peers", {}).items() if wanting(name, peer)}

    def kept(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: kept(each) for name, each in value.items() if name not in wrong}

    return {name: value if name == "about" else kept(value) for name, value in found.items()}


def percentile(values: list[float], percent: int) -> float:
    """The percentile of at least one value, 1 to 99; the module says by which method."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def shown_ms(value: float) -> str:
    """Milliseconds with three figures, or whole ones."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def deployable(found: Found, name: str) -> str:
    """What stands in the way of deploying a peer as a zip, or nothing."""
    over = found.get("size", {}).get(name, {}).get("over", 0)
    if over:
        return f"cannot be deployed: {_mb(over)} MB over the limit"
    return "in a custom image" if found.get("peers", {}).get(name, {}).get("image") else ""


def table(head: list[str], rows: Iterable[list[str]], left: int = 1) -> str:
    """Markdown with aligned columns: the first `left` of them to the left, the others right."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if n < left else "-" * (width - 1) + ":" for n, width in enumerate(widths)]

    def padded(line: list[str]) -> str:
        cells = zip(line, widths, strict=True)
        return " | ".join(c.ljust(w) if n < left else c.rjust(w) for n, (c, w) in enumerate(cells))

    return "\n".join(f"| {padded(line)} |" for line in (lines[0], rule, *lines[1:]))


def _summary(found: Found, prices: cost.Prices) -> str:
    rows = []
    for name in found.get("peers", {}):
        size = found.get("size", {}).get(name)
        warm = found.get("warm", {}).get(name, {})
        cold = found.get("cold", {}).get(name)
        memory = found.get("memory", {}).get(name)
        cells = [
            ", ".join(filter(None, [f"{_mb(size['zip'])} MB", deployable(found, name)]))
            if size
            else _NONE,
            f"{size['files']:,}" if size else _NONE,
            f"{shown_ms(cold['total'])} ms" if cold else _NONE,
            f"{shown_ms(statistics.median(warm['ms']))} ms" if warm.get("ms") else _NONE,
            _top_1(warm),
            f"{_memory_mb(memory['resident'])} MB" if memory else _NONE,
            _cheapest(prices, warm.get("ms"), memory),
        ]
        rows.append([f"**{name}**" if name == OURS else name, *cells])
    head = ["", "zip", "files", "cold", "warm", "top-1", "memory", "cost per million"]
    return table(head, rows) if rows else ""


def _cheapest(prices: cost.Prices, ms: list[float] | None, memory: dict[str, float] | None) -> str:
    size = cost.least(memory["peak"]) if memory else None
    if not (ms and size):
        return _NONE
    return f"${prices.million(statistics.median(ms), size):.2f} ({size} MB)"


def _targets(found: Found) -> str:
    lines = []
    for words, key, bound, target in TARGETS:
        ours, theirs = (_figure(found, key, name) for name in (OURS, PIP))
        if not (ours and theirs):
            lines.append(f"- {words}, {bound} {target}x: not measured in this run")
            continue
        ratio = round(ours / theirs if key == "memory" else theirs / ours, 2)  # judged as shown
        met = ratio <= target if key == "memory" else ratio >= target
        verdict = "met" if met else f"**falls short of {target}x**"
        line = f"- {ratio:.2f}x {words} ({bound} {target}x was the target): {verdict}"
        if key == "memory":
            peaks = [found[key][name]["peak"] for name in (OURS, PIP)]
            line += f"; {peaks[0] / peaks[1]:.2f}x at its peak"
        if key == "cold" and (other := _figure(found, key, PRECOMPILED)):
            line += f"; precompiled, {theirs / other:.2f}x"
        lines.append(line)
    return "\n".join(lines)


def _figure(found: Found, key: str, name: str) -> float | None:
    """What a peer is compared by: bytes or ms."""
    each = found.get(key, {}).get(name)
    if not each:
        return None
    if key == "warm":
        return statistics.median(each["ms"]) if each["ms"] else None
    value: float = each[{"size": "zip", "cold": "total", "memory": "resident"}.get(key, key)]
    return value


def _peers(found: Found) -> str:
    rows = []
    for name, peer in found.get("peers", {}).items():
        answer = peer.get("answer") or {}
        rows.append(
            [
                name,
                _packages(peer) or _NONE,
                deployable(found, name) or "as a zip",
                answer.get("className", _NONE).partition(",")[0],
                str(answer.get("classIndex", _NONE)),
                f"{answer['probability']:.3f}" if "probability" in answer else _NONE,
            ]
        )
    head = ["", "what is in it", "deployed", "answer for the sample", "class", "probability"]
    return table(head, rows, left=4) if rows else ""


def _size(found: Found) -> str:
    sizes = found.get("size", {})
    base = sizes.get(OURS, {}).get("zip")
    rows = [
        [
            name,
            deployable(found, name),
            _mb(size["zip"]),
            _ratio(size["zip"], base),
            _mb(size["unpacked"]),
            f"{size['files']:,}",
        ]
        for name, size in sizes.items()
    ]
    head = ["", "", "zip", f"to {OURS}", "unpacked", "files"]
    return "\n\n".join([table(head, rows, left=2), *_parts(found)]) if rows else ""


def _parts(found: Found) -> list[str]:
    """What our zips consist of, and what each part takes in them."""
    zips = {name: size["parts"] for name, size in found["size"].items() if size.get("parts")}
    names = list(dict.fromkeys(part for parts in zips.values() for part in parts))
    rows = [
        [name, *(_mb(parts[name]) if name in parts else _NONE for parts in zips.values())]
        for name in names
    ]
    return [table(["part, MB in the zip", *zips], rows)] if rows else []


def _warm(found: Found) -> str:
    warm = {name: each for name, each in found.get("warm", {}).items() if each.get("ms")}
    bare, ours = (_figure({"warm": warm}, "warm", name) for name in (BARE, OURS))
    rows = []
    for name, each in warm.items():
        ms = each["ms"]
        median = statistics.median(ms)
        spread = [shown_ms(percentile(ms, percent)) for percent in (10, 90, 99)]
        ratios = [_ratio(median, bare), _ratio(median, ours)]
        rows.append([name, shown_ms(median), *spread, *ratios, _top_1(each), f"{len(ms):,}"])
    head = ["", "median", "10 %", "90 %", "99 %", "to bare", f"to {OURS}", "top-1", "activations"]
    return table(head, rows) if rows else ""


def _warm_stages(found: Found) -> str:
    peers = {n: each["stages"] for n, each in found.get("warm", {}).items() if each.get("stages")}
    names = list(dict.fromkeys(stage for stages in peers.values() for stage in stages))
    rows = [
        [p, *(shown_ms(stages[n]) if n in stages else _NONE for n in names)]
        for p, stages in peers.items()
    ]
    return table(["", *names], rows) if rows else ""


def _cold(found: Found) -> str:
    cold = found.get("cold", {})
    hello = cold.get(HELLO, {}).get("total")
    rows = [
        [
            name,
            *(shown_ms(each["stages"][s]) if s in each["stages"] else _NONE for s in STAGES),
            shown_ms(each["total"]),
            _ratio(each["total"], hello),
            f"{len(each['ms']):,}",
        ]
        for name, each in cold.items()
    ]
    head = ["", *STAGES, "total", f"to {HELLO}", "rounds"]
    return "\n\n".join([table(head, rows), *filter(None, _beside(found))]) if rows else ""


def _beside(found: Found) -> list[str]:
    """What the table of cold starts does not say."""
    said = [_text(_pull(found).strip())]
    ready, mine = found.get("ready"), found.get("cold", {}).get(PRECOMPILED)
    if ready and mine:
        numpy = ready["import numpy"]
        said.append(
            _text(
                f"From the start of its process until it is ready, {PRECOMPILED}, takes "
                f"{shown_ms(mine['start'])} ms, {_ratio(mine['start'], numpy)} what `python -I -S "
                f"-c 'import numpy'` takes with numpy as pip installs it ({shown_ms(numpy)} ms)."
            )
        )
    return said


def _memory(found: Found) -> str:
    memory = found.get("memory", {})
    pip = memory.get(PIP, {}).get("peak")
    rows = [
        [
            name,
            *(_memory_mb(each[key]) for key in ("resident", "private", "peak")),
            _ratio(each["peak"], pip),
            f"{size} MB" if (size := cost.least(each["peak"])) else f"over {cost.SIZES[-1]} MB",
        ]
        for name, each in memory.items()
    ]
    head = ["", "resident", "private", "peak", f"peak to {PIP}", "fits an action of"]
    return table(head, rows) if rows else ""


def _inference(found: Found) -> str:
    times = {name: each["ms"] for name, each in found.get("inference", {}).items() if each["ms"]}
    base = statistics.median(next(iter(times.values()))) if times else None
    rows = [
        [
            name,
            shown_ms(statistics.median(ms)),
            *(shown_ms(percentile(ms, percent)) for percent in (10, 90)),
            _ratio(statistics.median(ms), base),
            f"{len(ms):,}",
        ]
        for name, ms in times.items()
    ]
    head = ["", "median", "10 %", "90 %", "to the first", "inferences"]
    return table(head, rows) if rows else ""


def _processes(found: Found) -> str:
    series = {n: dict(points) for n, points in _scaling(found, "processes") if points}
    counts = sorted({count for points in series.values() for count in points})
    rows = []
    for name, points in series.items():
        times = {count: _ratio(rate, points.get(1)) for count, rate in points.items()}
        cells = [f"{points[c]:.1f} ({times[c]})" if c in points else _NONE for c in counts]
        rows.append([name, *cells])
    return table(["", *map(str, counts)], rows) if rows else ""


def _quota(found: Found) -> str:
    rows = [
        [name, f"{cores:g}", *(shown_ms(each[k]) if k in each else _NONE for k in _QUOTA)]
        for name, points in _scaling(found, "quota")
        for cores, each in points
    ]
    if rows:
        return table(["", "cores", *_QUOTA], rows)
    problem = found.get("scaling", {}).get("quota problem")
    return f"{_MISSING} It could not be done: {problem}" if problem else ""


_QUOTA = ("median", "p90", "mean", "init")


def _megapixels(found: Found) -> str:
    rows = [
        [
            name,
            f"{megapixels:g}",
            f"{size / 1000:.0f}",
            *(
                (shown_ms(median), _ratio(median, points[0][2]), _memory_mb(peak))
                if median
                else ("failed", _NONE, _NONE)
            ),
        ]
        for name, points in _scaling(found, "megapixels")
        for megapixels, size, median, peak, *_ in points
    ]
    head = ["", "megapixels", "kB", "median", "to the first", "peak memory, MB"]
    return table(head, rows) if rows else ""


def _scaling(found: Found, key: str) -> list[tuple[str, list[Any]]]:
    return list(found.get("scaling", {}).get(key, {}).items())


_COSTS = (
    "By the model of bench/cost.py, in US dollars per million activations beyond what is free, and "
    "how many activations a month are free; cold means that each of them is a cold start, billed "
    "for all of its stages. On such platforms CPU grows with memory, which is not modelled: the "
    "times are those measured on whole cores (see Less CPU). The least memory is that of "
    + ", ".join(map(str, cost.SIZES))
    + f" MB which holds the peak of the process and {cost.PROXY / 1e6:.0f} MB for the platform's "
    "proxy. Nor is it considered whether a platform takes the peer at all."
)


def _cost(found: Found) -> str:
    found = without_variants(found)
    given = found.get("prices") or {}
    fixed = int(given.get("memory") or cost.MEMORY)
    parts = []
    for prices in cost.lists(given):
        rows = []
        for name in found.get("peers", {}):
            warm, cold = (_figure(found, key, name) for key in ("warm", "cold"))
            peak = found.get("memory", {}).get(name, {}).get("peak")
            least = cost.least(peak) if peak else None
            for memory in dict.fromkeys(size for size in (least, fixed) if size):
                cells = _priced(prices, warm, memory) + _priced(prices, cold, memory)
                if warm or cold:
                    short = peak is not None and (least is None or memory < least)
                    shown = f"{memory} MB" + (", too little" if short else "")
                    rows.append([name, shown, *cells])
        if not rows:
            return ""
        head = ["", "memory", "warm, billed", "per million", "free"]
        head += ["cold, billed", "per million", "free"]
        parts += [f"### {prices.title[0].upper()}{prices.title[1:]}", _text(_terms(prices))]
        parts.append(table(head, rows))
    return "\n\n".join(parts)


def _priced(prices: cost.Prices, ms: float | None, memory: int) -> list[str]:
    if ms is None:
        return [_NONE] * 3
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


def _where(about: Found) -> str:
    """Machine, date, versions, and what was sent."""
    what = [about.get("machine", "an unknown machine")]
    if "memory" in about:
        what.append(f"{about['memory'] / 1e9:.0f} GB")
    if "system" in about:
        what.append(about["system"])
    text = f"Measured on {', '.join(what)}, on {about.get('date', 'an unknown day')}"
    titles = {"python": "Python", "node": "Node.js", "model": "model"}
    text += "".join(f", {title} {about[key]}" for key, title in titles.items() if about.get(key))
    pictures = about.get("pictures")
    if pictures:
        count = pictures["count"]
        text += f", with {count} picture" + (
            f"s (median {pictures['bytes'] / 1000:.0f} kB)" if count > 1 else ""
        )
    return text


def _versions(found: Found) -> str:
    """What is in the peers, those with the same in one."""
    groups: dict[str, list[str]] = {}
    for name, peer in found.get("peers", {}).items():
        if peer.get("versions"):
            groups.setdefault(_packages(peer), []).append(name)
    listed = "; ".join(f"{_names(names)}: {packages}" for packages, names in groups.items())
    return _text(f"In {listed}.") if listed else ""


def _names(names: list[str]) -> str:
    """Peers in a sentence; some have a comma in their name."""
    return " and ".join(f"*{name}*" for name in names)


def _packages(peer: Found) -> str:
    return ", ".join(" ".join(each) for each in peer.get("versions", {}).items())


def _state(about: Found) -> str:
    """What the reader must know of the run as a whole."""
    text = ""
    if about.get("interrupted"):
        text += "**The run was interrupted: what is missing or short is so for that reason.** "
    if about.get("options", {}).get("quick"):
        text += "**A quick run, of few rounds: expect some scatter.** "
    return text


def _code(about: Found) -> str:
    return f"```sh\n{about.get('command', 'python -m bench')}\n```"


def _pull(found: Found) -> str:
    images = [name for name, peer in found.get("peers", {}).items() if peer.get("image")]
    if not images:
        return ""
    verb = "are" if len(images) > 1 else "is"
    return f" {_names(images)} {verb} in a custom image: pulling it is not counted."


def _left_out(found: Found) -> str:
    """The peers that did not answer as they should; nothing if all did."""
    problems = {n: p["problem"] for n, p in found.get("peers", {}).items() if p.get("problem")}
    return "".join(
        f" Left out: {_names([name])}: {problem.rstrip('.')}." for name, problem in problems.items()
    )


def _reproduce(about: Found) -> str:
    minutes = f" It took {about['minutes']:.0f} minutes here." if about.get("minutes") else ""
    return "\n\n".join(
        [
            _code(about),
            _text(
                "`--images` takes a folder of JPEGs, `--labels` a file of lines with name and "
                "class index, with background as class 0; without them the sample picture is sent. "
                f"`--quick` takes a minute or two.{minutes} What is compared is fetched from the "
                "package indexes and made before, once; that takes some minutes more. What is made "
                "of the stored figures alone (this file, the README's section, the plots) is "
                "written again by"
            ),
            "```sh\npython -m bench --from bench/results.json\n```",
        ]
    )


_MEANING = """\
- Peers run in turns, so that what else the machine does hits all alike. Read times as ratios:
  another machine has others.
- Percentiles interpolate linearly between the two nearest values.
- The bare interpreter runs the model of this zip, without decoding, scaling or JSON.
- top-1 is the share of the labelled pictures whose first class is the labelled one.
- The zip is what is sent to the platform; of a custom image, what the image has more than its base,
  zipped.
- A cold start is emulated with this machine's interpreter. Not in it: scheduling, making the
  container, pulling an image, the network, a disk that is not in the page cache.
- Node.js sizes its heap by the machine's memory: within an action's limit it may take less.
- The peak is the most that was resident at any time; private is what was, without mapped files."""


def _text(text: str) -> str:
    """A paragraph, in lines of up to 100 characters."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _top_1(warm: Found) -> str:
    right, labelled = warm.get("right"), warm.get("labelled")
    return f"{right / labelled:.3f}" if right is not None and labelled else _NONE


def _mb(size: float) -> str:
    return f"{size / 1e6:.2f}"


def _memory_mb(size: float) -> str:
    return f"{size / 1e6:.0f}"


def _ratio(value: float, base: float | None) -> str:
    if not base:
        return _NONE
    ratio = value / base
    return f"{ratio:.1f}x" if ratio >= 9.995 else f"{ratio:.2f}x"
