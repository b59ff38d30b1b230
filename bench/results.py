"""What a run of the measurements gives. Any part may be empty: a run may be short, or interrupted.

Times are in ms and sizes in bytes (10^6 are a MB), unless a name says otherwise. Dictionaries are
by the peers' names, in the order of the tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.machine import Machine


@dataclass
class Sent:
    """The pictures that were sent warm.

    Attributes:
        count: of pictures.
        bytes: of the middle one by size.
        labelled: whether their classes are known.
    """

    count: int
    bytes: int
    labelled: bool


@dataclass
class Rounds:
    """How often each was measured, as far as it went."""

    warm: int
    cold: int
    inferences: int
    quick: bool


@dataclass
class Answer:
    """What a peer said to the sample picture."""

    class_name: str
    probability: float
    class_index: int


@dataclass
class Peer:
    """One of what was compared.

    Attributes:
        versions: of what is in it, by package.
        image: whether it is a custom image.
        answer: to the sample picture; None if there was none.
        problem: why it was not measured; empty if it was.
    """

    versions: dict[str, str] = field(default_factory=dict)
    image: bool = False
    answer: Answer | None = None
    problem: str = ""


@dataclass
class Size:
    """Of what is deployed.

    Attributes:
        zip: the zip.
        unpacked: all files in it.
        files: how many.
        over: by how much the zip exceeds the platform's limit.
        parts: of our zips, by part: what it takes in the zip.
    """

    zip: int
    unpacked: int
    files: int
    over: int = 0
    parts: dict[str, int] = field(default_factory=dict)


@dataclass
class Warm:
    """Warm activations of one peer.

    Attributes:
        ms: of each, as seen from outside.
        stages: medians by stage, as the action's own clock has them; empty if it does not tell.
        right: of how many labelled pictures the first class was the labelled one; None if none was
            sent.
        labelled: how many labelled pictures were sent.
    """

    ms: list[float]
    stages: dict[str, float] = field(default_factory=dict)
    right: int | None = None
    labelled: int = 0


@dataclass
class Memory:
    """Of an action's process after its warm activations; `peak` is since its start."""

    resident: int
    private: int
    peak: int


@dataclass
class Cold:
    """Cold starts of one peer.

    Attributes:
        stages: medians by stage; `bench.measure.cold` says what they are.
        total: their sum.
        start: of it, the median from the start of the process to its acknowledgement.
        ms: of each in all.
    """

    stages: dict[str, float]
    total: float
    start: float
    ms: list[float]


OUR, XNNPACK = "our", "XNNPACK's"
"""Whose kernels a build that is made to be compared is held to."""


@dataclass
class Inference:
    """One network in one interpreter, one thread.

    Attributes:
        interpreter: what runs it, with its version.
        network: types of activations and weights.
        ms: of each inference.
        kernels: whose they are, in a build that a user does not get: OUR or XNNPACK; else empty,
            and the CPU decides.
        forced: the class of CPU that the kernels are of, where it is not this machine's; else
            empty.
    """

    interpreter: str
    network: str
    ms: list[float]
    kernels: str = ""
    forced: str = ""


@dataclass
class Throughput:
    """Warm activations per second of so many processes together."""

    processes: int
    per_second: float


@dataclass
class UnderQuota:
    """Warm activations and init with a share of a CPU."""

    cores: float
    median: float
    p90: float
    mean: float
    init: float


@dataclass
class AtSize:
    """Warm activations with a picture of one size.

    Attributes:
        megapixels: of the picture.
        bytes: of its file.
        median: None if it failed.
        peak: memory of the process; None if it failed.
        problem: why it failed.
    """

    megapixels: float
    bytes: int
    median: float | None = None
    peak: int | None = None
    problem: str = ""


@dataclass
class Scaling:
    """How peers scale; `quota_problem` says why there are no, or not all, figures of quotas."""

    processes: dict[str, list[Throughput]] = field(default_factory=dict)
    quota: dict[str, list[UnderQuota]] = field(default_factory=dict)
    megapixels: dict[str, list[AtSize]] = field(default_factory=dict)
    quota_problem: str = ""


@dataclass
class Run:
    """All of it.

    Attributes:
        machine: where.
        date: when, as YYYY-MM-DD.
        model: its name.
        command: for a reader.
        sent: what was sent warm.
        rounds: how often.
        node: version of Node.js, if there was one.
        minutes: how long it took.
        interrupted: whether Ctrl-C ended it.
        problems: what was ended early, and why, by section or by section and peer.
        prices: those of the command line, by name.
        peers: who was compared.
        size: see there, as the others.
        pace: how much slower this machine is than where the proxy's prices are from.
        import_numpy: until a process has imported numpy, as pip installs it.
    """

    machine: Machine
    date: str
    model: str
    command: str
    sent: Sent
    rounds: Rounds
    node: str = ""
    minutes: float = 0.0
    interrupted: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    prices: dict[str, float | None] = field(default_factory=dict)
    peers: dict[str, Peer] = field(default_factory=dict)
    size: dict[str, Size] = field(default_factory=dict)
    warm: dict[str, Warm] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    pace: float | None = None
    cold: dict[str, Cold] = field(default_factory=dict)
    import_numpy: float | None = None
    inference: list[Inference] = field(default_factory=list)
    scaling: Scaling = field(default_factory=Scaling)
