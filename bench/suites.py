"""Runs the suites of a benchmark: makes the peers, checks their answers, then measures."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from bench.measure.activation import encode_activation, time_activation
from bench.measure.cold import measure_cold
from bench.measure.size import measure_size
from bench.measure.warm import measure_warm
from bench.peers import pip, tfjs
from bench.peers.ours import OURS, PRECOMPILED, QUIET, WHEELS, build_ours
from bench.peers.peer import Peer
from bench.results import Answer, PeerInfo
from bench.session import Session
from builder.artifact.smoke import SAMPLE
from builder.base.errors import BuildError
from builder.model.resolve import Model, ModelOptions, resolve_model

SUITES: dict[str, Callable[[Session], None]] = {
    "size": measure_size,
    "warm": measure_warm,
    "cold": measure_cold,
}


def run_suites(
    session: Session,
    suites: Collection[str],
    peers: Collection[str],
    model_name: str | None,
) -> None:
    """Make the peers and fill `session.run`; results before an error stay.

    Args:
        session: gets the peers and the results.
        suites: some of SUITES.
        peers: names of peers besides our zip; empty for all.
        model_name: the model as build_zip.py takes it.

    Raises:
        BuildError: our own zip cannot be made or does not answer rightly, or a name is unknown.
    """
    session.show_progress("the model")
    model = resolve_model(model_name, ModelOptions(), QUIET)
    session.run.model = model.settings.name
    makers = list_makers(model)
    wanted = {OURS, *(peers or makers)}
    if unknown := wanted - makers.keys():
        names = ", ".join(sorted(unknown))
        raise BuildError(f"--peers: expected some of {', '.join(makers)}, found {names}")
    make_peers({name: makers[name] for name in makers if name in wanted}, model, session)
    for suite, measure in SUITES.items():
        if suite in suites:
            try:
                measure(session)
            except BuildError as error:  # the other suites do not depend on it
                session.run.problems[suite] = str(error)


def list_makers(model: Model) -> dict[str, Callable[[], Peer]]:
    """Return the functions that make the peers, by name in the order of the tables."""
    makers: dict[str, Callable[[], Peer]] = {
        name: partial(build_ours, name, model) for name in (OURS, PRECOMPILED, WHEELS)
    }
    for package, name in pip.NAMES.items():
        makers[name] = partial(pip.build_peer, package, model)
    makers[tfjs.NAME] = partial(tfjs.build_peer, model)
    return makers


def make_peers(makers: dict[str, Callable[[], Peer]], model: Model, session: Session) -> None:
    """Make the peers and ask each for the sample picture's class; the model's or ours is right.

    A peer that cannot be made or answers wrongly is reported and not measured; ours must not fail.
    """
    expected = model.settings.wordnet_ids.index(model.sample) if model.sample else None
    for name, make in makers.items():
        session.show_progress(f"making {name}")
        try:
            peer = make()
            answer = peer.info.answer = ask_for_sample(peer)
            expected = answer.class_index if expected is None else expected
            if answer.class_index != expected:
                label = model.settings.labels[expected]
                raise BuildError(f"expected {label}, found {answer.class_name}")
        except BuildError as error:
            if name == OURS:
                raise
            session.run.peers[name] = PeerInfo(problem=str(error))
        else:
            session.run.peers[name] = peer.info
            session.peers.append(peer)


def ask_for_sample(peer: Peer) -> Answer:
    """Return a peer's answer to the sample picture; raises BuildError if it is an error."""
    line = encode_activation(SAMPLE.read_bytes(), details=True)
    with peer.launched() as action:
        _, answer = time_activation(action, line)
    first = answer["results"][0]
    return Answer(first["className"], first["probability"], first["classIndex"])
