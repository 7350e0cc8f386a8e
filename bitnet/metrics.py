"""What the runtime counts, in Prometheus' text format and as an OTLP/JSON payload.

Names are part of the interface: prefix `bitnet_runtime_`, base units, counters end in `_total`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bitnet.probes import Health, ProbeResult

# A one-shot answer takes seconds to minutes, a server lives for days.
_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)

Look = Callable[[], Mapping[str, ProbeResult]]

# Gauges of one value: name, help, and which fact of which probe it is.
_FACTS = (
    ("cpus", "CPUs that this process may use.", "cpu", "usable"),
    ("threads", "Threads that threads=auto gives a program.", "cpu", "threads"),
    ("memory_bytes", "Memory that this process may use.", "memory", "total_bytes"),
    ("memory_available_bytes", "Memory that is free for this process.", "memory", "available_bytes"),
    ("disk_bytes", "Size of the file system that the build is on.", "disk", "total_bytes"),
    ("disk_free_bytes", "Room on the file system that the build is on.", "disk", "free_bytes"),
    ("gpu_pressure_ratio", "Share of the visible GPUs' memory in use, 0 to 1.", "gpu", "memory_pressure"),
    ("numa_nodes", "NUMA nodes of the machine.", "numa", "count"),
)


class Metrics:
    """The counters of one runtime, in a registry of their own.

    Args:
        look: what the health probes see, asked at each reading.
        breakers: asked likewise which programs have a breaker, and whether it is open.
    """

    def __init__(self, look: Look, breakers: Callable[[], dict[str, bool]]) -> None:
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
        self.registry.register(_Gauges(look, breakers))

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
    """The machine's state, looked at for each collection. What a probe could not see is left out."""

    def __init__(self, look: Look, breakers: Callable[[], dict[str, bool]]) -> None:
        self._look = look
        self._breakers = breakers

    def describe(self) -> Iterable[Metric]:
        return []  # said explicitly, or registration would collect once

    def collect(self) -> Iterable[Metric]:
        seen = self._look()
        healthy = _family("probe_healthy", "1 where a health probe answered in time and has no concern.", "probe")
        for probe, result in seen.items():
            healthy.add_metric([probe], float(result.health is Health.OK))
        yield healthy
        facts = {probe: _facts(result) for probe, result in seen.items()}
        for name, help_text, probe, fact in _FACTS:
            family = _family(name, help_text)
            if (value := facts.get(probe, {}).get(fact)) is not None:
                family.add_metric([], value)
            yield family
        yield from _gpus(facts.get("gpu", {}).get("devices", []))
        yield from _nodes(facts.get("numa", {}).get("nodes", []))
        fences = _family("sandbox_fence", "1 where this process is fenced in so.", "fence")
        for fence, there in _fences(facts.get("sandbox", {})):
            fences.add_metric([fence], float(there))
        yield fences
        breaker = _family("breaker_open", "1 while a program is left alone after failures.", "program")
        for program, is_open in self._breakers().items():
            breaker.add_metric([program], float(is_open))
        yield breaker


def _family(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"bitnet_runtime_{name}", help_text, labels=labels)


def _facts(result: ProbeResult) -> dict[str, Any]:
    if isinstance(result.facts, list):
        return {"nodes": result.facts, "count": len(result.facts)}
    return dict(result.facts) if isinstance(result.facts, dict) else {}


def _gpus(devices: Iterable[dict[str, Any]]) -> Iterable[Metric]:
    total = _family("gpu_memory_bytes", "Memory of a visible GPU.", "gpu", "name")
    free = _family("gpu_memory_free_bytes", "Free memory of a GPU.", "gpu", "name")
    for device in devices:
        labels = [str(device["index"]), device["name"]]
        total.add_metric(labels, device["memory_total"])
        free.add_metric(labels, device["memory_free"])
    return total, free


def _nodes(nodes: Iterable[dict[str, Any]]) -> Iterable[Metric]:
    total = _family("numa_memory_bytes", "Memory of a NUMA node.", "node")
    free = _family("numa_memory_free_bytes", "Free memory of a NUMA node.", "node")
    for node in nodes:
        total.add_metric([str(node["index"])], node["memory_total"])
        free.add_metric([str(node["index"])], node["memory_free"])
    return total, free


def _fences(facts: dict[str, Any]) -> Iterable[tuple[str, bool]]:
    """What the kernel says of each fence; what it does not say is left out."""
    if not facts:
        return
    if facts["seccomp"] != "unknown":
        yield "seccomp", facts["seccomp"] != "off"
    if facts["no_new_privs"] is not None:
        yield "no_new_privs", facts["no_new_privs"]
    if facts["capabilities"]:
        yield "no_capabilities", int(facts["capabilities"], 16) == 0
    yield "not_root", facts["uid"] != 0
    yield "pid_namespace", facts["pid_depth"] > 1
