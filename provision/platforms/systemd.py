"""systemd: a unit for each service, and a target of all. Units share one namespace with all else on the machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from provision.contract.grouping import target_unit
from provision.manifests.control import Control
from provision.manifests.templates import render
from provision.platforms.on_host import OnHost
from provision.project.schema import Target


class Systemd(OnHost):
    """The manager of a system, or of a user."""

    def program(self, prefix: str, project: str, service: str) -> str:
        return f"{super().program(prefix, project, service)}.service"

    def group(self, prefix: str, project: str) -> str:
        return f"{prefix}{project}.target"

    def beside(self, target: Target, project: str) -> dict[str, str]:
        group = self.group(target.name_prefix, project)
        return {group: target_unit(group, target.user_units)}

    def grants(self, control: Control, overrides: Path | None) -> Mapping[str, str]:
        return {
            f"{control.name}.socket": render("systemd/control.socket.j2", overrides, control=control),
            f"{control.name}@.service": render("systemd/control.service.j2", overrides, control=control),
        }

    def restarts(self, prefix: str, project: str) -> str:
        return f'increase(node_systemd_service_restart_total{{name=~"{prefix}{project}-.+"}}[15m])'

    def follow(self, target: Target, program: str, lines: int) -> list[str]:
        scope = "--user-unit" if target.user_units else "--unit"
        return [*target.as_root, "journalctl", "-f", "-o", "cat", "-n", str(lines), scope, program]


FACE = Systemd("systemd", "systemd/program.service.j2")
