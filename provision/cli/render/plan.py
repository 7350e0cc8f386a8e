"""A plan as lines: what happens to each program and why, then what is shipped."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from provision.cli.render import columns
from provision.cli.render.traffic import MOVES_ON, steps_line, waiting
from provision.contract.devices import seats
from provision.contract.lent import LEAST
from provision.plan import SNAPSHOT
from provision.project.units import percent, seconds, size

if TYPE_CHECKING:
    from provision.plan import Content, Moves, Once, Plan

_FILES_SHOWN = 40
# By whether somebody has to promote it: to sign that, or because the host's keeper can't.
_ENDS = {False: "the host then promotes it", True: "then deploy rollout promote promotes it"}


def plan_lines(host: str, plan: Plan) -> Iterator[str]:
    """What `deploy up` would do on `host`."""
    if plan.unchanged and not plan.refused:
        yield f"{host}: unchanged; {plan.channel} is {plan.release[:12]}"
        return
    before = plan.current[:12] or "nothing"
    yield f"{host}: {plan.channel} goes from {before} to {plan.release[:12] or 'nothing'}"
    if plan.interrupted:
        yield "  first: end an interrupted transaction; the steps may then be fewer"
    if plan.taken_from:
        yield f"  takes the place of project {plan.taken_from}, whose services end"
    seated = any(step.devices for step in plan.steps)
    steps = [
        [step.do, step.program, *([seats(step.devices)] if seated else []), step.how, step.why] for step in plan.steps
    ]
    yield from columns(steps or [["keep"]], indent="  ")
    yield from (f"  takes over {name}, which ends" for name in plan.takes)
    yield from (f"  once.{each.name}: {_once(each)}" for each in plan.once)
    yield from (f"  {name} is {digest}" for name, digest in plan.images.items())
    yield from _shares(plan)
    yield from _files("add", plan.files.added)
    yield from _files("change", plan.files.changed)
    yield from _files("remove", plan.files.removed)
    if plan.files.bytes:
        yield from (f"  large: {path!r}, {size(bytes_)}" for path, bytes_ in plan.files.large.items())
        count = len(plan.files.added) + len(plan.files.changed)
        yield f"  ship {count} file{'s' * (count != 1)}, {size(plan.files.bytes)} at most"
    yield from map(_content, plan.contents)
    if plan.moves:
        yield from _moves(plan.moves)
    if plan.secrets:
        yield f"  new values of secrets: {', '.join(plan.secrets)}"
    yield from (f"  warning: {text}" for text in plan.warnings)
    if plan.refused:
        yield f"  up would be refused: {plan.refused.what}"
        yield from (f"  {text}" for text in (plan.refused.why,) if text)
        yield from (f"  next: {text}" for text in (plan.refused.next_step,) if text)


def lent_lines(plans: Iterable[Plan]) -> Iterator[str]:
    """Of which models several hosts are to have what one of them is brought."""
    lacking = Counter(
        content.name
        for plan in plans
        for content in plan.contents
        if content.kind in ("model", SNAPSHOT) and not content.is_there and content.bytes > LEAST
    )
    for name, hosts in lacking.items():
        if hosts > 1:
            yield f"of {name} about one copy comes for all {hosts} hosts, which lend one another what they have"


def _shares(plan: Plan) -> Iterator[str]:
    if plan.aborts_rollout and plan.weighs:
        yield "  ends the rollout that is under way, if one is"
    if plan.rollout and plan.weighs:
        by_somebody = plan.rollout["evidence"] or plan.rollout.get("by_somebody", False)
        yield f"  {steps_line(plan.rollout['document'])}; {_ENDS[by_somebody]}"
        if "waits_for" in plan.rollout:
            yield f"  that begins {waiting(plan.rollout)}, by: {MOVES_ON}"
    if plan.share is not None:
        yield f"  the canary gets {percent(plan.share)} of the clients"


def _once(once: Once) -> str:
    return f"runs {shlex.join(once.command)}: {once.why}" if once.do == "run" else once.why


def _content(content: Content) -> str:
    named = f"{content.kind} {content.name}" + (f" ({size(content.bytes)})" if content.bytes else "")
    if content.is_there:
        return f"  {named} is on the host already"
    fetched = content.fetched_from and not content.relayed
    do = "make" if content.kind == "environment" else "fetch" if fetched else "ship"
    source = f" from {content.fetched_from}" if content.fetched_from else ""
    source += ", which this machine fetches once" if content.relayed else ""
    return f"  {do} {named}{source}" + (f", of which {size(content.there)} are there already" if content.there else "")


def _moves(moves: Moves) -> Iterator[str]:
    """What comes, for how long, and what is left there; with the old release and the new one, for it is kept."""
    how_long = f", about {seconds(moves.seconds)} at the speed last seen" if moves.seconds is not None else ""
    yield f"  in all {size(moves.bytes)} to move{how_long}"
    left = moves.disk - moves.bytes
    room = f"{size(left)} with both releases" if left > 0 else f"{size(-left)} too few for both releases"
    yield f"  disk: {size(moves.disk)} free, {room}"
    for what, both in (("memory", moves.memory), ("memory of a GPU", moves.vram)):
        if both:
            needed, free = both
            fits = "" if needed <= free else ": it does not fit"
            yield f"  {what}: {size(needed)} needed, {size(free)} free{fits}"


def _files(what: str, paths: Iterable[str]) -> Iterator[str]:
    shown = list(paths)
    yield from (f"  {what} {path!r}" if "\n" in path else f"  {what} {path}" for path in shown[:_FILES_SHOWN])
    if len(shown) > _FILES_SHOWN:
        yield f"  {what} {len(shown) - _FILES_SHOWN} more files"
