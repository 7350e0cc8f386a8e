"""What is on its way to hosts just now, by what the commands of this machine tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from provision.recorded import Run


class Moving(NamedTuple):
    """Bytes that go to one host."""

    host: str
    what: str
    done: int
    total: int  # 0: nobody knows
    left: float | None  # seconds, at the speed until now; None where nothing is known
    command: str
    run: str  # its id


def moving(runs: Iterable[Run], target: str) -> list[Moving]:
    """Of the commands that run there; what has arrived whole is left out."""
    return [each for run in runs if run.running and run.target == target for each in _of(run)]


def _of(run: Run) -> Iterable[Moving]:
    first: dict[tuple[str, str, str], tuple[float, int]] = {}
    last: dict[tuple[str, str, str], tuple[float, int, int]] = {}
    ended: set[tuple[str, str]] = set()
    for event in run.events:
        host, phase = str(event.get("host") or ""), str(event.get("phase") or "")
        if event["event"] == "phase":
            (ended.discard if event.get("state") == "begin" else ended.add)((host, phase))
        elif event["event"] == "progress" and event.get("unit") == "bytes":
            key = host, phase, str(event.get("file") or "")
            now = float(event["at"]), int(event["done"]), int(event.get("total") or 0)
            first.setdefault(key, now[:2])
            last[key] = now
    for key, (at, done, total) in last.items():
        host, phase, name = key
        if (host, phase) in ended or (total and done >= total):
            continue
        began, before = first[key]
        speed = (done - before) / (at - began) if at > began else 0.0
        left = (total - done) / speed if total and speed > 0 else None
        yield Moving(host, f"{phase} {name}".strip(), done, total, left, run.command, run.id)
