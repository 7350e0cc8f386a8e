"""What this process may use of the machine: CPUs, memory, GPUs, and how it is fenced in.

Everything is read for this process, not for the machine: a container with half a CPU sees all of the host's
cores in `/proc/cpuinfo`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bitnet.machine.cpu import Cpu, read_cpu
from bitnet.machine.gpu import Gpu, Gpus, GpuState, read_gpus
from bitnet.machine.memory import Memory, read_memory


@dataclass(frozen=True)
class Machine:
    """What there is to run on, read at one moment."""

    cpu: Cpu
    memory: Memory
    gpus: Gpus


def read_machine(environment: Mapping[str, str] | None = None) -> Machine:
    """What a program started now with `environment` could use."""
    return Machine(read_cpu(), read_memory(), read_gpus(environment))


__all__ = [
    "Cpu",
    "Gpu",
    "GpuState",
    "Gpus",
    "Machine",
    "Memory",
    "read_cpu",
    "read_gpus",
    "read_machine",
    "read_memory",
]
