"""What a target declares: hosts, machines of a provider or a cluster, a platform, and what holds for all there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from provision.project.front import Front
from provision.project.gateway import Gateway
from provision.project.platforms import DEFAULT, PLATFORMS, Abilities, Platform
from provision.project.renting import Accept, Backup, Budget, Needs
from provision.project.rollout import Rollout
from provision.project.section import Section
from provision.project.traffic import TrafficOrNone
from provision.project.values import (
    PREFIX,
    Bytes,
    FilledText,
    Flag,
    HostPath,
    HostString,
    Image,
    Name,
    Namespace,
    Network,
    Port,
    ProgramName,
    TargetPath,
    Whole,
)

if TYPE_CHECKING:
    from provision.contract.rollout import RolloutAsked


class Firewall(Section):
    """The firewall of the hosts: what `deploy render ufw` writes, besides what services declare."""

    ssh: tuple[Network, ...] = ()
    """Networks from which one may log in (default: everywhere)."""
    outgoing: Literal["allow", "deny"] = "allow"
    """deny: nothing leaves but names, clocks, and what services declare as `outbound`."""


class Target(Section):
    """A named place: hosts and a platform."""

    platform: Platform = DEFAULT
    """What starts the services there; docker: as containers, each of its image."""
    hosts: Annotated[tuple[FilledText, ...], Field(min_length=1)] = ()
    """`[user@]host[:port]` each; `gpu-[01:16].example.net` is sixteen; "sandbox" is a throwaway one on this machine."""
    provider: Literal["vast"] | None = None
    """Who rents out the machines, instead of `hosts`: `deploy machine rent` rents them."""
    machines: Whole = Field(default=1, ge=1, le=64)
    """provider: how many."""
    needs: Needs | None = None
    budget: Budget | None = None
    accept: Accept = Field(default_factory=Accept)
    backup: Backup | None = None
    path: TargetPath = ""
    """The project's own folder there, which nobody else may write to; below `~/` on the sandbox, whose home that is."""
    context: HostString | None = None
    """kubernetes: the context of the kubeconfig (default: its current one)."""
    namespace: Namespace | None = None
    """kubernetes: where all of it goes (default: the project's name)."""
    kubeconfig: HostString | None = None
    """kubernetes: that file, from the project's folder (default: as kubectl, $KUBECONFIG or ~/.kube/config)."""
    create_namespace: Flag = False
    """kubernetes: `up` makes the namespace where there is none; it never removes it."""
    gateway: Gateway | None = None
    identity: FilledText | None = None
    """The SSH key file (default: the agent's and ssh's own)."""
    known_hosts: HostString | None = None
    """A file of pinned host keys, besides the project's and your own."""
    services: tuple[Name, ...] | None = None
    """Which services run there (default: all)."""
    name_prefix: str = Field(default="", pattern=PREFIX)
    """Put in front of program names, where another project on the same supervisor has the same ones."""
    sudo: Flag = False
    """systemd, supervisord, docker: commands that need root may ask sudo for it."""
    user_units: Flag = False
    """systemd: use the user's own manager instead of the system's."""
    lend: Flag | Port = True
    """Hosts lend one another what they have of a model that comes: false, never; a port: where they listen then."""
    python: HostString = "python3"
    """The Python 3.8 or newer on the host that the agent runs on."""
    gpus: Annotated[Whole, Field(ge=0)] | None = None
    """How many GPUs each host has; 0 is a place for processors alone (default: the host is asked before a deploy)."""
    disk: Bytes | None = None
    """How large the disk below `path` is at least, such as "50GB": a smaller one is refused before anything is sent."""
    supervisor_config: HostPath | None = None
    """supervisord: its configuration file, where it can't be found by itself."""
    take_over: tuple[ProgramName, ...] = ()
    """supervisord, systemd: programs or units that somebody else's configuration starts there, which are replaced."""
    prepare: Flag = True
    """false: this place refuses a prepare step."""
    once: Flag = True
    """false: nothing of `[once]` runs here."""
    keep: Whole = Field(default=3, ge=2)
    """How many releases stay besides those in use; in a cluster too."""
    require: Literal["evidence"] | None = None
    """"evidence": nothing becomes stable here without signed evidence that its checks passed on a host."""
    channel_from: Literal["registry"] | None = None
    """docker: "registry": `up` takes the images' `:stable`, its canary `:canary`, and `promote` moves `:stable`."""
    image: Image | None = None
    """docker: the image of every service that names no other, instead of the project's; a tag is followed."""
    rollout: Rollout = Field(default_factory=Rollout)
    firewall: Firewall | None = None
    """What its hosts let through."""
    traffic: TrafficOrNone = None
    """What stands before the programs, so that nobody meets the moment in which one is replaced."""
    front: Front | None = None

    @property
    def can(self) -> Abilities:
        """What its platform can and cannot do."""
        return PLATFORMS[self.platform]

    @property
    def rollout_asked(self) -> RolloutAsked:
        """The steps that it declares, as a rollout begins with them."""
        return {"document": self.rollout.document(), "evidence": self.require is not None}

    def runs(self, service: str) -> bool:
        """Whether it is one of those that run there."""
        return self.services is None or service in self.services

    @property
    def as_root(self) -> tuple[str, ...]:
        """What stands before a command that needs root, on hosts where that is not who logs in."""
        return ("sudo", "-n") if self.sudo else ()
