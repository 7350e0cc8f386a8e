"""What Vast.ai's records of offers and machines mean. Pure.

Half of it is in no document: which words tell that a machine does not recover, what tells one that was outbid from one
that was stopped, where ssh answers. A record that can't be understood as a whole is understood as far as it can be.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from provision.providers.face import Loss, Machine, Offer, State

GIB = 1 << 30
MB = 1_000_000  # of main memory and a GPU's, as offers and instances count them
# What no waiting mends, in the words of the engine that starts containers there.
_FATAL = (
    "OCI runtime create failed",
    "Error response from daemon",
    "manifest unknown",
    "pull access denied",
    "no space left on device",
    "failed to register layer",
)


def offer_of(record: Mapping[str, Any]) -> Offer | None:
    """One that can be understood; the others are nobody's loss."""
    try:
        if not 0 < float(record["dph_total"]) < math.inf:
            return None
        bid, ends = record.get("min_bid"), record.get("duration")
        return Offer(
            id=int(record["id"]),
            machine=int(record["machine_id"]),
            gpu=str(record["gpu_name"]),
            gpus=int(record["num_gpus"]),
            vram=int(record["gpu_ram"]) * MB,
            memory=int(record.get("cpu_ram") or 0) * MB,
            disk=int(float(record.get("disk_space") or 0) * GIB),
            down=int(float(record.get("inet_down") or 0) * 1e6),
            reliability=float(record.get("reliability2") or record.get("reliability") or 0),
            per_hour=float(record["dph_total"]),
            lowest_bid=float(bid) if bid is not None else None,
            where=str(record.get("geolocation") or ""),
            ends=float(ends) if ends is not None else None,
            cuda=number_of(record.get("cuda_max_good")),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def machine_of(record: Mapping[str, Any], now: float) -> Machine | None:
    """As it is now, by the provider's clock; None: it can't be understood."""
    try:
        return Machine(
            id=int(record["id"]),
            machine=int(number_of(record.get("machine_id"))),
            label=str(record.get("label") or ""),
            state=_state(record),
            said=" ".join(str(record.get("status_msg") or record.get("actual_status") or "").split())[:300],
            gpu=f"{record.get('num_gpus') or 0} x {record.get('gpu_name') or ''}",
            per_hour=number_of(record.get("dph_total")),
            is_bid=bool(record.get("is_bid")),
            began=number_of(record.get("start_date")) or now,
            address=_address(record),
            ports=dict(_ports(record)),
            stopped_per_hour=number_of(record.get("storage_total_cost")),
            per_byte_in=number_of(record.get("inet_down_cost")) / 1e9,
            per_byte_out=number_of(record.get("inet_up_cost")) / 1e9,
            loss=_loss(record, now),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def number_of(value: object) -> float:
    """0 for what is none: a machine of which that can't be understood costs as any other, and has to be known."""
    try:
        number = float(str(value or 0))
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _state(record: Mapping[str, Any]) -> State:
    actual = record.get("actual_status")
    if actual in ("exited", "unknown", "offline") or _is_fatal(record):
        return State.DEAD
    if _is_stopped(record):
        return State.LOST if _is_outbid(record) else State.STOPPED
    return State.RUNNING if actual == "running" else State.STARTING


def _loss(record: Mapping[str, Any], now: float) -> Loss | None:
    state, ends = _state(record), number_of(record.get("end_date"))
    if state is State.DEAD:
        return Loss.OFFLINE if record.get("actual_status") in ("unknown", "offline") else Loss.BROKEN
    if state in (State.LOST, State.STOPPED) and 0 < ends <= now:
        return Loss.ENDED
    return Loss.OUTBID if state is State.LOST else None


def _is_fatal(record: Mapping[str, Any]) -> bool:
    said = str(record.get("status_msg") or "")
    return record.get("actual_status") != "running" and any(words in said for words in _FATAL)


def _is_stopped(record: Mapping[str, Any]) -> bool:
    asked = {record.get(key) for key in ("cur_state", "intended_status", "next_state")}
    return asked == {"stopped"} or record.get("actual_status") in ("stopped", "frozen")


def _is_outbid(record: Mapping[str, Any]) -> bool:
    """Whoever stops a machine, and whoever bids more, leaves the same words. What tells them apart is what has to be
    bid by now; where that is not said, a bid that is stopped is taken for one that was too low.
    """
    least, bid = record.get("min_bid"), record.get("dph_base", record.get("dph_total"))  # a bid is without the disk
    return bool(record.get("is_bid")) and (least is None or number_of(least) > number_of(bid))


def _address(record: Mapping[str, Any]) -> tuple[str, int] | None:
    """Where ssh answers: directly where the machine has a port for it, else through the provider's own host."""
    if direct := dict(_ports(record)).get(22):
        return direct
    host, port = record.get("ssh_host"), int(number_of(record.get("ssh_port")))
    if not host or not port:
        return None
    return str(host), port + ("jupyter" in str(record.get("image_runtype") or ""))


def _ports(record: Mapping[str, Any]) -> Iterator[tuple[int, tuple[str, int]]]:
    ports, host = record.get("ports"), str(record.get("public_ipaddr") or "").strip()
    for inner, outer in ports.items() if isinstance(ports, dict) and host else ():
        number, _, protocol = inner.partition("/")
        with contextlib.suppress(KeyError, TypeError, ValueError, IndexError):
            if protocol == "tcp" and outer:
                yield int(number), (host, int(outer[0]["HostPort"]))
