"""What has to change on a host so that it runs a release. Pure: values in, a value out.

The steps come from `contract.decide`, which the host runs again under its locks: what was shown is what is done, or the
transaction is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from provision.contract import on_purpose, roles
from provision.contract.channels import channels_after, demand_there, moved_lane
from provision.contract.decide import decide
from provision.contract.failure import Failure
from provision.contract.host_view import HostView
from provision.contract.slots import named
from provision.contract.state import State, from_dict
from provision.errors import Refused, UsageError
from provision.plan.difference import FileChanges, Plan
from provision.plan.lacking import contents, environments, file_changes, new_secrets, on_the_cpu

if TYPE_CHECKING:
    from provision.contract.facts import ProjectFacts
    from provision.contract.release import ReleaseDocument


def plan(
    kind: str,
    channel: str,
    facts: ProjectFacts,
    *,
    document: ReleaseDocument | None = None,
    release: str = "",
    secrets: Mapping[str, str] | None = None,
    paths: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Plan:
    """Plan one transaction.

    Args:
        facts: `project` of the agent's answer to `facts`.
        document: release.json of the release to go up; for `up` alone.
        release: its id; for `rollback`, the one to go back to, or empty for the last one.
        secrets: today's values of the secrets that the project names; for `up` alone.
        paths: path -> digest of the release's files, where file changes are to be shown.
        sizes: path -> bytes of those that have to be shipped.

    Raises:
        Refused: there is nothing to promote or to go back to.
    """
    state = from_dict(facts["state"])
    project = document["project"] if document is not None else state.project
    taken_from = state.project if project != state.project else ""
    documents = dict(facts["documents"])
    if document is not None:
        documents[release] = document
    try:
        channels = channels_after(kind, channel, release, state, project, lambda: facts["previous"])
        if kind == "rollback":
            demand_there({channel: channels[channel]}, documents)
    except Failure as refused:
        raise Refused(refused.what, next_step=refused.next_step) from None
    made = {output for each in documents.values() if each["prepare"] for output in each["prepare"]["outputs"]}
    models = document["models"] if document else {}
    engines = document.get("engines", {}) if document else {}
    needed = environments(document)
    rotated = new_secrets(facts, secrets or {})
    view, lane = HostView.of(facts["view"]), moved_lane(kind, channel)
    steps = decide(state, channels, documents, view, set(rotated), lane)
    moved = channels.get("stable" if kind in ("promote", "rollback") else channel, "")
    return Plan(
        kind=kind,
        channel=channel,
        release=moved,
        current="" if taken_from else state.channels.get(channel, ""),
        generation=state.generation,
        steps=tuple(steps),
        ship=kind == "up" and release not in facts["releases"],
        models=tuple(sorted({model["sha256"] for model in models.values()} - set(facts["models"]))),
        engines=tuple(sorted(engines.keys() - set(facts["engines"]))),
        environments=tuple(sorted(needed.keys() - set(facts["environments"]))),
        secrets=tuple(rotated),
        files=file_changes(facts.get("files") or {}, paths, sizes or {}, made) if paths is not None else FileChanges(),
        interrupted=facts["recovery_needed"],
        contents=tuple(contents(models, engines, needed, facts)),
        taken_from=taken_from,
        warnings=(*facts.get("occupied", {}).values(), *(on_the_cpu(models) if facts["view"].get("gpus") else ())),
    )


def plan_on_purpose(kind: str, channel: str, facts: ProjectFacts, services: Sequence[str] = ()) -> Plan:
    """Plan a restart, a start or a stop.

    Args:
        kind: one of `on_purpose.KINDS`.
        services: `api` with all of its copies, or one copy as `api.2`; none: all that run without being asked for.

    Raises:
        Refused: nothing is deployed in that channel.
        UsageError: there is no such service.
    """
    state = from_dict(facts["state"])
    try:
        channels_after(kind, channel, "", state, state.project, lambda: None)
    except Failure as refused:
        raise Refused(refused.what, next_step=refused.next_step) from None
    if channel not in state.channels:
        raise Refused(f"there is no {channel} here, so there is nothing to {kind}.", next_step="deploy status")
    programs = _programs(state, channel, services)
    document = facts.get("documents", {}).get(state.channels[channel])
    if kind == on_purpose.RESTART and not services and document and "traffic" in document:
        # All requests come through it, so it is started anew by its name alone; and who is at home with it.
        programs = tuple(name for name in programs if name not in (roles.stands_before(state), roles.keeper(state)))
    return Plan(
        kind=kind,
        channel=channel,
        release=state.channels[channel],
        current=state.channels[channel],
        generation=state.generation,
        steps=tuple(on_purpose.steps(kind, programs, state, HostView.of(facts["view"]))),
        interrupted=facts["recovery_needed"],
        services=tuple(services),
        programs=programs,
    )


def _programs(state: State, channel: str, services: Sequence[str]) -> tuple[str, ...]:
    known: dict[str, list[str]] = {}
    for program, record in state.programs.items():
        if record.lane == channel:
            copy = named(record.service, record.slot) if record.slot.isdigit() else record.service
            for name in dict.fromkeys((record.service, copy)):
                known.setdefault(name, []).append(program)
    unknown = [name for name in services if name not in known]
    if unknown:
        there = ", ".join(name for name in known)
        raise UsageError(f"{channel} has no service {unknown[0]!r} there.", why=f"It has: {there}.")
    if services:
        return tuple(dict.fromkeys(program for name in services for program in known[name]))
    return tuple(name for name, record in state.programs.items() if record.lane == channel and not record.on_demand)
