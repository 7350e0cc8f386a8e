"""NVIDIA GPUs as NVML reports them. No driver, no package, no GPU and a broken driver are states, not errors.

`nvidia-ml-py` is optional (extra `gpu`). `CUDA_VISIBLE_DEVICES` decides which GPUs a program will see, so only those
are given; CUDA C++ Programming Guide, "CUDA Environment Variables": a list of indices or UUID prefixes, and the first
one that does not exist ends the list.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class GpuState(Enum):
    """Why there are GPUs, or none."""

    PRESENT = "present"
    NO_PACKAGE = "nvidia-ml-py is not installed"
    NO_DRIVER = "no NVIDIA driver"
    NONE_VISIBLE = "no GPU is visible to this process"
    BROKEN = "the NVIDIA driver does not answer as it should"


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes."""

    index: int
    uuid: str
    name: str
    memory_total: int
    memory_free: int


@dataclass(frozen=True)
class Gpus:
    """What a program started by this process would find; `problem` is NVML's word on a broken driver."""

    state: GpuState
    devices: tuple[Gpu, ...] = ()
    driver: str = ""
    problem: str = ""

    @property
    def memory_free(self) -> int:
        return sum(device.memory_free for device in self.devices)

    @property
    def pressure(self) -> float:
        """The share of GPU memory in use, 0 to 1."""
        total = sum(device.memory_total for device in self.devices)
        return 1 - self.memory_free / total if total else 0.0

    def as_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        return {
            "state": self.state.value,
            "driver": self.driver,
            "problem": self.problem,
            "memory_pressure": round(self.pressure, 4),
            "devices": [asdict(device) for device in self.devices],
        }


def read_gpus(environment: Mapping[str, str] | None = None) -> Gpus:
    """The visible GPUs. Never raises for what the machine lacks."""
    try:
        import pynvml
    except ImportError:
        return Gpus(GpuState.NO_PACKAGE)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return Gpus(GpuState.NO_DRIVER)
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        present = [_describe(pynvml, index, handle) for index, handle in enumerate(handles)]
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError as error:
        # A GPU that fell off its bus, or one that cannot tell its memory: a model still runs on the CPU.
        return Gpus(GpuState.BROKEN, problem=str(error))
    finally:
        pynvml.nvmlShutdown()
    devices = visible(present, os.environ if environment is None else environment)
    return Gpus(GpuState.PRESENT if devices else GpuState.NONE_VISIBLE, devices, driver)


def visible(devices: list[Gpu], environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Those that `CUDA_VISIBLE_DEVICES` leaves, in its order."""
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return tuple(devices)
    chosen: list[Gpu] = []
    for word in (word.strip() for word in wanted.split(",")):
        match = [
            device
            for device in devices
            if (word.isdigit() and device.index == int(word)) or (word and device.uuid.startswith(word))
        ]
        if not match:
            break
        chosen.append(match[0])
    return tuple(chosen)


def _describe(pynvml: Any, index: int, handle: Any) -> Gpu:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        index=index,
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        memory_total=int(memory.total),
        memory_free=int(memory.free),
    )


def _text(value: str | bytes) -> str:
    """NVML's Python binding gave bytes until 11.5 and gives text since."""
    return value.decode() if isinstance(value, bytes) else value
