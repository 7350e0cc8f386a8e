"""What this process may use of the machine: CPUs, memory, GPUs, and how it is fenced in.

Everything is read for this process, not for the machine: a container with half a CPU sees all of the host's
cores in `/proc/cpuinfo`.
"""

from bitnet.machine.cpu import Cpu, read_cpu
from bitnet.machine.gpu import Gpu, Gpus, GpuState, read_gpus
from bitnet.machine.memory import Memory, read_memory

__all__ = ["Cpu", "Gpu", "GpuState", "Gpus", "Memory", "read_cpu", "read_gpus", "read_memory"]
