"""How a host stands, as lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from provision.cli.render import columns
from provision.cli.render.preview import previews_there
from provision.cli.render.traffic import findings_lines, note_words, standing_lines
from provision.cli.sentences import measured
from provision.contract.acme import complaints
from provision.contract.devices import seats
from provision.contract.slots import STABLE
from provision.project.units import percent, size
from provision.rollout import Unreached

if TYPE_CHECKING:
    from provision.contract.facts import Seen
    from provision.contract.records import Failed, HistoryEntry, ProgramDocument
    from provision.rollout import HostStatus, Standing


def status_lines(status: Standing) -> Iterator[str]:
    """How a host stands, and what to do now."""
    if isinstance(status, Unreached):
        yield f"{status.host}: unreachable: {status.error.what}"
        yield from (f"  {line}" for line in status.error.why.splitlines())
    elif status.project.get("untrusted"):
        seen = status.project["view"]["programs"]
        yield f"{status.host}: {status.project['untrusted']['what']}"
        yield from columns([_seen(name, seen[name]) for name in seen], indent="  ")
    else:
        yield from _standing(status)
    if status.next:
        yield f"  next: {status.next}"


def _standing(status: HostStatus) -> Iterator[str]:
    project, state = status.project, status.project["state"]
    yield f"{status.host}: {status.says}"
    if status.another:
        yield f"  this is what project {status.another} has there, in the same path"
    if holder := project["holder"]:
        yield f"  {holder.get('who', 'somebody')} is {holder.get('doing', 'deploying')}"
    if project["journal"] and project["journal"].get("why"):
        yield f"  {project['journal']['why']}"
    for channel, release in state["channels"].items():
        yield f"  {channel} is {release[:12]}, generation {state['generation']}"
    yield from standing_lines(state.get("shares", {}), state.get("rollout"))
    for place, peer in state.get("peers", {}).items():
        yield f"  {place} is {peer['host']}: {'takes requests' if peer['takes'] else 'takes nothing new'}"
    yield from ([f"  {status.front}"] if status.front else [])
    seen = project["view"]["programs"]
    records = state["programs"]
    seated = any(record.get("devices") for record in records.values())
    programs = [_program(name, record, seen.get(name), seated=seated) for name, record in records.items()]
    yield from columns(programs, indent="  ")
    for name, restarted in status.restarted.items():
        yield f"  {name} was started again {_times(restarted['times'])} within ten minutes, {_ago(restarted['ago'])}"
    yield from (f"  {drift}" for drift in status.drift)
    yield from (f"  {name}: {text}" for name, text in complaints(project.get("certificates", {})).items())
    yield from (f"  {text} next: deploy host mend" for text in project.get("front", ()))
    yield from (f"  {text}" for text in project.get("occupied", {}).values())
    yield from previews_there(project)
    ended: list[HistoryEntry | Failed] = [*project.get("failed", ())[::-1], *project["history"][::-1]]
    if ended:
        first, *more = entry_lines(max(ended, key=lambda entry: entry.get("time", 0)))
        yield f"  last: {first}"
        yield from (f"  {line}" for line in more)


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _ago(seconds: float) -> str:
    return f"last {seconds:.0f} s ago" if seconds < 2 * 60 else f"last {seconds / 60:.0f} minutes ago"


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


def entry_lines(told: HistoryEntry | Failed) -> list[str]:
    """One transaction of the history; of one that did not commit also why."""
    entry = cast("dict[str, Any]", told)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["time"])) if entry.get("time") else ""
    channels = ", ".join(f"{channel} {release[:12]}" for channel, release in entry.get("channels", {}).items())
    number = f"#{entry['sequence']}" if "sequence" in entry else "-"
    kind = " ".join([entry.get("kind", ""), *entry.get("services", [])])
    images = ", ".join(f"{name} {digest[:19]}" for name, digest in entry.get("images", {}).items())
    words = [number, when, kind, entry.get("outcome"), channels, images]
    words.append(", ".join(f"took over {name}" for name in entry.get("took_over", ())))
    words.append(", ".join(f"once.{name} {outcome}" for name, outcome in entry.get("once", {}).items()))
    words.append("; ".join(f"{name}{measured(facts)}" for name, facts in entry.get("bench", {}).items()))
    words.append(", ".join(f"{lane} has {percent(share)}" for lane, share in entry.get("shares", {}).items()))
    note = entry.get("rollout")
    words.append(note_words(note) if note else "")
    words.append(f"by {entry.get('who', '?')}")
    said = entry.get("why") or ""
    more = [said] if said and not (note and note["why"].startswith(said)) else []
    if note:
        more += [note["why"], *findings_lines(note["findings"], indent="  ")]
    return ["  ".join(word for word in words if word), *(f"     {line}" for line in more if line)]
