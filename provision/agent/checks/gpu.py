"""Probe of `gpu`: the layers that llama-server has just loaded lie on the GPU.

It says so in its log alone, from verbosity 4 on, and nowhere over HTTP (llama.cpp, `load_tensors` in
src/llama-model.cpp): how many layers it put there, and how much of the model lies in each device's memory.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List

from .check import Failed

if TYPE_CHECKING:
    from ...contract.checks import CheckDocument
    from ...contract.events import Facts
    from .check import Reach

    class GpuCheck(CheckDocument):
        layers: str  # "auto": some, on a host with a GPU; "all"; or how many at least


_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BUFFER = re.compile(r"load_tensors: +(\S+) model buffer size = +(\d+\.\d+) MiB")
_OF_PROCESSORS = re.compile(r"CPU|AMX|.*_Host$")  # CUDA_Host is main memory


def attempt(check: GpuCheck, reach: Reach, seconds: float) -> Facts:
    gpus = _gpus(reach, seconds)
    if not gpus and check["layers"] == "auto":
        return {"gpus": []}
    if not gpus:
        raise Failed("no GPU was found (nvidia-smi)")
    log = reach.said()
    loaded = list(_OFFLOADED.finditer(log))
    if not loaded:
        raise Failed(f"{', '.join(gpus)} is there, and llama-server does not say that a layer lies on it: {_why(log)}")
    layers, of = (int(count) for count in loaded[-1].groups())
    buffers = [(found[1], float(found[2])) for found in _BUFFER.finditer(log, loaded[-1].end())]
    on_gpu = sum(size for name, size in buffers if not _OF_PROCESSORS.match(name))
    in_all = sum(size for _, size in buffers)
    wanted = {"auto": 1, "all": of}.get(check["layers"]) or int(check["layers"])
    said = f"{layers} of {of} layers are on the GPU, with {on_gpu:.0f} of {in_all:.0f} MiB"
    if layers < wanted or not on_gpu:
        raise Failed(f"{said}; {check['layers']} are demanded")
    return {"gpus": gpus, "layers": layers, "of": of, "mib": round(on_gpu), "of_mib": round(in_all)}


def _gpus(reach: Reach, seconds: float) -> List[str]:
    """Their names. A driver that is there and fails is no machine without a GPU."""
    try:
        return reach.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], seconds).splitlines()
    except Failed as failure:
        if str(failure).startswith("could not start"):
            return []
        raise Failed(f"nvidia-smi: {failure}") from None


def _why(log: str) -> str:
    if "load_tensors:" in log or "no usable GPU found" in log:
        return "it has no CUDA, or found no driver"
    return "its log has no line of load_tensors; set LLAMA_ARG_LOG_VERBOSITY to 4"
