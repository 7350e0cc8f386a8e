"""Which GPUs each program has. Pure: the toolkit plans by it, and a host does by it.

A program has whole ones to itself, or shares one with others as long as their fractions fit. It keeps what it has while
that is there, so nothing moves that need not; whole ones are given out before shares, and shares fill up one GPU before
they begin another. What asks for GPU memory alone is given none: it sees them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

if TYPE_CHECKING:
    from .facts import Gpu
    from .release import ReleaseDocument, ServiceDocument

_WHOLE = 1000  # shares are counted in thousandths: ten times 0.1 is one
_BUSY = 0.1  # of a GPU's memory: one of which somebody else has that much is given last

_AMD = "amd"


class Want(NamedTuple):
    """What one program asks for."""

    program: str
    number: int
    share: int  # of each, in thousandths
    vram: int  # bytes on each


class Seats(NamedTuple):
    """Who has which GPUs, by uuid, and what is left of each."""

    taken: Mapping[str, Tuple[str, ...]]
    left: Mapping[str, int]  # in thousandths


def want(service: ServiceDocument) -> Optional[Want]:
    """What a program asks for; None where it is given none. One on demand sees them all: it comes and goes."""
    needs = service["needs"]
    whole, fraction = needs.get("gpus") or 0, needs.get("gpu_fraction") or 0.0
    if service["on_demand"] or not (whole or fraction):
        return None
    share = _WHOLE if whole else max(1, round(fraction * _WHOLE))
    return Want(service["program"], whole or 1, share, needs["vram_bytes"])


def decides(documents: Mapping[str, ReleaseDocument]) -> bool:
    """Whether it has to be known which GPUs there are."""
    lanes = [lane for document in documents.values() for lane in document["lanes"].values()]
    return any(want(service) is not None for lane in lanes for service in lane["services"])


def assign(wants: Sequence[Want], held: Mapping[str, Sequence[str]], gpus: Optional[Sequence[Gpu]]) -> Seats:
    """Who is to have what. A program for which there is too little has fewer than it wants.

    Args:
        held: by program, the GPUs that it has now, be it one that wants none any more.
        gpus: those that are there; None where nobody has looked: then each keeps what it has.
    """
    if gpus is None:
        return Seats({each.program: tuple(held.get(each.program, ())) for each in wants}, {})
    left = {gpu["uuid"]: _WHOLE for gpu in gpus}
    taken: Dict[str, Tuple[str, ...]] = {}
    for each in wants:
        fits = [uuid for uuid in held.get(each.program, ()) if left.get(uuid, 0) >= each.share]
        _take(each, fits[: each.number], taken, left)
    leaving = {uuid for program, uuids in held.items() for uuid in uuids if uuid not in taken.get(program, ())}
    promised: Dict[str, int] = {}
    for each in sorted(wants, key=lambda each: -each.share):
        _give(each, taken, left, gpus, leaving, promised)
    return Seats(taken, left)


def beside(
    wanted: Want, seats: Seats, held: Mapping[str, Sequence[str]], gpus: Sequence[Gpu]
) -> Tuple[Tuple[str, ...], Seats]:
    """What a second copy may have for a while, and what is left then; nothing that anybody has now or is to have."""
    now = {uuid for program, uuids in held.items() for uuid in uuids if uuid not in seats.taken.get(program, ())}
    left = {uuid: 0 if uuid in now else share for uuid, share in seats.left.items()}
    given: Dict[str, Tuple[str, ...]] = {}
    _give(wanted, given, left, gpus, set(), {})
    return given[wanted.program], seats._replace(left=left)


def _take(wanted: Want, uuids: Sequence[str], taken: Dict[str, Tuple[str, ...]], left: Dict[str, int]) -> None:
    taken[wanted.program] = (*taken.get(wanted.program, ()), *uuids)
    for uuid in uuids:
        left[uuid] -= wanted.share


def _give(
    wanted: Want,
    taken: Dict[str, Tuple[str, ...]],
    left: Dict[str, int],
    gpus: Sequence[Gpu],
    leaving: Set[str],
    promised: Dict[str, int],
) -> None:
    """Give what is missing.

    Args:
        leaving: what somebody gives up, whose memory is free by then.
        promised: bytes of memory that were given away on each, and are not taken yet.
    """
    has = taken.get(wanted.program, ())

    def free(gpu: Gpu) -> int:
        whole = gpu["memory_total"] if gpu["uuid"] in leaving else gpu["memory_free"]
        return whole - promised.get(gpu["uuid"], 0)

    def last(gpu: Gpu) -> Tuple[int, bool]:
        return left[gpu["uuid"]], free(gpu) < (1 - _BUSY) * gpu["memory_total"]

    fitting = [
        gpu
        for gpu in gpus
        if left[gpu["uuid"]] >= wanted.share
        and gpu["uuid"] not in has
        and free(gpu) >= wanted.vram
        # CUDA shows a program one part of a GPU, however many it is given.
        and (wanted.number == 1 or not gpu.get("part_of"))
    ]
    chosen = [gpu["uuid"] for gpu in sorted(fitting, key=last)[: max(0, wanted.number - len(has))]]
    _take(wanted, chosen, taken, left)
    for uuid in chosen:
        promised[uuid] = promised.get(uuid, 0) + wanted.vram


def variables(uuids: Sequence[str], gpus: Sequence[Gpu]) -> Dict[str, str]:
    """What a program's environment says, so that it sees these and no others."""
    if not uuids:
        return {}
    listed = ",".join(uuids)
    if any(gpu.get("vendor") == _AMD for gpu in gpus if gpu["uuid"] in uuids):
        # HIP counts among those that ROCr shows.
        return {"ROCR_VISIBLE_DEVICES": listed, "HIP_VISIBLE_DEVICES": ",".join(map(str, range(len(uuids))))}
    return {"CUDA_VISIBLE_DEVICES": listed}


def short(uuid: str) -> str:
    """A GPU as a person knows it apart from others."""
    return uuid[:12]


def seats(uuids: Sequence[str]) -> str:
    """The GPUs that a program has, for people; empty for none."""
    return "on " + ", ".join(map(short, uuids)) if uuids else ""


def lost(uuids: Sequence[str], gpus: Sequence[Gpu]) -> List[str]:
    """Those that are not there."""
    there = {gpu["uuid"] for gpu in gpus}
    return [uuid for uuid in uuids if uuid not in there]
