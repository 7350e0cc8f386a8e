"""What the runtime counts, in Prometheus' text format and as an OTLP/JSON payload.

Names are part of the interface: prefix `bitnet_runtime_`, base units, counters end in `_total`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bitnet.machine import Machine

# A one-shot answer takes seconds to minutes, a server lives for days.
_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)


class Metrics:
    """The counters of one runtime, in a registry of their own.

    Args:
        machine: asked for the machine's state at each reading.
        breakers: asked likewise which programs have a breaker, and whether it is open.
    """

    def __init__(self, machine: Callable[[], Machine], breakers: Callable[[], dict[str, bool]]) -> None:
        self.registry = CollectorRegistry()
        self._launches = Counter(
            "bitnet_runtime_launches_total",
            "Launches by how they ended.",
            ["program", "outcome"],
            registry=self.registry,
        )
        self._retries = Counter(
            "bitnet_runtime_retries_total", "Launches that were tried again.", ["program"], registry=self.registry
        )
        self._refusals = Counter(
            "bitnet_runtime_refusals_total",
            "Launches refused before anything started, by kind of error.",
            ["program", "error"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "bitnet_runtime_launch_duration_seconds",
            "From start to end of a launched program.",
            ["program"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Gauges(machine, breakers))

    def launched(self, program: str, outcome: str, seconds: float) -> None:
        """A program ended."""
        self._launches.labels(program, outcome).inc()
        self._seconds.labels(program).observe(seconds)

    def retried(self, program: str) -> None:
        """A launch is tried again."""
        self._retries.labels(program).inc()

    def refused(self, program: str, error: str) -> None:
        """A launch was refused for a reason found beforehand."""
        self._refusals.labels(program, error).inc()

    def families(self) -> list[Metric]:
        """All metrics now, without the `_created` times that no consumer here reads."""
        found = []
        for family in self.registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            found.append(family)
        return found

    def prometheus(self) -> str:
        """Prometheus' text format, version 0.0.4."""
        return generate_latest(_Families(self.families())).decode()


class _Families(CollectorRegistry):
    """Families that were collected already, as a registry to print."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._collected = families

    def collect(self) -> Iterable[Metric]:
        return self._collected


class _Gauges(Collector):
    """The machine's state, read at each collection."""

    def __init__(self, machine: Callable[[], Machine], breakers: Callable[[], dict[str, bool]]) -> None:
        self._machine = machine
        self._breakers = breakers

    def describe(self) -> Iterable[Metric]:
        return []  # said explicitly, or registration would collect once

    def collect(self) -> Iterable[Metric]:
        machine = self._machine()
        cpu, memory = machine.cpu, machine.memory
        yield _gauge("cpus", "CPUs that this process may use.", cpu.usable)
        yield _gauge("threads", "Threads that threads=auto gives a program.", cpu.threads)
        yield _gauge("memory_bytes", "Memory that this process may use.", memory.total)
        yield _gauge("memory_available_bytes", "Memory that is free for this process.", memory.available)
        total = GaugeMetricFamily("bitnet_runtime_gpu_memory_bytes", "Memory of a visible GPU.", labels=["gpu", "name"])
        free = GaugeMetricFamily(
            "bitnet_runtime_gpu_memory_free_bytes", "Free memory of a GPU.", labels=["gpu", "name"]
        )
        for device in machine.gpus.devices:
            total.add_metric([str(device.index), device.name], device.memory_total)
            free.add_metric([str(device.index), device.name], device.memory_free)
        yield total
        yield free
        breaker = GaugeMetricFamily(
            "bitnet_runtime_breaker_open", "1 while a program is left alone after failures.", labels=["program"]
        )
        for program, is_open in self._breakers().items():
            breaker.add_metric([program], float(is_open))
        yield breaker


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"bitnet_runtime_{name}", help_text, value=value)
