"""A plan as lines: what happens to each program and why, then what is shipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from provision.cli.render import columns
from provision.engines import wheel

if TYPE_CHECKING:
    from provision.plan import Plan

_FILES_SHOWN = 40


def plan_lines(host: str, plan: Plan) -> Iterator[str]:
    """What `deploy up` would do on `host`."""
    if plan.unchanged:
        yield f"{host}: unchanged; {plan.channel} is {plan.release[:12]}"
        return
    before = plan.current[:12] or "nothing"
    yield f"{host}: {plan.channel} goes from {before} to {plan.release[:12] or 'nothing'}"
    if plan.interrupted:
        yield "  first: end an interrupted transaction; the steps may then be fewer"
    yield from columns([[step.do, step.program, step.how, step.why] for step in plan.steps] or [["keep"]], indent="  ")
    yield from _files("add", plan.files.added)
    yield from _files("change", plan.files.changed)
    yield from _files("remove", plan.files.removed)
    yield from (f"  ship model sha256 {digest[:12]}…" for digest in plan.models)
    if plan.engines:
        yield f"  ship engine {wheel().name}"
    if plan.secrets:
        yield f"  new values of secrets: {', '.join(plan.secrets)}"
    yield from (f"  warning: {text}" for text in plan.warnings)


def _files(what: str, paths: Iterable[str]) -> Iterator[str]:
    shown = list(paths)
    yield from (f"  {what} {path!r}" if "\n" in path else f"  {what} {path}" for path in shown[:_FILES_SHOWN])
    if len(shown) > _FILES_SHOWN:
        yield f"  {what} {len(shown) - _FILES_SHOWN} more files"
