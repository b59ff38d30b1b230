"""Runs the suites of a benchmark: makes the peers, checks their answers, then measures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.measure.activation import Pictures, encode_activation
from bench.measure.cold import measure_cold
from bench.measure.inference import list_contenders, measure_inference
from bench.measure.processes import measure_processes
from bench.measure.rounds import Progress
from bench.measure.size import measure_size
from bench.measure.warm import measure_warm, start_bare_interpreter
from bench.peers import pip, registry
from bench.peers.hello import build_hello_world
from bench.peers.ours import OURS
from bench.peers.peer import Peer, find_python
from bench.results import Answer, PeerInfo, Run
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.model.resolve import Model, ModelOptions, resolve_model

SUITES = ("size", "warm", "cold", "inference", "processes")


@dataclass
class Session:
    """A benchmark run in progress; `peers` are those that answered rightly, our zip first."""

    options: argparse.Namespace
    console: Console
    progress: Progress
    run: Run
    pictures: Pictures
    peers: list[Peer] = field(default_factory=list)


def run_suites(session: Session) -> None:
    """Make the peers and fill `session.run`; figures before an error or an interrupt stay.

    Raises:
        BuildError: our own zip cannot be made, or does not answer rightly.
    """
    options = session.options
    session.progress("the model")
    model_options = ModelOptions(labels=options.class_names)
    model = resolve_model(options.model, model_options, session.console)
    session.run.model = model.settings.name
    make_peers(session, model)
    steps: dict[str, Callable[[], None]] = {
        "size": lambda: measure_size(session.peers, session.run),
        "warm": lambda: _warm(session),
        "cold": lambda: _cold(session),
        "inference": lambda: _inference(session, model),
        "processes": lambda: _processes(session),
    }
    for suite, step in steps.items():
        if suite in (options.only or SUITES):
            try:
                step()
            except BuildError as error:  # the other suites do not depend on it
                session.run.problems[suite] = str(error)


def make_peers(session: Session, model: Model) -> None:
    """Make the peers and ask each for the sample picture's class; the model's or ours is right.

    A peer that cannot be made or answers wrongly is reported and not measured; ours must not fail.

    Raises:
        BuildError: --peers names an unknown one; or as `run_suites`.
    """
    options, run = session.options, session.run
    makers = registry.peer_makers(
        model, session.console, options.class_names, options.runtime, variants=not options.quick
    )
    wanted = {OURS, *(options.peers or makers)}
    if unknown := wanted - makers.keys():
        names = ", ".join(sorted(unknown))
        raise BuildError(f"--peers: expected some of {', '.join(makers)}, found {names}")
    expected = model.settings.wordnet_ids.index(model.sample) if model.sample else None
    for name in makers:
        if name not in wanted:
            continue
        session.progress(f"making {name}")
        run.peers[name] = PeerInfo()
        try:
            peer = makers[name]()
            run.peers[name] = peer.info
            answer = peer.info.answer = ask_for_sample(peer)
            expected = answer.class_index if expected is None else expected
            if answer.class_index != expected:
                label = model.settings.labels[expected]
                raise BuildError(f"expected {label}, found {answer.class_name}")
        except BuildError as error:
            if name == OURS:
                raise
            run.peers[name].problem = str(error)
            continue
        session.peers.append(peer)


def ask_for_sample(peer: Peer) -> Answer:
    """Return a peer's answer to the sample picture; raises BuildError if it has none."""
    with peer.launched() as action:
        answer = action.send(encode_activation(SAMPLE.read_bytes(), details=True))
    if not answer.get("results"):
        raise BuildError(f"expected results, found {json.dumps(answer)[:300]}")
    first = answer["results"][0]
    return Answer(first["className"], first["probability"], first["classIndex"])


def _warm(session: Session) -> None:
    options = session.options
    with start_bare_interpreter(session.peers[0], session.console, options.runtime) as infer:
        measure_warm(
            session.peers, infer, session.pictures, options.warm, session.run, session.progress
        )


def _cold(session: Session) -> None:
    measure_cold(
        build_hello_world(),
        [build_hello_world(precompiled=True), *session.peers],
        SAMPLE.read_bytes(),
        session.options.cold,
        session.run,
        session.progress,
    )


def _inference(session: Session, model: Model) -> None:
    options = session.options
    contenders = list_contenders(model, session.peers, options.runtime, session.console)
    python, count = find_python().path, options.inferences
    measure_inference(list(contenders), python, count, session.run, session.progress)


def _processes(session: Session) -> None:
    """Measure what people would deploy: our zip, and the one with tflite-runtime."""
    names = (OURS, pip.peer_name(pip.TFLITE_RUNTIME))
    compared = [peer for peer in session.peers if peer.name in names]
    seconds = 0.5 if session.options.quick else 5.0
    measure_processes(compared, SAMPLE.read_bytes(), seconds, session.run, session.progress)
