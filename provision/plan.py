"""What has to change on a host so that it runs a release. Pure: values in, a value out.

The steps come from `contract.decide`, which the host runs again under its locks: what was shown is what is done, or the
transaction is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from provision.contract import on_purpose, once, roles
from provision.contract.channels import channels_after, demand_there, moved_lane
from provision.contract.decide import decide
from provision.contract.failure import Failure
from provision.contract.host_view import HostView
from provision.contract.model_types import without_kernels
from provision.contract.names import ENVIRONMENT
from provision.contract.slots import named
from provision.contract.state import State, from_dict
from provision.contract.steps import Do, Step
from provision.errors import Refused, UsageError

if TYPE_CHECKING:
    from provision.contract.facts import ProjectFacts
    from provision.contract.release import EngineDocument, ModelDocument, ReleaseDocument
    from provision.contract.rollout import RolloutAsked

SNAPSHOT = "snapshot"
_LARGE = 50_000_000  # bytes: with this much in one file, who ships it by mistake wants to know


@dataclass(frozen=True)
class FileChanges:
    """Paths that differ between the release that serves and the new one.

    Attributes:
        bytes: of those that are added or changed; of the changed ones the host is sent what differs.
        large: those of them that are large, with their bytes.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    bytes: int = 0
    large: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """A model, an engine, a HAProxy or an environment that the release needs.

    Attributes:
        kind: model, snapshot, engine, haproxy or environment.
        name: as the project has it, or the engine's; of a HAProxy its version.
        bytes: its size; 0 where it depends on the host.
        there: how many of them the host has: all of them, or what an upload that was cut left.
        fetched_from: who has it, where it is fetched; empty where it is shipped.
        relayed: whether it is fetched by this machine, which ships it.
    """

    kind: str
    name: str
    bytes: int
    there: int
    is_there: bool
    fetched_from: str = ""
    relayed: bool = False


@dataclass(frozen=True)
class Moves:
    """What is brought to a host, how long that takes, and whether it fits there, in bytes.

    Attributes:
        bytes: of models and of files, at most.
        seconds: at the speed that each source was last seen with; None where one never was.
        disk: what is free there.
        memory: what has to be free for what starts, and what is, with what ends first; None where nothing is known.
        vram: the most that one of them needs of a GPU, and what the GPU with most has free.
    """

    bytes: int
    seconds: float | None
    disk: int
    memory: tuple[int, int] | None = None
    vram: tuple[int, int] | None = None


@dataclass(frozen=True)
class Once:
    """A command that runs once for the release."""

    name: str
    command: tuple[str, ...]
    do: str  # run, note (it is written down as done), keep
    why: str


@dataclass(frozen=True)
class Refusal:
    """Why `up` would be refused, seen before anything is sent."""

    what: str
    why: str = ""
    next_step: str = ""


@dataclass(frozen=True)
class Plan:
    """The difference between what is declared and what one host has, as steps.

    Attributes:
        kind: up, promote, rollback or down; restart, start or stop.
        channel: the channel that moves.
        release: the release that it moves to; empty for down.
        current: the release that it has now; empty where there is none.
        generation: the host's generation that this plan is for.
        ship: whether the release has to be brought to the host.
        models: sha256 of the models that have to be brought there.
        engines: ids of the prebuilt engines that have to be brought there.
        haproxy: sha256 of the wheel of the HAProxy that has to be brought there; empty where none has.
        environments: ids of what has to be made there, so that there is an environment.
        secrets: names of secrets whose value is new.
        files: what changes file by file; empty unless it was asked for.
        contents: models and engines, there or to be brought there.
        taken_from: the project whose place this one takes; empty where it takes nobody's.
        refused: what stands against it.
        images: the names of images that are followed -> the digest that each stands for.
        checks: all that the release's own programs have to pass, by name.
        once: the commands that run once for the release; those that run now, or are noted as done, and the others.
        takes: programs that somebody else's configuration starts there, and that are replaced.
        rests_on: the evidence that the release became stable by, when it did; None: it never did, as far as is known.
        services: those that a restart, a start or a stop was asked for by name; empty: all.
        programs: those that it is of.
        share: what a canary is given by hand: 0.05 is five clients of a hundred.
        rollout: the rollout that begins with it; or that it is part of, where it is under way.
        aborts_rollout: whether one that is under way ends.
        moves: what it brings, and what that needs there; where something is brought.
        weighs: whether any of these changes who gets which request, or what becomes of that.
    """

    kind: str
    channel: str
    release: str
    current: str
    generation: int
    steps: tuple[Step, ...] = ()
    ship: bool = False
    models: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    haproxy: str = ""
    environments: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    files: FileChanges = field(default_factory=FileChanges)
    warnings: tuple[str, ...] = ()
    interrupted: bool = False  # an older transaction has to be ended first
    contents: tuple[Content, ...] = ()
    taken_from: str = ""
    refused: Refusal | None = None
    images: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    rests_on: tuple[str, ...] | None = None
    once: tuple[Once, ...] = ()
    takes: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    share: float | None = None
    rollout: RolloutAsked | None = None
    aborts_rollout: bool = False
    weighs: bool = False
    moves: Moves | None = None

    @property
    def unchanged(self) -> bool:
        """Whether the host already is what is declared."""
        same = self.release == self.current and not self.interrupted and not self.weighs
        same = same and not (self.models or self.engines or self.haproxy or self.environments)
        same = same and all(each.do == once.KEEP for each in self.once)
        return same and all(step.do is Do.KEEP for step in self.steps)

    def as_facts(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {**asdict(self), "steps": [step.as_dict() for step in self.steps], "unchanged": self.unchanged}


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
    needed = _environments(document)
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
        contents=tuple(_contents(models, engines, needed, facts)),
        taken_from=taken_from,
        warnings=(*facts.get("occupied", {}).values(), *(_on_the_cpu(models) if facts["view"].get("gpus") else ())),
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


def _environments(document: ReleaseDocument | None) -> dict[str, str]:
    """What its environment is made of: id -> how it is called."""
    made = document.get("environment") if document else None
    if not made:
        return {}
    own = {made["layer"]["id"]: "of the project itself"} if "layer" in made else {}
    return {made["id"]: f"for Python {made['python']}", **own}


def _on_the_cpu(models: Mapping[str, ModelDocument]) -> Iterator[str]:
    """The models that a host's GPUs can't compute."""
    for name, model in models.items():
        yield from without_kernels(name, model["tensor_types"])


def _contents(
    models: Mapping[str, ModelDocument],
    engines: Mapping[str, EngineDocument],
    environments: Mapping[str, str],
    facts: ProjectFacts,
) -> Iterator[Content]:
    for name, model in models.items():
        whole = model["sha256"] in facts["models"]
        there = model["bytes"] if whole else facts["uploads"].get(model["sha256"], 0)
        yield Content("model", name, model["bytes"], there, whole)
    for engine, described in engines.items():
        yield Content("engine", f"{described['package']} {described['version']}", 0, 0, engine in facts["engines"])
    for id_, name in environments.items():
        yield Content("environment", name, 0, 0, id_ in facts["environments"])


def new_secrets(facts: ProjectFacts, secrets: Mapping[str, str]) -> list[str]:
    """Names of the secrets whose value the host does not have. Values are compared by keyed digests alone."""
    salt = bytes.fromhex(facts["salt"])
    return sorted(
        name
        for name, value in secrets.items()
        if not hmac.compare_digest(
            facts["secrets"].get(name, ""), hmac.new(salt, value.encode(), hashlib.sha256).hexdigest()
        )
    )


def file_changes(
    old: Mapping[str, str], new: Mapping[str, str], sizes: Mapping[str, int], made: Collection[str] = ()
) -> FileChanges:
    """What differs.

    Args:
        sizes: path -> bytes.
        made: paths of what hosts make themselves, which is shipped by nobody and so is not removed either.
    """
    added = sorted(new.keys() - old.keys())
    changed = sorted(path for path in new.keys() & old.keys() if new[path] != old[path])
    shipped = {path: sizes.get(path, 0) for path in (*added, *changed)}
    return FileChanges(
        added=tuple(added),
        changed=tuple(changed),
        removed=tuple(sorted(path for path in old.keys() - new.keys() if not _is_made(path, made))),
        bytes=sum(shipped.values()),
        large={path: size for path, size in shipped.items() if size >= _LARGE},
    )


def _is_made(path: str, made: Collection[str]) -> bool:
    way = path.split("/")
    return way[0] == ENVIRONMENT or any("/".join(way[:depth]) in made for depth in range(1, len(way) + 1))
