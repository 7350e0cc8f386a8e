"""Health probes: each looks at one thing, is bounded in time, and cannot take the others down.

A probe may hang in the kernel (a dead network mount, a GPU driver), where no signal ends it. So each runs in a daemon
thread of its own and is left behind at its deadline.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from bitnet.machine import Cpu, Gpus, Memory, read_cpu, read_gpus, read_memory
from bitnet.machine.numa import read_nodes
from bitnet.machine.sandbox import read_sandbox

_DISK_LEAST = 1 << 30  # below it logs and a model's temporary files are at risk
_MEMORY_LEAST = 0.05
_GPU_MOST = 0.95


class Health(Enum):
    """What a probe came to."""

    OK = "ok"
    CONCERN = "concern"  # it answered, and the answer needs a person's attention
    FAILED = "failed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True)
class Finding:
    """What a probe saw, and why that is a concern, or empty."""

    facts: object
    concern: str = ""


@dataclass(frozen=True)
class ProbeResult:
    """One probe's outcome; `problem` is empty when all is well."""

    health: Health
    facts: object
    problem: str
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        return {**asdict(self), "health": self.health.value, "seconds": round(self.seconds, 4)}


Probe = Callable[[], Finding]


def run_probes(probes: Mapping[str, Probe], seconds: float) -> dict[str, ProbeResult]:
    """Run all probes side by side and give each `seconds` to answer."""
    answers: queue.SimpleQueue[tuple[str, ProbeResult]] = queue.SimpleQueue()
    for name, probe in probes.items():
        threading.Thread(target=_answer, args=(name, probe, answers), name=f"probe-{name}", daemon=True).start()
    results: dict[str, ProbeResult] = {}
    deadline = time.monotonic() + seconds
    while len(results) < len(probes):
        try:
            name, result = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        results[name] = result
    late = ProbeResult(Health.TIMED_OUT, None, f"no answer within {seconds:g} s", seconds)
    return {name: results.get(name, late) for name in probes}


class StandingProbes:
    """Probes that are asked again and again, as by a scraper. One that hangs is not started again beside itself.

    Args:
        probes: by name.
        seconds: what each gets, so that the answers in time reach whoever asks.
    """

    def __init__(self, probes: Mapping[str, Probe], seconds: float) -> None:
        self._probes = probes
        self._seconds = seconds
        self._busy = {name: threading.Lock() for name in probes}

    def __call__(self) -> dict[str, ProbeResult]:
        """What each sees now."""
        return run_probes({name: self._alone(name) for name in self._probes}, self._seconds)

    def _alone(self, name: str) -> Probe:
        def look() -> Finding:
            if not self._busy[name].acquire(timeout=self._seconds):
                raise TimeoutError("it still hangs since an earlier look")
            try:
                return self._probes[name]()
            finally:
                self._busy[name].release()

        return look


def _answer(name: str, probe: Probe, answers: queue.SimpleQueue[tuple[str, ProbeResult]]) -> None:
    began = time.monotonic()
    try:
        finding = probe()
    except Exception as error:
        outcome = ProbeResult(Health.FAILED, None, f"{type(error).__name__}: {error}", time.monotonic() - began)
    else:
        health = Health.CONCERN if finding.concern else Health.OK
        outcome = ProbeResult(health, finding.facts, finding.concern, time.monotonic() - began)
    answers.put((name, outcome))


def of_health(build_dir: Path, environment: Callable[[], Mapping[str, str]]) -> dict[str, Probe]:
    """The probes of this machine.

    Args:
        build_dir: whose file system is looked at.
        environment: asked what programs would be started with, which decides what GPUs they see.
    """
    return {
        "cpu": lambda: cpu(read_cpu()),
        "memory": lambda: memory(read_memory()),
        "disk": lambda: disk(build_dir),
        "gpu": lambda: gpu(read_gpus(environment())),
        "numa": numa,
        "sandbox": sandbox,
    }


def disk(folder: Path) -> Finding:
    """Room on the file system of `folder`, or of its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    low = f"{folder}: only {usage.free >> 20} MiB are free" if usage.free < _DISK_LEAST else ""
    return Finding({"path": str(folder), "total_bytes": usage.total, "free_bytes": usage.free}, low)


def cpu(found: Cpu) -> Finding:
    """Whether the processor has what makes ternary models fast."""
    slow = found.architecture == "x86_64" and bool(found.features) and "avx2" not in found.features
    return Finding(
        found.as_dict(), "no AVX2: llama.cpp runs ternary models about twenty times slower without it" if slow else ""
    )


def memory(found: Memory) -> Finding:
    """Whether there is memory left."""
    low = found.available < found.total * _MEMORY_LEAST
    return Finding(
        found.as_dict(), f"only {found.available >> 20} MiB of {found.total >> 20} MiB are available" if low else ""
    )


def gpu(found: Gpus) -> Finding:
    """Which GPUs there are; none is no concern, full and broken ones are."""
    if found.problem:
        return Finding(found.as_dict(), f"{found.state.value}: {found.problem}; models run on the CPU")
    full = found.pressure > _GPU_MOST
    return Finding(found.as_dict(), f"{found.pressure:.0%} of the GPU memory is in use" if full else "")


def numa() -> Finding:
    """The NUMA nodes."""
    return Finding([node.as_dict() for node in read_nodes()])


def sandbox() -> Finding:
    """The fences around this process."""
    return Finding(read_sandbox().as_dict())
