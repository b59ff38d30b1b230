"""The measurements, section by section: who is compared is made first, then all take turns."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench import results
from bench.measure import cold, warm
from bench.measure import processes as scaling
from bench.measure.cgroup import NoQuota
from bench.measure.inference import measure as measure_interpreters
from bench.measure.networks import contenders
from bench.peers import peer as peers
from bench.peers import pip, registry
from bench.peers.peer import Peer
from builder.artifact import audit, platform
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.model import resolve
from builder.model.resolve import Model, ModelOptions
from builder.model.run import run_model

SECTIONS = ("size", "warm", "cold", "inference", "scaling")
PIP_ZIP, LITERT = pip.named(pip.TFLITE_RUNTIME), pip.named(pip.AI_EDGE_LITERT)
INTERPRETERS = (peers.OURS, PIP_ZIP, LITERT, pip.named(pip.ONNXRUNTIME))
"""The peers whose interpreters are compared."""

Progress = Callable[[str], None]


@dataclass
class Bench:
    """A run that is under way.

    Attributes:
        options: of the command line.
        console: shows what is built.
        progress: shows what is going on.
        run: the results so far.
        peers: those that answer as they should.
    """

    options: argparse.Namespace
    console: Console
    progress: Progress
    run: results.Run
    peers: list[Peer] = field(default_factory=list)

    def peer(self, name: str) -> Peer | None:
        """The one of that name, if it answers as it should."""
        return next((peer for peer in self.peers if peer.name == name), None)


def measure(bench: Bench, pictures: warm.Pictures) -> None:
    """Fill `bench.run`; what was measured before an error or an interrupt is in it.

    Raises:
        BuildError: our own zip cannot be made or does not answer as it should.
    """
    options, run = bench.options, bench.run
    sections = options.only or SECTIONS
    bench.progress("the model")
    chosen = resolve.resolve_model(
        options.model, ModelOptions(labels=options.class_names), bench.console
    )
    run.model = chosen.settings.name
    _make(bench, chosen, INTERPRETERS if [*sections] == ["inference"] else ())
    ours = bench.peer(peers.OURS)
    assert ours  # or else it was raised
    steps: dict[str, Callable[[], None]] = {
        "size": lambda: _size(bench),
        "warm": lambda: _warm(bench, ours, pictures),
        "cold": lambda: _cold(bench),
        "inference": lambda: _inference(bench, chosen, ours),
        "scaling": lambda: _scaling(bench),
    }
    for section, step in steps.items():
        if section in sections:
            try:
                step()
            except BuildError as error:  # what the other sections measure does not depend on it
                run.problems[section] = str(error)


def _make(bench: Bench, chosen: Model, useful: Sequence[str]) -> None:
    """Make the peers and ask each for the sample picture's class.

    One that cannot be made, or answers something else, is reported and not measured; ours has to.

    Args:
        bench: its options may name those that are wanted.
        chosen: the model.
        useful: names of the peers that will be measured; empty for all.

    Raises:
        BuildError: a peer is wanted that is none; or as `measure`.
    """
    options = bench.options
    expected = _expected(chosen)
    label = chosen.settings.labels[expected]
    makers = registry.makers(
        chosen, bench.console, options.class_names, options.runtime, variants=not options.quick
    )
    wanted = {peers.OURS, *(options.peers or makers)}
    if unknown := wanted - makers.keys():
        raise BuildError(
            f"--peers: expected some of {', '.join(makers)}, found {', '.join(sorted(unknown))}"
        )
    for name, make in makers.items():
        if name not in wanted or (useful and name not in useful):
            continue
        bench.progress(f"making {name}")
        facts = bench.run.peers[name] = results.Peer()
        try:
            peer = make()
            facts.versions, facts.image = peer.versions, peer.image
            bench.run.node = peer.versions.get("node", bench.run.node)
            with peer.launched() as action:
                answer = action.send(peers.line(SAMPLE.read_bytes(), details=True))
            if not answer.get("results"):
                raise BuildError(f"expected {label}, found {json.dumps(answer)[:300]}")
            first = answer["results"][0]
            facts.answer = results.Answer(
                first["className"], first["probability"], first["classIndex"]
            )
            if facts.answer.class_index != expected:
                raise BuildError(f"expected {label}, found {facts.answer.class_name}")
        except BuildError as error:
            if name.startswith(peers.OURS):
                raise
            facts.problem = str(error)
            continue
        bench.peers.append(peer)


def _expected(chosen: Model) -> int:
    """Index of the sample picture's class: by the catalogue, or else by the network itself."""
    if chosen.sample:
        return int(chosen.settings.wordnet_ids.index(chosen.sample))
    return int(run_model(chosen.path, chosen.settings, SAMPLE).scores[-1].argmax())


def _size(bench: Bench) -> None:
    """Of each zip, with the bytes over the platform's limit; of ours, of each part."""
    for peer in bench.peers:
        size = bench.run.size[peer.name] = peers.size(peer.archive)
        size.over = 0 if peer.image else max(0, size.zip - platform.zip_limit())
        if peer.name.startswith(peers.OURS):
            parts = audit.audit_zip(peer.archive).components
            size.parts = {part.name: part.packed for part in parts}


def _warm(bench: Bench, ours: Peer, pictures: warm.Pictures) -> None:
    options = bench.options
    with warm.bare(ours, bench.console, options.runtime) as bare:
        warm.measure(bench.peers, bare, pictures, options.warm, bench.run, bench.progress)


def _cold(bench: Bench) -> None:
    litert = bench.peer(LITERT)
    cold.measure(
        peers.hello(),
        [peers.hello(precompiled=True), *bench.peers],
        peers.image(),
        bench.options.cold,
        SAMPLE.read_bytes(),
        bench.run,
        bench.progress,
        litert.unpacked() if litert else None,
    )


def _inference(bench: Bench, chosen: Model, ours: Peer) -> None:
    options, run = bench.options, bench.run
    compared = contenders(
        chosen, ours, bench.peers, options.variants, options.runtime, bench.console, run
    )
    python = peers.interpreter().path
    measure_interpreters([*compared], python, options.inferences, run, bench.progress)


def _scaling(bench: Bench) -> None:
    """Of what people would deploy: this zip, and the one with tflite-runtime."""
    compared = [peer for peer in bench.peers if peer.name in (peers.OURS, PIP_ZIP)]
    picture, quick = SAMPLE.read_bytes(), bench.options.quick
    seconds, starts = (0.5, 1) if quick else (3.0, 5)
    of_run, progress = bench.run.scaling, bench.progress
    scaling.processes(compared, picture, of_run, progress, seconds, starts)
    try:
        shares = scaling.QUOTAS[1:] if quick else scaling.QUOTAS
        scaling.quota(compared, picture, of_run, progress, seconds, starts, shares)
    except NoQuota as error:
        of_run.quota_problem = "; ".join(filter(None, [str(error), error.hint]))
    sizes = scaling.SIZES[:3] if quick else scaling.SIZES
    scaling.megapixels(compared, of_run, progress, 5 if quick else 15, sizes)
