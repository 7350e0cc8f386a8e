"""One project in one namespace of a cluster: what verbs work with."""

from __future__ import annotations

import getpass
import socket
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from provision.cluster.kept.book import Book
from provision.cluster.kept.wanted import Rendered, rendered
from provision.cluster.server.client import Api
from provision.cluster.server.objects import PART_OF, Node, labels_of
from provision.cluster.traffic.prometheus import Prometheus
from provision.errors import Refused
from provision.events import OnEvent
from provision.manifests.kubernetes.routed import left_to_others

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject


class ProjectThere:
    """A loaded project on a target that is a cluster.

    Args:
        tell: called with each event.
    """

    def __init__(self, loaded: LoadedProject, target: str, tell: OnEvent) -> None:
        self.loaded = loaded
        self.name = target
        self.project = loaded.project
        self.target = loaded.project.targets[target]
        self.tell = tell
        self.who = f"{getpass.getuser()}@{socket.gethostname()}"

    @cached_property
    def api(self) -> Api:
        """Its API server.

        Raises:
            UsageError: no kubeconfig says where it is.
        """
        config = self.target.kubeconfig
        path = self.loaded.root / Path(config).expanduser() if config else None
        return Api(self.target.context, path, self.target.namespace or self.project.name)

    @cached_property
    def book(self) -> Book:
        return Book(self.api, self.project.name)

    @cached_property
    def prometheus(self) -> Prometheus:
        """The one that counts what users see; its token is asked for once."""
        return Prometheus(self.loaded, self.name)

    @cached_property
    def release(self) -> Rendered:
        """What is declared, rendered."""
        return rendered(self.project, self.target, self.loaded.root)

    def say_what_is_left_out(self) -> None:
        """Name what is declared of a proxy that no Gateway is told, such as a limit."""
        for subject, text in left_to_others(self.project, self.target):
            self.tell({"event": "warning", "host": self.name, "text": f"{subject}: {text}"})

    def demand_namespace(self, *, make: bool = False) -> bool:
        """Whether the namespace is there (or was made).

        Raises:
            Refused: it is not, and is not to be made.
        """
        namespace = self.api.namespace
        if self.api.get("ConfigMap", "kube-root-ca.crt") is not None or self._is_there():
            return True
        if not self.target.create_namespace:
            raise Refused(
                f"there is no namespace {namespace}.",
                next_step=f"kubectl create namespace {namespace}, or create_namespace = true in targets.{self.name}",
                host=self.name,
            )
        if make:
            node = self.release.namespace
            self.api.create({**node, "metadata": {**node["metadata"], "name": namespace}})
        return make

    def forgotten(self) -> list[Node]:
        """Deployments that were applied here; they are nobody's where there is no inventory."""
        found, _ = self.api.list("Deployment", labels_of(self.project.name))
        return [node for node in found if node["metadata"]["labels"].get(PART_OF) == self.book.applyset]

    def _is_there(self) -> bool:
        try:
            return self.api.get("Namespace", self.api.namespace) is not None
        except Refused:
            # Namespaces are cluster-wide, and not everybody may see them; then one is taken to be there.
            return not self.target.create_namespace
