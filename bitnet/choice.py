"""Which of several build variants to run, and why. Pure.

A variant is out if the processor lacks an instruction set it was compiled for, or if it cannot read the model. Of the
rest the one that gains most wins: CUDA where the model can use a GPU that is there, then the one compiled for most of
this processor, then the order in which they were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitnet.binaries import Binary
from bitnet.errors import BinaryNotFound, ModelUnusable
from bitnet.machine import Cpu, Gpus
from bitnet.model import ModelFacts
from bitnet.model.types import BITNET_CPP_TYPES, CPU_ONLY_TYPES


@dataclass(frozen=True)
class Choice:
    """The variant to run, the reason, and why the others are not it."""

    binary: Binary
    why: str
    rejected: tuple[tuple[Binary, str], ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        return {
            "path": str(self.binary.path),
            "variant": self.binary.variant,
            "why": self.why,
            "rejected": [{"path": str(binary.path), "why": why} for binary, why in self.rejected],
        }


def choose(binaries: Sequence[Binary], cpu: Cpu, gpus: Gpus, facts: ModelFacts | None = None) -> Choice:
    """The best of `binaries` (at least one) for this machine and, if given, that model.

    Raises:
        BinaryNotFound: none was compiled for this processor.
        ModelUnusable: none that runs here reads the model.
    """
    lacking = {binary.path: _lacking(binary, cpu) for binary in binaries}
    runnable = [binary for binary in binaries if not lacking[binary.path]]
    if not runnable:
        raise BinaryNotFound(
            f"{binaries[0].path.name}: no build runs on this processor",
            why="; ".join(f"{binary.path}: {lacking[binary.path]}" for binary in binaries),
            next_step="build for this machine: deploy native build --profile native",
        )
    unread = {binary.path: _unread(binary, facts) for binary in runnable}
    able = [binary for binary in runnable if not unread[binary.path]]
    if not able:
        raise _unreadable(runnable, unread[runnable[0].path], facts)
    wants_gpu = bool(gpus.devices) and not (facts and CPU_ONLY_TYPES & facts.tensor_types.keys())
    best = max(able, key=lambda binary: (binary.cuda == wants_gpu, len(binary.features), -able.index(binary)))
    reasons = {
        **{path: why for path, why in lacking.items() if why},
        **{path: why for path, why in unread.items() if why},
    }
    return Choice(
        best,
        _why(best, wants_gpu, len(binaries), facts),
        tuple((b, reasons.get(b.path) or "another gains more") for b in binaries if b is not best),
    )


def _lacking(binary: Binary, cpu: Cpu) -> str:
    """Why the processor cannot run it, or empty. Where the processor's features are unknown it gets its chance."""
    if binary.architecture not in ("", cpu.architecture):
        return f"is for {binary.architecture}, and this processor is {cpu.architecture}"
    missing = sorted(binary.features - cpu.features) if cpu.features else []
    return f"needs {', '.join(missing)}, which this processor lacks" if missing else ""


def _unread(binary: Binary, facts: ModelFacts | None) -> str:
    """Why it cannot read the model, or empty."""
    if facts is None:
        return ""
    types = [name for name in facts.tensor_types if binary.reads_type(name) is False]
    if types:
        return f"cannot read tensors of type {', '.join(types)}"
    if facts.architecture and binary.reads_architecture(facts.architecture) is False:
        return f"does not know the architecture {facts.architecture!r}"
    return ""


def _unreadable(runnable: Sequence[Binary], reason: str, facts: ModelFacts | None) -> ModelUnusable:
    path = facts.path if facts else ""
    types = facts.tensor_types.keys() if facts else ()
    needs_fork = bool(BITNET_CPP_TYPES & set(types)) or "bitnet-" in (facts.architecture if facts else "")
    return ModelUnusable(
        f"{path}: no binary here reads this model",
        why=f"{runnable[0].path} {reason}",
        next_step="build microsoft/BitNet: deploy native build --source PATH-TO-BitNet, or convert the model to TQ2_0"
        if needs_fork
        else "build a newer llama.cpp, or give another model",
    )


def _why(best: Binary, wants_gpu: bool, count: int, facts: ModelFacts | None) -> str:
    if count == 1:
        return "the only build"
    if best.cuda and wants_gpu:
        return "a GPU is there and this build uses it"
    if facts and BITNET_CPP_TYPES & facts.tensor_types.keys():
        return "it reads the model's tensor types"
    if best.features:
        profile = f" (profile {best.profile})" if best.profile else ""
        return f"of those that run here it is compiled for the most of this processor's features{profile}"
    return "first in the build folder"
