"""What verbs say of a cluster, as lines, and how a change of it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from provision.cli.render import columns
from provision.cli.render.status import entry_lines
from provision.cli.render.traffic import standing_lines, steps_line
from provision.cli.signals import asked_to_end
from provision.contract.slots import CANARY
from provision.project.units import percent, size

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.cluster.asked import Ended
    from provision.cluster.claims import Left, ModelClaim
    from provision.cluster.looks import Planned, Status, Traffic
    from provision.cluster.traffic.weighing import Given

_FIELDS_SHOWN = 12
_STATES = {
    "deploying": "somebody is deploying",
    "nothing": "nothing is deployed",
    "starting": "not all of it is ready",
    "failing": "something does not run",
    "forgotten": "it runs, and the cluster does not know any more what it is",
    "drifted": "it is not as the last deploy left it",
    "interrupted": "a deploy was cut short: between two releases",
    "degraded": "DEGRADED: neither release could be proven",
}
_NEXT = {
    "failing": "deploy logs",
    "drifted": "deploy plan, then: deploy up",
    "nothing": "deploy up",
    "forgotten": "deploy up takes it back; so does deploy up, then deploy down, which ends it",
}


def plan_lines(host: str, planned: Planned) -> Iterator[str]:
    """What `deploy up` would do."""
    if planned.unchanged:
        yield f"{host}: unchanged; {planned.channel} is {planned.release[:12]}"
        yield from _spare_lines(planned.old_claims)
        return
    yield f"{host}: {planned.channel} goes from {planned.current[:12] or 'nothing'} to {planned.release[:12]}"
    if planned.steps:
        yield f"  {steps_line(planned.steps)}; whoever runs deploy rollout watch takes them"
    if planned.interrupted:
        yield f"  first: what {planned.interrupted} began and did not end is ended by this"
    if planned.makes_namespace:
        yield f"  create   Namespace {planned.makes_namespace}"
    for each in planned.changes:
        if each.do == "keep":
            continue
        yield f"  {each.do:8} {each.name}"
        yield from (f"             {field}" for field in each.fields[:_FIELDS_SHOWN])
        if len(each.fields) > _FIELDS_SHOWN:
            yield f"             and {len(each.fields) - _FIELDS_SHOWN} more fields"
    kept = sum(each.do == "keep" for each in planned.changes)
    if kept:
        yield f"  keep     {kept} {'object' if kept == 1 else 'objects'}"
    yield from _spare_lines(planned.old_claims)
    yield from (f"  in doubt: {text}" for text in planned.doubts)
    yield from (f"  up would be refused: {text}" for text in planned.refused)
    if planned.next_step:
        yield f"  next: {planned.next_step}"
    if any(each.claims for each in planned.changes):
        yield "  next: declare it so; or take it from them: deploy up --take-over MANAGER"


def status_lines(host: str, found: Status) -> Iterator[str]:
    """How it stands, and what to do now."""
    yield f"{host}: {_STATES.get(found.state, found.state)}"
    inventory = found.inventory
    if found.holder:
        yield f"  {found.holder} is deploying"
    if inventory.begun and not found.holder:
        begun = inventory.begun
        what = f"{begun.kind} of {begun.release[:12]} to {begun.channel}"
        if begun.kind == "down":
            what = f"down of {begun.channel or 'all of it'}"
        yield f"  {begun.who} began {what}, and did not end it"
    yield from (f"  {line}" for line in inventory.degraded.splitlines())
    for channel, release in inventory.channels.items():
        yield f"  {channel} is {release[:12]}, generation {inventory.generation}"
    yield from (f"  {each}" for each in found.ways)
    yield from (f"  {line}" for line in _given_lines(inventory.shares, found.given))
    yield from standing_lines({}, inventory.rollout)
    rows = []
    for each in found.services:
        restarts = sum(int(pod["restarts"]) for pod in each.pods)
        told = each.standing.told or next((str(pod["why"]) for pod in each.pods if pod["why"]), "")
        ready = f"{each.ready} of {len(each.pods)} pods ready" if each.name.kind == "Deployment" else each.name.kind
        rows.append([each.name.name, each.standing.state, ready, f"{restarts} restarts" if restarts else "", told])
    yield from columns(rows, indent="  ")
    yield from (f"  {line}" for line in found.drift)
    yield from _spare_lines(found.old_claims)
    if inventory.history:
        from dataclasses import asdict

        first, *more = entry_lines(asdict(inventory.history[-1]))  # type: ignore[arg-type]  # what it reads is alike
        yield f"  last: {first}"
        yield from (f"  {line}" for line in more)
    if step := _NEXT.get(found.state) or _ends_it(found):
        yield f"  next: {step}"


def _spare_lines(claims: Sequence[ModelClaim]) -> Iterator[str]:
    if claims:
        count = f"{len(claims)} {'claim' if len(claims) == 1 else 'claims'}"
        freed = size(sum(each.bytes for each in claims))
        yield f"  models that no release has: {count}, {freed}; deploy model prune ends them"


def left_lines(host: str, left: Left) -> Iterator[str]:
    """What stays once a channel has ended, and what ends it."""
    if left.models:
        yield f"{host}: fetched models stay in {_named(left.models)}; deploy model prune --all ends what nothing serves"
    if left.volumes:
        yield f"{host}: what services wrote stays in {_named(left.volumes)}; who needs none of it: {left.ends_volumes}"


def _named(claims: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({size(bytes_)})" for name, bytes_ in claims.items())


def _ends_it(found: Status) -> str:
    """What ends what was cut short, or is degraded: something that is done to the same channel."""
    begun = found.inventory.begun
    if found.state == "interrupted" and begun:
        if begun.channel == CANARY:
            return "deploy up --channel canary, or deploy down --channel canary, ends it"
        return "deploy up, deploy rollback or deploy down ends it"
    if found.state == "degraded":
        if found.inventory.degraded_channel == CANARY:
            return "deploy logs --channel canary; then deploy up --channel canary, or deploy down --channel canary"
        return "deploy logs; then deploy up or deploy rollback"
    return ""


def traffic_lines(host: str, found: Traffic, minutes: int) -> Iterator[str]:
    """Who gets which request."""
    if not found.given:
        yield f"{host}: stable has all requests"
    for service, lanes in found.seen.items():
        rows = [[lane, str(seen["requests"]), str(seen["errors"])] for lane, seen in lanes.items()]
        yield f"{host}: {service}, in the last {minutes} min"
        yield from columns([["lane", "requests", "errors"], *rows], indent="  ")
    yield from standing_lines({}, found.rollout)
    for line in _given_lines(found.shares, found.given):
        yield f"{host}: {line}"


def _given_lines(shares: Mapping[str, float], given: Sequence[Given]) -> Iterator[str]:
    for each in given:
        said = f"; it was given {percent(shares['canary'])}" if "canary" in shares else ""
        yield f"canary has {percent(round(each.share, 4))} of the requests to {each.service}, by {each.by}{said}"


@contextmanager
def tell_done(session: Session, kind: str, channel: str) -> Iterator[list[Ended]]:
    """Progress is shown meanwhile; at the end, how it ended. Ctrl-C, or SIGTERM, puts everything back."""
    began = time.monotonic()
    done: list[Ended] = []
    with session.console.live(), _putting_back(session):
        yield done
    for ended in done:
        inventory = ended.inventory
        release = inventory.channels.get(channel or "stable", "")
        session.remember(filter(None, [release]))
        session.console.event(
            {
                "event": "result",
                "host": session.target,
                "kind": kind,
                "outcome": ended.outcome,
                "channel": channel,
                "release": release,
                "generation": inventory.generation,
                "seconds": round(time.monotonic() - began, 3),
            }
        )


@contextmanager
def _putting_back(session: Session) -> Iterator[None]:
    """The second Ctrl-C leaves it between two releases, which `deploy status` says and the next verb ends."""

    def act(times: int) -> None:
        if times == 1:
            session.console.note("putting back… (Ctrl-C again: leave it as it is; deploy status says how)")
        raise KeyboardInterrupt

    with asked_to_end(act):
        yield
