"""Who may start services on demand with `deploy-ctl`, as files that people review before they put them there.

A deploy never grants this by itself. Nothing is needed where those who ask are the account that deploys, as on a rented
machine. Under systemd a socket takes requests, because a unit that may gain no privileges cannot use sudo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from provision.contract.layout import CONTROL, control_socket
from provision.manifests.places import LaneOnTarget, in_home
from provision.manifests.value import Value


@dataclass(frozen=True)
class Grant:
    """What one account may start."""

    user: Value
    services: tuple[str, ...]


@dataclass(frozen=True)
class Control:
    """What a template may use, as `control`."""

    project: str
    path: str  # of the target
    name: str  # of what is put there: systemd's units, the file for sudo
    program: str  # absolute path of deploy-ctl
    socket: str  # absolute path
    in_home: bool  # the project lies in somebody's home
    grants: tuple[Grant, ...]

    def apart(self) -> tuple[Control, ...]:
        """One for each account, with names of its own where there are several: none can take another's room."""
        if len(self.grants) == 1:
            return (self,)
        return tuple(
            replace(self, name=f"{self.name}.{user}", socket=control_socket(self.path, user), grants=(grant,))
            for grant in self.grants
            for user in (grant.user.text,)
        )


def files(places: LaneOnTarget, overrides: Path | None) -> dict[str, str]:
    """The files by their names; none where nobody needs them."""
    control = _control(places)
    if not control.grants or places.target.user_units:
        return {}
    return dict(places.platform.grants(control, overrides))


def _control(places: LaneOnTarget) -> Control:
    path, prefix = places.target.path, places.target.name_prefix
    started: dict[str, list[str]] = {}
    for name in filter(places.holds, places.project.services):
        service = places.project.services[name]
        if service.user:
            started.setdefault(service.user, []).extend(filter(places.holds, service.starts))
    return Control(
        project=places.project.name,
        path=path,
        name=f"{prefix}{places.project.name}-ctl",
        program=f"{path}/{CONTROL}",
        socket=control_socket(path),
        in_home=in_home(path),
        grants=tuple(
            Grant(Value("services.user", (user,)), tuple(sorted(set(services))))
            for user, services in sorted(started.items())
            if services
        ),
    )
