"""Where a lane's services are on a host, and what `${…}` means there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from provision.contract.layout import Layout
from provision.contract.slots import home, named, numbered
from provision.engines import wheel
from provision.errors import UnencodableValue, UsageError
from provision.manifests.value import AtStart, FromSecret, Value, Variable
from provision.platforms import Face, face
from provision.project.fronted import is_fronted
from provision.project.models import BEHIND_HUB, AtTheHub
from provision.project.order import start_order
from provision.project.ports import port_of, slot_port
from provision.project.schema import Project
from provision.project.service import Lane, Service
from provision.project.target import Target
from provision.project.template import Ref, SecretPart, Template
from provision.project.traffic import SPARE

_HOMES = ("/home/", "/root/", "/run/user/")


@dataclass(frozen=True)
class LaneOnTarget:
    """One lane of a project on a target; of a service with several copies, one of them."""

    project: Project
    target: Target
    lane: Lane
    models: Mapping[str, str]  # what a service declares as its model -> where the release has it
    copy: int = 1

    @property
    def slot(self) -> str:
        """Where the copy is."""
        return numbered(self.copy) if self.copy > 1 else home(self.lane)

    def copies(self, service: str) -> list[LaneOnTarget]:
        """The places of each copy of `service`.

        Of one with traffic before it, a program has the same place in every lane.
        """
        copies = self.project.copies_of(service, self.lane)
        if self.lane is Lane.STABLE or not self.fronted(service):
            return [replace(self, copy=copy) for copy in range(1, copies + 1)]
        stable = self.project.copies_of(service, Lane.STABLE)
        spare = stable + (1 if self.lane is Lane.CANARY else SPARE)
        return [replace(self, lane=Lane.STABLE, copy=spare)]

    def fronted(self, service: str) -> bool:
        """Whether requests get to `service` through what stands before it."""
        return is_fronted(self.target, self.project.services[service])

    @cached_property
    def platform(self) -> Face:
        """What runs the services."""
        return face(self.target.platform)

    def holds(self, service: str) -> bool:
        """Whether the target runs `service`."""
        named = self.target.services
        return service in self.project.services and (named is None or service in named)

    @cached_property
    def depths(self) -> dict[str, int]:
        """How many services have to start one after another before each.

        Not its place in the start order, which changes for everybody when one service is added.
        """
        depths: dict[str, int] = {}
        for name in start_order(self.project.services):
            depths[name] = max((1 + depths.get(other, 0) for other in self.project.services[name].after), default=0)
        return depths

    def program(self, service: str) -> str:
        """What the supervisor calls this copy of a service."""
        return self.platform.program(self.target.name_prefix, self.project.name, named(service, self.slot))

    def programs(self, service: str) -> list[str]:
        """What the supervisor calls every copy of a service of this lane; with traffic, of every lane."""
        if self.fronted(service):
            slots = range(1, self.project.copies_of(service, Lane.STABLE) + SPARE + 1)
            return [replace(self, lane=Lane.STABLE, copy=copy).program(service) for copy in slots]
        return [each.program(service) for each in self.copies(service)]

    def port(self, service: str) -> int | None:
        """The port of this copy of a service; None where it has none."""
        declared = self.project.services[service]
        return slot_port(declared, self.copy) if self.fronted(service) else port_of(declared, self.lane, self.copy)

    def run(self, service: str) -> str:
        """The folder, by the link that the host points at it, of a service's launcher, secrets and release."""
        return Layout(self.target.path).launch(self.program(service))

    def binary(self, service: Service, subject: str) -> str:
        """The program that `${binary}` names: relative to the release, or absolute; empty where there is none.

        Raises:
            UnencodableValue: the wheel engine in a container, which has what its image has.
        """
        if service.engine != "wheel":
            return service.binary or ""
        if not self.target.can.on_host:
            reason = 'the wheel engine is for hosts; an image brings a compiled one: engine = "build", or binary = "…"'
            raise UnencodableValue(subject, reason)
        return wheel().on_host(self.target.path)

    def value(self, template: Template, subject: str, service: str = "") -> Value:
        """What `template` is in this lane; `service` is the one it belongs to, if any.

        Raises:
            UsageError: a reference has nothing to refer to.
        """
        parts: list[str | AtStart | FromSecret] = []
        for part in template.parts:
            for known in self._known(part, subject, service):
                if isinstance(known, str) and parts and isinstance(parts[-1], str):
                    parts[-1] += known  # one literal reads better in a file than three
                else:
                    parts.append(known)
        return Value(subject, tuple(parts))

    def _known(
        self, part: str | Ref | SecretPart, subject: str, service: str
    ) -> tuple[str | AtStart | FromSecret, ...]:
        if isinstance(part, SecretPart):
            return (FromSecret(part.name),)
        return (part,) if isinstance(part, str) else self._resolved(part, subject, service)

    def secret_files(self, service: str) -> tuple[Variable, ...]:
        """The variables that tell a service where the files of its secrets are."""
        return tuple(
            Variable(f"{secret}_FILE", Value(f"services.{service}.secret_files", self.platform.secret_file(secret)))
            for secret in self.project.services[service].secret_files
        )

    def _of_model(self, name: str, service: Service) -> str:
        """What a reference means of a service's models; empty where it has none such."""
        model = service.models.get(name if name in ("draft", "mmproj") else "model", "")
        place = self.models.get(model, "")
        declared = self.project.models.get(model)
        if name in ("model", "draft", "mmproj"):
            return place
        if declared is None or not declared.is_snapshot:
            return ""
        return place[: place.index(BEHIND_HUB)] if name == "hub" else AtTheHub(declared.source).repository

    def text(self, template: Template, subject: str, service: str = "") -> str:
        """Like `value`, for places where everything has to be known by now."""
        return self.value(template, subject, service).text

    def _resolved(self, ref: Ref, subject: str, owner: str) -> tuple[str | AtStart, ...]:
        secret = ref.name.removeprefix("secret_files.")
        return (self._reference(ref, subject, owner),) if secret == ref.name else self.platform.secret_file(secret)

    def _reference(self, ref: Ref, subject: str, owner: str) -> str | AtStart:
        service = self.project.services.get(owner)
        match ref.name:
            case "cpus":
                return AtStart.CPUS
            # On a host everything is beside each other; a proxy or a tunnel brings others in.
            case "listen":
                return "127.0.0.1"
            case "path":
                return self.target.path
            case "project":
                return self.project.name
            case "model" | "draft" | "mmproj" | "hub" | "repository" if service and (
                known := self._of_model(ref.name, service)
            ):
                return known
            case "binary" if service and service.is_native:
                binary = self.binary(service, f"services.{owner}.engine")
                # A bare name would be looked up on PATH instead of in the release.
                return binary if "/" in binary else f"./{binary}"
            case "port" if service:
                return _said(self.port(owner), ref, subject)
            case name if name.startswith("services."):
                other = self.project.services.get(name.split(".")[1])
                if other and name.endswith(".host"):
                    return "127.0.0.1"
                if other and is_fronted(self.target, other):
                    # What stands before it has the declared port, for whoever calls it.
                    return _said(self.port(owner) if other is service else other.port, ref, subject)
                if other:
                    # A candidate is proven beside what runs already: those it talks to may have no candidate.
                    lane = Lane.STABLE if self.lane is Lane.CANDIDATE and other is not service else self.lane
                    return _said(port_of(other, lane), ref, subject)  # of several copies, the first one's
        raise UsageError(f"{subject}: ${{{ref.name}}} has nothing to refer to here")


def _said(port: int | None, ref: Ref, subject: str) -> str:
    if port is None:
        raise UsageError(f"{subject}: ${{{ref.name}}} asks for a port that is not declared")
    return str(port)


def in_home(path: str) -> bool:
    """Whether a folder lies in somebody's home, which systemd's sandbox may hide."""
    return f"{path}/".startswith(_HOMES)
