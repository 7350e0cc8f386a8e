"""systemd: a unit for each service, and a target of all. Units share one namespace with all else on the machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from provision.contract.grouping import target_unit
from provision.manifests.control import Control
from provision.manifests.templates import render
from provision.platforms.on_host import OnHost
from provision.project.target import Target


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
            f"{own.name}{suffix}": render(f"systemd/control.{kind}.j2", overrides, control=own)
            for own in control.apart()
            for suffix, kind in ((".socket", "socket"), ("@.service", "service"))
        }

    def restarts(self, prefix: str, project: str) -> str:
        return f'increase(node_systemd_service_restart_total{{name=~"{prefix}{project}-.+"}}[15m])'

    def follow(self, target: Target, program: str, lines: int | None) -> list[str]:
        since = ["--no-tail", "--since=@@SINCE@"] if lines is None else ["-n", str(lines)]
        scope = "--user-unit" if target.user_units else "--unit"
        return ["journalctl", "-f", "-q", "-o", "cat", *since, scope, program]


FACE = Systemd("systemd", "systemd/program.service.j2")
