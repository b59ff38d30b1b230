"""Inferences in turns: every interpreter runs the same picture, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bench.measure.interpreter import Worker
from bench.measure.networks import Contender
from bench.peers.peer import shuffled
from bench.results import Inference, Run
from builder.base.errors import BuildError


def measure(
    contenders: Sequence[Contender],
    python: str,
    count: int,
    run: Run,
    progress: Callable[[str], None],
) -> None:
    """Fill the run's `inference`; up to an interrupt, if there is one.

    One that does not load its model, or dies, takes no part in further rounds; what it did until
    then stays, and the run's `problems` say so.

    Args:
        contenders: what is compared.
        python: path of the CPython that runs them.
        count: inferences of each.
        run: the results.
        progress: told what is going on.
    """
    workers: list[tuple[Worker, Inference]] = []
    with ExitStack() as running:
        for each in contenders:
            progress(f"one inference: {each.title}")
            try:
                worker = Worker(each.title, python, each.packages, each.model)
            except BuildError as error:
                run.problems[f"inference, {each.title}"] = str(error)
                continue
            running.enter_context(worker)
            run.inference.append(
                Inference(each.interpreter, each.network, [], each.kernels, each.forced)
            )
            workers.append((worker, run.inference[-1]))
        for number in range(count):
            progress(f"one inference: round {number + 1} of {count}")
            for worker, inference in shuffled(workers, number):
                try:
                    inference.ms.append(round(worker.inference(), 3))
                except BuildError as error:
                    run.problems[f"inference, {worker.name}"] = str(error)
                    workers.remove((worker, inference))
