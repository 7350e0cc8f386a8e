"""Who gets which request, and what becomes of a rollout, as lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from provision.cli.render import columns
from provision.contract.rollout import (
    ABORTED,
    HELD,
    PASSED,
    PAUSED,
    PROMOTED,
    RUNNING,
    WAITING,
    has_begun,
    hosts,
    share,
)
from provision.project.units import percent, seconds

if TYPE_CHECKING:
    from provision.contract.answers import Traffic
    from provision.contract.rollout import FindingDocument, RolloutAsked, RolloutDocument, RolloutNote, RolloutRecord
    from provision.contract.seen import Figures, LaneTraffic, RolloutSeen, ServiceTraffic
    from provision.rollout import Steered

_HEAD = ["lane", "share", "in flight", "requests", "errors", "first byte p50", "p95", "tokens/s"]
_KEEPERS = {
    "silent": "nobody counts requests here just now: the keeper does not answer; next: deploy logs keeper",
    "none": "nobody counts requests here: an earlier version deployed this; next: deploy up",
}
MOVES_ON = "deploy rollout watch, deploy rollout resume, or deploy up again"  # what lets hosts begin that wait
_STANDS = {
    WAITING: "waiting: deploy rollout watch begins it when its turn comes",
    RUNNING: "running",
    PAUSED: "paused: deploy rollout resume goes on",
    HELD: "held: deploy rollout promote, resume or abort says what follows",
    PASSED: "passed: deploy rollout promote lets everybody to it",
    PROMOTED: "promoted",
    ABORTED: "aborted",
}


def traffic_lines(host: str, answer: Traffic) -> Iterator[str]:
    """Who gets what on a host."""
    if not answer["services"]:
        yield f"{host}: requests come to no service here"
    for name, service in answer["services"].items():
        yield f"{host}: {name} (port {service['port']}, {service['mode']})"
        lanes = service["lanes"].items()
        yield from columns([_HEAD, *(_lane(lane, told) for lane, told in lanes)], indent="  ")
        yield from _beside(service)
    if text := _KEEPERS.get(answer["keeper"]):
        yield f"{host}: {text}"
    elif answer["services"]:
        yield f"{host}: figures of the last {_minutes(answer['at'] - answer['since'])}"
    if answer["rollout"]:
        yield from rollout_lines(host, answer["rollout"])


def _lane(name: str, lane: LaneTraffic) -> list[str]:
    seen = lane["seen"]
    in_flight = sum(each["in_flight"] for each in lane["programs"])
    return [name, percent(lane["share"]), str(in_flight), str(seen["requests"]), _errors(seen), *_times(seen)]


def _errors(seen: Figures) -> str:
    if not seen["errors"]:
        return "0"
    return f"{seen['errors']} ({percent(round(seen['errors'] / max(seen['requests'], 1), 4))})"


def _times(seen: Figures) -> list[str]:
    first, rate = seen.get("first_byte", {}), seen.get("tokens_per_second")
    times = [seconds(first[key]) if key in first else "-" for key in ("p50", "p95")]
    return [*times, "-" if rate is None else f"{rate:.1f}"]


def _beside(service: ServiceTraffic) -> Iterator[str]:
    if service["held"]:
        yield f"  held: {_counted(service['held'], 'request')} until a program is there"
    for lane in service["lanes"].values():
        for each in lane["programs"]:
            if each["state"] == "drain" and each["in_flight"]:
                yield f"  {each['program']} takes nothing new, and has {_counted(each['in_flight'], 'request')} left"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def rollout_lines(host: str, seen: RolloutSeen) -> Iterator[str]:
    """A rollout that is under way, or the last one: its step, the figures against the limits, and what it waits for."""
    record = seen["record"]
    yield f"{host}: rollout of {record['release'][:12]}, begun by {record['who']}: {_STANDS[record['status']]}"
    if record["status"] == RUNNING:
        times = f"for {_minutes(seen['seconds'])}, at least {_minutes(record['document']['each'])}"
        yield f"  {step_of(record)}, {times}"
    elif record["status"] not in (PROMOTED, ABORTED) and has_begun(record):
        yield f"  {step_of(record)}"
    yield from findings_lines(seen["findings"], indent="  ")
    if seen["says"]:
        yield f"  {seen['says']}"


def findings_lines(findings: list[FindingDocument], *, indent: str) -> list[str]:
    """Each limit with its figures."""
    rows = [[each["verdict"], each["limit"], each["says"]] for each in findings]
    return columns(rows, indent=indent) if rows else []


def step_of(record: RolloutRecord) -> str:
    """The step that it is at, in words."""
    if not has_begun(record):
        return "not begun"
    return f"step {record['step'] + 1} of {len(record['document']['steps'])}: {percent(share(record))} of the clients"


def waiting(asked: RolloutAsked) -> str:
    """When a rollout begins that waits for other hosts."""
    return f"once {hosts(asked['waits_for'])} promoted it"


def steps_line(document: RolloutDocument) -> str:
    """What a rollout is going to do, in a line."""
    shares = ", ".join(map(percent, document["steps"]))
    return f"a rollout gives it {shares} of the clients, each for {_minutes(document['each'])} at least"


def standing_lines(shares: dict[str, float], record: RolloutRecord | None) -> Iterator[str]:
    """What a state says of shares and of a rollout, where it says any."""
    under_way = record is not None and record["status"] not in (PROMOTED, ABORTED)
    if record is not None and (under_way or record["status"] == ABORTED):
        since = time.strftime("%H:%M", time.localtime(record["since"])) if record["since"] else "now"
        at = f"{step_of(record)}; " if under_way else ""
        yield f"  rollout of {record['release'][:12]}: {at}{_STANDS[record['status']]}, since {since}"
        if record["why"] and record["status"] != RUNNING:
            yield f"    {record['why']}"
    if not under_way:
        yield from (f"  {lane} has {percent(each)} of the clients, given by hand" for lane, each in shares.items())


def note_words(note: RolloutNote) -> str:
    """What a transaction did to a rollout, in a few words of the history."""
    return f"rollout {note['status']}, step {note['step'] + 1} of {note['steps']}"


def steered_lines(done: Steered) -> Iterator[str]:
    """What a request that moves no release came to."""
    if record := done.rollout:
        under_way = record["status"] not in (PROMOTED, ABORTED)
        stands = f"{step_of(record)}; {_STANDS[record['status']]}" if under_way else record["status"]
        yield f"{done.host}: rollout of {record['release'][:12]}: {stands}"
    for lane, each in done.shares.items():
        had = "has" if done.outcome == "unchanged" else "has now"
        yield f"{done.host}: {lane} {had} {percent(each)} of the clients"


def _minutes(span: float) -> str:
    return f"{span:.0f} s" if span < 100 else f"{span / 60:.0f} min" if span < 100 * 60 else f"{span / 3600:.1f} h"
