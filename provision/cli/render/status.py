"""How a host stands, as lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from provision.cli.render import columns
from provision.cli.sentences import size
from provision.contract.devices import seats, short
from provision.contract.slots import STABLE

if TYPE_CHECKING:
    from provision.contract.facts import Seen
    from provision.contract.records import HistoryEntry, ProgramDocument
    from provision.rollout import HostStatus

_STATES = {
    "nothing": "nothing is deployed",
    "stopped": "stopped on purpose; deploy start, or deploy up, starts it",
    "failing": "a program does not run",
    "unsupervised": "serving, but without its supervisor, which was killed; deploy up, or deploy unlock, restarts it",
    "interrupted": "a transaction was cut short; the next deploy, or deploy unlock, ends it",
    "degraded": "DEGRADED: neither release could be proven; deploy up, or deploy unlock",
}


def status_lines(status: HostStatus) -> Iterator[str]:
    project = status.project
    state = project["state"]
    if untrusted := project.get("untrusted"):
        yield f"{status.host}: {untrusted['what']}"
        seen = project["view"]["programs"]
        yield from columns([_seen(name, seen[name]) for name in seen], indent="  ")
        yield f"  next: {untrusted['next']}"
        return
    yield f"{status.host}: {_STATES.get(status.state, status.state)}"
    if status.another:
        yield f"  this is what project {status.another} has there, in the same path"
    if holder := project["holder"]:
        yield f"  {holder.get('who', 'somebody')} is {holder.get('doing', 'deploying')}"
    if project["journal"] and project["journal"].get("why"):
        yield f"  {project['journal']['why']}"
    for channel, release in state["channels"].items():
        yield f"  {channel} is {release[:12]}, generation {state['generation']}"
    seen = project["view"]["programs"]
    records = state["programs"]
    seated = any(record.get("devices") for record in records.values())
    programs = [_program(name, record, seen.get(name), seated=seated) for name, record in records.items()]
    yield from columns(programs, indent="  ")
    for name, missing in status.lost.items():
        yield f"  {name} has lost {', '.join(map(short, missing))}; deploy plan shows where it would go"
    yield from (f"  {text}" for text in project.get("occupied", {}).values())
    if project["history"]:
        yield f"  last: {entry_line(project['history'][-1])}"


def _program(name: str, record: ProgramDocument, seen: Seen | None, *, seated: bool) -> list[str]:
    columns_ = _seen(name, seen)
    if record.get("on_demand") and columns_[1] not in ("running", "unsupervised"):
        columns_[1] = "on demand"
    if record.get("stopped") and columns_[1] not in ("running", "unsupervised"):
        lane = "" if record["lane"] == STABLE else f" --channel {record['lane']}"
        columns_[1], columns_[4] = "stopped", f"on purpose; deploy start {record['service']}{lane}"
    release, older = record["release"], seen.get("release") if seen else None
    if older:
        columns_[4] = f"finishes on its old code; its next start is from {release[:12]}"
    has = [seats(record.get("devices", []))] if seated else []
    return [*columns_[:4], *has, f"from {(older or release)[:12]}", columns_[4]]


def _seen(name: str, seen: Seen | None) -> list[str]:
    """A program as its supervisor sees it."""
    if seen is None:
        return [name, "missing", "", "", ""]
    memory = size(seen["memory_bytes"]) if seen["memory_bytes"] else ""
    pid = f"pid {seen['pid']}" if seen["pid"] else ""
    return [name, seen["activity"], pid, memory, seen["detail"]]


def entry_line(entry: HistoryEntry) -> str:
    """One transaction of the history."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["time"])) if entry.get("time") else ""
    channels = ", ".join(f"{channel} {release[:12]}" for channel, release in entry.get("channels", {}).items())
    kind = " ".join([entry.get("kind", ""), *entry.get("services", [])])
    words = [f"#{entry['sequence']}", when, kind, entry.get("outcome"), channels]
    images = ", ".join(f"{name} {digest[:19]}" for name, digest in entry.get("images", {}).items())
    words.append(images)
    return "  ".join(word for word in [*words, f"by {entry.get('who', '?')}"] if word)
