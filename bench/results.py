"""The figures of a benchmark run, suite by suite.

Any part may be empty: a run may be short or interrupted. Times are in ms and sizes in bytes unless
a name says otherwise. Dictionaries have the peers' names as keys, in the order of the tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.machine import Machine


@dataclass
class Answer:
    """A peer's answer to the sample picture: the first class."""

    class_name: str
    probability: float
    class_index: int


@dataclass
class PeerInfo:
    """The facts about a peer that reports need.

    Attributes:
        is_ours: whether it is a zip that build_zip.py built.
        is_variant: whether it is our zip with an option that few people would take.
        is_image: whether it is a custom image, so that a cold start neither sends nor unpacks it.
        interpreter: the package that runs the model.
        versions: version by package.
        answer: its answer to the sample picture; None if there was none.
        problem: why it was not measured; empty if it was.
    """

    is_ours: bool = False
    is_variant: bool = False
    is_image: bool = False
    interpreter: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    answer: Answer | None = None
    problem: str = ""


@dataclass
class Size:
    """The size of what is deployed; `components` are compressed bytes by package, for our zips."""

    zip: int
    unpacked: int
    files: int
    over_limit: int = 0
    components: dict[str, int] = field(default_factory=dict)


@dataclass
class Warm:
    """The warm activations of one peer.

    Attributes:
        ms: time of each, measured outside the action.
        stages: median per stage, for peers that report stages.
        right: labelled pictures whose first class was the label; None without labels.
        labelled: labelled pictures that were sent.
    """

    ms: list[float]
    stages: dict[str, float] = field(default_factory=dict)
    right: int | None = None
    labelled: int = 0


@dataclass
class Memory:
    """The memory of an action's process after its warm activations; `peak` is since its start."""

    resident: int
    private: int
    peak: int


@dataclass
class Cold:
    """The cold starts of one peer: medians by stage (of bench/measure/cold.py), and each total."""

    stages: dict[str, float]
    total: float
    ms: list[float]


@dataclass
class Inference:
    """One model in one interpreter, on one thread; `types` are those of activations and weights."""

    peer: str
    interpreter: str
    types: str
    ms: list[float] = field(default_factory=list)


@dataclass
class Throughput:
    """Warm activations per second of several processes; `under_quota` with one core for all."""

    processes: int
    per_second: float
    under_quota: float | None = None


@dataclass
class Run:
    """A benchmark run: where, when and how it was measured, then the figures of each suite.

    Attributes:
        machine: the machine it ran on.
        date: the day, as YYYY-MM-DD.
        model: name of the model.
        command: command line, without the user's paths.
        pictures: number of pictures that the warm activations sent.
        picture_bytes: median size of their files.
        quick: whether it had few rounds.
        minutes: duration.
        interrupted: whether Ctrl-C ended it.
        problems: reason for what ended early, by suite and peer.
        peers: facts by peer.
        proxy_factor: this machine's time for hello world by the time on the machine whose proxy was
            measured; the proxy's times are multiplied by it.
        quota_problem: why no CPU quota could be set.
    """

    machine: Machine
    date: str
    model: str
    command: str
    pictures: int
    picture_bytes: int
    quick: bool = False
    minutes: float = 0.0
    interrupted: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    peers: dict[str, PeerInfo] = field(default_factory=dict)
    size: dict[str, Size] = field(default_factory=dict)
    warm: dict[str, Warm] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    proxy_factor: float | None = None
    cold: dict[str, Cold] = field(default_factory=dict)
    inference: list[Inference] = field(default_factory=list)
    processes: dict[str, list[Throughput]] = field(default_factory=dict)
    quota_problem: str = ""
