"""What a rented machine shows of itself before it is kept. Types alone."""

from __future__ import annotations

from typing import List, Optional, TypedDict


class Asked(TypedDict):
    """What it is asked to show."""

    path: str  # the target's folder, on whose disk is written
    ports: List[int]  # that are to be reached from outside
    nonce: str  # what listens there says it
    tools: List[str]  # programs that are looked for
    gpus: bool  # whether it is to have any
    written: float  # bytes a second that its disk is to write
    download: str  # a file that is fetched; empty: none is


class First(TypedDict):
    """What costs nothing to tell."""

    deployed: bool  # whether something was deployed there already
    clock: float  # seconds since 1970
    machine: str  # its kind of processor, as `uname -m` names it
    missing: List[str]  # of the tools


class ProvenGpu(TypedDict):
    """A GPU, and what it really does. Sizes in bytes."""

    name: str
    memory: int
    capability: float  # such as 8.9
    usable: int  # of its memory, what could be had, and kept what was written there
    operations: float  # a second: products of matrices in single precision
    bandwidth: float  # bytes a second, read and written
    fault: str  # empty where nothing was wrong


class Gpus(TypedDict):
    """`cuda`: the newest version that the driver takes; 0 where there is no driver of NVIDIA's."""

    cuda: float
    gpus: List[ProvenGpu]
    fault: str


class Ports(TypedDict):
    listening: List[int]
    taken: List[int]  # somebody listens there already


class Measured(TypedDict):
    """What was measured."""

    features: List[str]  # of the processor, as /proc/cpuinfo names them
    memory: int
    free: int  # bytes of the disk
    written: float  # bytes a second
    downloaded: Optional[float]  # bits a second; None: nothing was fetched
    download_fault: str
    gpus: Gpus
