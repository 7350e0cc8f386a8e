"""Declared checks as the documents that a host works from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision.errors import UsageError
from provision.manifests.places import Places
from provision.project.checks import KINDS, Check
from provision.project.checks.kind import HOST
from provision.project.ports import port_of
from provision.project.schema import Service
from provision.project.template import Template

if TYPE_CHECKING:
    from provision.agent.checks.check import CheckDocument


def service_checks(places: Places, name: str, service: Service) -> list[CheckDocument]:
    """A service's checks in the order in which they run; `warm` comes last and passes once."""
    declared = [*([service.check] if service.check else []), *service.checks]
    asked = [_Asked(places, check, f"services.{name}.check", name, name) for check in declared]
    if service.warm:
        warm = service.warm.model_copy(update={"passes": 1})
        asked.append(_Asked(places, warm, f"services.{name}.warm", f"{name} warm", name))
    return [each.told() for each in asked]


def project_checks(places: Places) -> list[CheckDocument]:
    """The checks of the project as a whole, in the order in which they are declared."""
    return [_Asked(places, check, f"checks.{name}", name, "").told() for name, check in places.project.checks.items()]


@dataclass(frozen=True)
class _Asked:
    """What `provision.project.checks.kind.Asked` asks for."""

    places: Places
    check: Check
    subject: str
    label: str
    service: str  # empty for a check of the project

    def told(self) -> CheckDocument:
        for kind in self.check.kinds:
            return kind.document(self.check, self)
        *others, last = KINDS
        raise UsageError(f"{self.subject}: expected one of {', '.join(others)} or {last}")

    @property
    def token(self) -> str:
        known = self.places.project.services[self.service].every_secret if self.service else ()
        return self.check.token if self.check.token in known else ""

    @property
    def address(self) -> str:
        port = port_of(self.places.project.services[self.service], self.places.lane) if self.service else None
        if port is None:
            raise UsageError(f"{self.subject}: it asks the service itself, but the service declares no port")
        return f"http://{HOST}:{port}"

    @property
    def env(self) -> dict[str, str]:
        """A check runs without the launcher, so it misses secrets, and variables that only a start makes known."""
        if not self.service:
            return {}
        declared = self.places.project.services[self.service].env
        values = {
            name: self.places.value(template, f"services.{self.service}.env.{name}", self.service)
            for name, template in declared.items()
        }
        return {name: each.text for name, each in values.items() if all(isinstance(part, str) for part in each.parts)}

    def text(self, template: Template, key: str) -> str:
        return self.places.text(template, f"{self.subject}.{key}", self.service)

    def document(self, kind: str, what: str) -> CheckDocument:
        return {
            "name": f"{self.label} {kind} {what}".rstrip(),
            "kind": kind,
            "timeout": self.check.timeout,
            "interval": self.check.interval,
            "passes": self.check.passes,
            "attempt_timeout": self.check.attempt_timeout,
        }
