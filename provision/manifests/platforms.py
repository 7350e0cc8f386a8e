"""What `deploy render` can write: each platform by name, what it gives, and the module that renders it.

A further platform is an entry here, and a module with a function `files` as in `Render`. Modules are imported only to
be used, so that a help text costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from provision.project.schema import Project, Target


class Render(Protocol):
    """Files by their paths, in order. What begins with `#!` is a program."""

    def __call__(self, project: Project, target: Target | None, root: Path) -> dict[str, str]:
        """Pure but for reading templates; the same input gives the same bytes.

        Args:
            target: only the services that it runs; never None for a platform that is `on_hosts`.
            root: the project's folder; its `templates/` replace ours.

        Raises:
            UnencodableValue: a value cannot be held.
            DeclarationError: a template is wrong; says where.
            UsageError: something that the platform needs is missing.
        """
        ...


@dataclass(frozen=True)
class Rendered:
    """A platform that files are written for."""

    gives: str  # for people, in a help text
    module: str
    on_hosts: bool = False  # what it writes depends on a target's folder, accounts and names

    def files(self, project: Project, target: Target | None, root: Path) -> dict[str, str]:
        """The platform's files; see `Render`."""
        render: Render = importlib.import_module(self.module).files
        return render(project, target, root)


PLATFORMS: Mapping[str, Rendered] = {
    "supervisord": Rendered(
        "a program and a launcher for each service", "provision.manifests.supervised", on_hosts=True
    ),
    "systemd": Rendered("a unit and a launcher for each service", "provision.manifests.supervised", on_hosts=True),
    "monitoring": Rendered("Prometheus: scrapes and alerts; a Grafana dashboard", "provision.manifests.monitoring"),
    "ufw": Rendered("the firewall of a host: a script, and its rules for people", "provision.manifests.ufw"),
    "nginx": Rendered("what stands in front of services: TLS, limits, canary", "provision.manifests.nginx"),
    "compose": Rendered("a compose.yaml for one machine", "provision.manifests.compose"),
    "dockerfile": Rendered("the images of the project's own Python services", "provision.manifests.dockerfile"),
    "lambda": Rendered(
        "functions on AWS Lambda: handlers, their image, a SAM template", "provision.manifests.serverless.aws"
    ),
    "cloud-function": Rendered(
        "functions on Google Cloud (2nd gen): sources, and how to deploy them", "provision.manifests.serverless.google"
    ),
    "kubernetes": Rendered("a kustomize folder: channels, overlays", "provision.manifests.kubernetes"),
}
