"""Whether a machine is what was offered. Pure: what it showed against what was promised and is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision.providers.gpus import gives, model

if TYPE_CHECKING:
    from provision.contract.measured import First, Gpus, Measured, ProvenGpu

_KEPT = 0.9  # of the memory that is promised: a driver keeps some of it for itself
_ROUNDED = 0.01  # versions are told as numbers
_LINE = 0.5  # of the speed that is promised of its line: who sends may be the slower one


@dataclass(frozen=True)
class Terms:
    """What was promised, and what is needed. Sizes in bytes, times in seconds.

    Attributes:
        gpu: the name of the offer's; empty where it is not known.
        vram: of each GPU, as it was offered.
        vram_needed: of each, for the models and their contexts.
        cuda: the newest version that its driver was said to take.
        capability: of each GPU, that the engine was compiled for.
        features: that the processor has to have, as /proc/cpuinfo names them.
        free: of its disk.
        written: a second, by its disk.
        down: bits a second.
        speed: the share of what its GPU usually gives.
        clock: how far it may be off.
    """

    gpu: str = ""
    gpus: int = 0
    vram: int = 0
    vram_needed: int = 0
    cuda: float = 0.0
    capability: float = 0.0
    features: frozenset[str] = frozenset()
    free: int = 0
    written: float = 0.0
    down: float = 0.0
    speed: float = 0.6
    clock: float = 60.0


def faults(terms: Terms, first: First, measured: Measured, closed: Sequence[int], now: float) -> Iterator[str]:
    """What is not as promised, each as the end of a sentence about the machine.

    Args:
        closed: ports that could not be reached from outside.
        now: seconds since 1970, by a clock that can be believed.
    """
    if (off := first["clock"] - now) and abs(off) > terms.clock:
        yield f"its clock is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}"
    if terms.gpus:
        yield from _of_gpus(terms, measured["gpus"])
    if missing := sorted(terms.features - set(measured["features"])):
        yield f"its processor lacks {', '.join(missing)}"
    if measured["free"] < terms.free:
        yield f"{_size(measured['free'])} of its disk are free, and {_size(terms.free)} are needed"
    if measured["written"] < terms.written:
        yield f"its disk writes {_size(measured['written'])} a second, and {_size(terms.written)} are demanded"
    down = measured["downloaded"]
    if down is not None and down < _LINE * terms.down:
        yield f"{down / 1e6:.0f} Mbit/s come in, and {terms.down / 1e6:.0f} were promised"
    if down is None and measured["download_fault"] and not _is_answer(measured["download_fault"]):
        yield f"nothing comes in ({_said(measured['download_fault'])})"
    for port in closed:
        yield f"port {port} can't be reached from outside"


def _of_gpus(terms: Terms, gpus: Gpus) -> Iterator[str]:
    if gpus["fault"]:
        yield f"its GPU's driver does not work ({_said(gpus['fault'])})"
        return
    if gpus["cuda"] < terms.cuda - _ROUNDED:
        yield f"its driver takes CUDA {gpus['cuda']:g}, and {terms.cuda:g} was offered"
    if len(gpus["gpus"]) < terms.gpus:
        yield f"it has {len(gpus['gpus'])} GPUs, and {terms.gpus} were offered"
    for gpu in gpus["gpus"]:
        yield from _of_gpu(terms, gpu)


def _of_gpu(terms: Terms, gpu: ProvenGpu) -> Iterator[str]:
    name = _name(gpu)
    if terms.gpu and model(name) != model(terms.gpu):
        yield f"its GPU is {name}, and {terms.gpu} was offered"
        return
    if gpu["memory"] < _KEPT * terms.vram:
        yield f"{name} has {_size(gpu['memory'])}, and {_size(terms.vram)} were offered"
    if gpu["capability"] < terms.capability - _ROUNDED:
        yield f"{name} has capability {gpu['capability']:g}, and the engine is compiled for {terms.capability:g}"
    if gpu["fault"]:
        yield f"{name}: {_said(gpu['fault'])}"
        return
    if gpu["usable"] < _KEPT * max(terms.vram_needed, _KEPT * gpu["memory"]):
        yield f"{_size(gpu['usable'])} of the {_size(gpu['memory'])} of {name} can be had"
    usual = gives(name)
    if usual and gpu["operations"] < terms.speed * usual.operations:
        yield (
            f"{name} does a product of matrices with {gpu['operations'] / 1e12:.1f} TFLOP/s "
            f"instead of {usual.operations / 1e12:.1f}"
        )
    if usual and gpu["bandwidth"] < terms.speed * usual.bandwidth:
        yield (f"the memory of {name} moves {gpu['bandwidth'] / 1e9:.0f} GB/s instead of {usual.bandwidth / 1e9:.0f}")


def told(measured: Measured) -> str:
    """What it showed, in one line."""
    parts = [
        f"{_name(gpu)}: {gpu['operations'] / 1e12:.1f} TFLOP/s, {gpu['bandwidth'] / 1e9:.0f} GB/s, "
        f"{_size(gpu['usable'])}" + ("" if gives(gpu["name"]) else " (what such a GPU usually gives is not known)")
        for gpu in measured["gpus"]["gpus"]
    ]
    parts.append(f"disk: {_size(measured['written'])} a second")
    if measured["downloaded"] is not None:
        parts.append(f"{measured['downloaded'] / 1e6:.0f} Mbit/s come in")
    elif measured["download_fault"]:
        parts.append(f"how much comes in is not known ({_said(measured['download_fault'])})")
    return "; ".join(parts)


def _name(gpu: ProvenGpu) -> str:
    return _said(gpu["name"])


def _said(text: str) -> str:
    """What a machine says, which may be anything."""
    return "".join(filter(str.isprintable, text))[:120]


def _is_answer(fault: str) -> bool:
    """Whether somebody answered who has no such file: that says nothing of the machine."""
    return fault.startswith("HTTP Error")


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
