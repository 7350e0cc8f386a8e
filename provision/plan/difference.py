"""What a plan says: the difference between what is declared and what one host has, as steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from provision.contract import once
from provision.contract.steps import Do, Step

if TYPE_CHECKING:
    from provision.contract.rollout import RolloutAsked

SNAPSHOT = "snapshot"


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
