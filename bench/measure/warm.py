"""The warm suite: each picture goes to each peer in turn, as a line on its standard input.

All processes live side by side, as on a node, and each finds the caches as the others left them.
The bare interpreter runs our zip's model on one picture: the floor. Answers are compared with the
labels. The memory of each process is read at the end.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from functools import partial

from bench.measure.activation import encode_activation, time_activation
from bench.measure.bare_interpreter import start_inferences
from bench.measure.memory import read_memory
from bench.peers.ours import find_packages
from bench.peers.peer import extract_model
from bench.pictures import Pictures
from bench.results import Warm
from bench.session import Session
from builder.artifact.actionloop import RunningAction
from builder.base.errors import BuildError

BARE = "bare interpreter"


def measure_warm(session: Session) -> None:
    """Fill the run's `warm` and `memory`."""
    run, pictures, ours = session.run, session.pictures, session.peers[0]
    first = encode_activation(next(iter(pictures.contents.values())))
    actions: dict[str, RunningAction] = {}
    run.warm = {BARE: Warm([])}
    model = extract_model(ours.archive, ours.unpacked)
    with ExitStack() as running:
        infer = running.enter_context(start_inferences(ours.executable, find_packages(), model))
        rounds = {BARE: lambda _: run.warm[BARE].ms.append(round(infer(), 3))}
        for peer in session.peers:
            session.show_progress(f"starting {peer.name}")
            try:
                action = running.enter_context(peer.launched())
                time_activation(action, first)
            except BuildError as error:
                run.problems[f"warm, {peer.name}"] = str(error)
                continue
            actions[peer.name], run.warm[peer.name] = action, Warm([])
            rounds[peer.name] = partial(send_picture, action, pictures, run.warm[peer.name])
        session.take_turns("warm", rounds)
        for name, action in actions.items():
            with suppress(OSError, KeyError):  # a process that has ended has no memory
                run.memory[name] = read_memory(action.pid)


def send_picture(action: RunningAction, pictures: Pictures, warm: Warm, number: int) -> None:
    """Send the picture of a round and add what was measured; raises BuildError.

    Pictures are sent one after the other, again and again. Only the first answer for each is
    compared with its label.
    """
    names = list(pictures.contents)
    name = names[number % len(names)]
    line = encode_activation(pictures.contents[name], details=True)
    ms, answer = time_activation(action, line)
    warm.ms.append(round(ms, 3))
    if number < len(names) and name in pictures.labels:
        warm.labelled += 1
        is_right = answer["results"][0]["classIndex"] == pictures.labels[name]
        warm.right = (warm.right or 0) + is_right
