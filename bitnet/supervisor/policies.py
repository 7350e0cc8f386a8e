"""Who starts next. Pure: no clock, no loop; the scheduler says what time it is and what fits."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol

from bitnet.errors import InvalidInput
from bitnet.supervisor.buckets import Buckets
from bitnet.supervisor.job import Job, Usage

Accept = Callable[[Job], bool]


class Policy(Protocol):
    """The order in which waiting jobs are asked whether they fit."""

    patience: int
    """How many younger jobs may take what a job waits for before its needs are kept for it."""

    def add(self, job: Job, now: float) -> None:
        """A job begins to wait."""

    def discard(self, job: Job) -> None:
        """A waiting job goes away."""

    def take(self, accept: Accept, now: float) -> Job | None:
        """Take out the first job, in the order of this policy, that `accept` wants."""


class WeightedFair:
    """Backends share the slots by weight, whatever the lengths of their jobs.

    Each backend has a virtual time: the slot-seconds it used, divided by its weight. The one that is behind comes
    first. Running jobs count as what such jobs usually take (else one backend would get all slots that become free
    at one moment) and as what they really took when that is more. A backend that had nothing waiting is moved up to
    the virtual time of the others when it comes back: time spent idle earns nothing. (Goyal, Vin, Cheng: "Start-time
    Fair Queuing", 1996, with used time in the place of declared lengths.)
    """

    patience = 0

    def __init__(self, usage: Mapping[str, Usage], weights: Mapping[str, float]) -> None:
        self._usage = usage
        self._weights = weights
        self._waiting: dict[str, OrderedDict[int, Job]] = {}
        self._lift: defaultdict[str, float] = defaultdict(float)
        self._virtual_time = 0.0

    def add(self, job: Job, now: float) -> None:
        queue = self._waiting.get(job.backend)
        if queue is None:
            queue = self._waiting[job.backend] = OrderedDict()
            behind = self._virtual_time - self._at(job.backend, self._usage[job.backend].seconds(now))
            self._lift[job.backend] += max(behind, 0.0)
        queue[job.number] = job

    def discard(self, job: Job) -> None:
        queue = self._waiting[job.backend]
        del queue[job.number]
        if not queue:
            del self._waiting[job.backend]

    def take(self, accept: Accept, now: float) -> Job | None:
        def foreseen(backend: str) -> tuple[float, int]:
            return self._at(backend, self._usage[backend].foreseen(now)), next(iter(self._waiting[backend]))

        order = sorted(self._waiting, key=foreseen) if len(self._waiting) > 1 else list(self._waiting)
        for backend in order:
            job = next(iter(self._waiting[backend].values()))
            if accept(job):
                self._virtual_time = max(self._virtual_time, self._at(backend, self._usage[backend].seconds(now)))
                self.discard(job)
                return job
        return None

    def _at(self, backend: str, used: float) -> float:
        return self._lift[backend] + used / self._weights.get(backend, 1.0)


class Priority:
    """The lowest priority value first, and of equals the one that came first."""

    patience = 0

    def __init__(self) -> None:
        self._jobs = Buckets(
            bucket_of=lambda job: (job.priority, *sorted(job.needs.items())),
            rank=lambda job: (job.priority, job.number),
        )

    def add(self, job: Job, now: float) -> None:  # noqa: ARG002 - of the protocol
        self._jobs.add(job)

    def discard(self, job: Job) -> None:
        self._jobs.discard(job)

    def take(self, accept: Accept, now: float) -> Job | None:  # noqa: ARG002 - of the protocol
        return self._jobs.take(accept)


class ResourceAware:
    """In the order of arrival; a job that does not fit yet lets some smaller ones pass, but not for ever."""

    patience = 8

    def __init__(self) -> None:
        self._jobs = Buckets(bucket_of=lambda job: tuple(sorted(job.needs.items())), rank=lambda job: (0.0, job.number))

    def add(self, job: Job, now: float) -> None:  # noqa: ARG002 - of the protocol
        self._jobs.add(job)

    def discard(self, job: Job) -> None:
        self._jobs.discard(job)

    def take(self, accept: Accept, now: float) -> Job | None:  # noqa: ARG002 - of the protocol
        return self._jobs.take(accept)


POLICIES = ("weighted-fair", "priority", "resource-aware")


def policy_named(name: str, usage: Mapping[str, Usage], weights: Mapping[str, float]) -> Policy:
    """The policy of that name.

    Raises:
        InvalidInput: there is none.
    """
    if name == "weighted-fair":
        return WeightedFair(usage, weights)
    if name == "priority":
        return Priority()
    if name == "resource-aware":
        return ResourceAware()
    raise InvalidInput(
        f"scheduling_policy={name!r}: there is no such policy", next_step=f"take one of: {', '.join(POLICIES)}"
    )
