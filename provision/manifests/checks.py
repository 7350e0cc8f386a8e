"""Declared checks as the documents that a host works from."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from provision.contract.slots import named
from provision.errors import UsageError
from provision.manifests.places import LaneOnTarget
from provision.project.checks import KINDS, Check
from provision.project.checks.kind import HOST, Asked
from provision.project.service import Service

if TYPE_CHECKING:
    from provision.contract.checks import CheckDocument


def service_checks(places: LaneOnTarget, name: str, service: Service) -> list[CheckDocument]:
    """A service's checks in the order in which they run; `warm` comes last and passes once."""
    called = named(name, places.slot) if places.copy > 1 else name
    documents = [_told(places, check, f"services.{name}.check", called, name) for check in service.every_check]
    if service.warm:
        warm = service.warm.model_copy(update={"passes": 1})
        documents.append(_told(places, warm, f"services.{name}.warm", f"{called} warm", name))
    return documents


def project_checks(places: LaneOnTarget) -> list[CheckDocument]:
    """The checks of the project as a whole, in the order in which they are declared."""
    return [_told(places, check, f"checks.{name}", name, "") for name, check in places.project.checks.items()]


def _told(places: LaneOnTarget, check: Check, subject: str, label: str, service: str) -> CheckDocument:
    known = places.project.services[service].every_secret if service else ()
    asked = Asked(
        check,
        subject,
        label,
        token=check.token if check.token in known else "",
        text=lambda template, key: places.text(template, f"{subject}.{key}", service),
        address=partial(_own_address, places, subject, service),
        env=partial(known_env, places, service),
    )
    for kind in check.kinds:
        return kind.document(check, asked)
    *others, last = KINDS
    raise UsageError(f"{subject}: expected one of {', '.join(others)} or {last}")


def _own_address(places: LaneOnTarget, subject: str, service: str) -> str:
    port = places.port(service) if service else None
    if port is None:
        raise UsageError(f"{subject}: it asks the service itself, but the service declares no port")
    return f"http://{HOST}:{port}"


def known_env(places: LaneOnTarget, service: str) -> dict[str, str]:
    """A check runs without the launcher, so it misses secrets, and variables that only a start makes known."""
    if not service:
        return {}
    values = {
        name: places.value(template, f"services.{service}.env.{name}", service)
        for name, template in places.project.services[service].env.items()
    }
    return {name: value.text for name, value in values.items() if all(isinstance(part, str) for part in value.parts)}
