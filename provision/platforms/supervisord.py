"""supervisord: a program for each service, in a file of its own, with a log in the project's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from provision.contract.layout import Layout
from provision.manifests.control import Control
from provision.manifests.programs import Program
from provision.manifests.templates import render
from provision.platforms.on_host import OnHost
from provision.project.target import Target


class Supervisord(OnHost):
    """The supervisord of a host, or one of our own."""

    logs_in_project = True

    def program(self, prefix: str, project: str, service: str) -> str:
        return f"{prefix}{service}"  # the plain name, as operators type it

    def file_name(self, facts: Program) -> str:
        return f"{facts.project}.{facts.name}.conf"

    def grants(self, control: Control, overrides: Path | None) -> Mapping[str, str]:
        return {f"sudoers.d/{control.name}": render("supervisord/sudoers.j2", overrides, control=control)}

    def follow(self, target: Target, program: str, lines: int | None) -> list[str]:
        return ["tail", "-n", str(lines or 0), "-F", Layout(target.path).log(program)]


FACE = Supervisord("supervisord", "supervisord/program.conf.j2")
