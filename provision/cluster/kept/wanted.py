"""What a cluster is to have of a project: the objects of each channel, rendered and read back, and the release's id.

Pure. The id is a digest of all that was rendered; so the same declaration is the same release, wherever it is rendered.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.cluster.server.objects import Node, in_order
from provision.contract.canonical import digest
from provision.contract.slots import STABLE
from provision.errors import Degraded
from provision.manifests.checks import project_checks, service_checks
from provision.manifests.containers import Containers, containers
from provision.manifests.fetched import locked
from provision.manifests.kubernetes import FOLDERS
from provision.manifests.kubernetes import files as files_of
from provision.manifests.kubernetes.objects import parse_objects
from provision.manifests.kubernetes.workload import workload
from provision.project.order import start_order
from provision.project.schema import Project
from provision.project.service import Lane
from provision.project.target import Target

if TYPE_CHECKING:
    from provision.manifests.fetched import Locked

_LARGEST = 64 << 20  # bytes of a rendered set, unpacked


@dataclass(frozen=True)
class Rendered:
    """A release of a project for a cluster."""

    id: str
    lanes: dict[str, list[Node]]  # by channel, in the order in which they are applied; what both share is in each
    checks: dict[str, list[Node]]  # by channel, what proves it: what `_asked` gives
    namespace: Node  # applied only where there is none yet

    def packed(self) -> str:
        """As a Secret holds it: at most 1 MiB there, and these files repeat themselves."""
        return b64encode(
            zlib.compress(json.dumps([self.id, self.lanes, self.checks, self.namespace]).encode(), 9)
        ).decode()


def rendered(project: Project, target: Target, root: Path) -> Rendered:
    """`project` for `target`.

    Raises:
        UnencodableValue, DeclarationError, UsageError: as `deploy render kubernetes` does, whose files these are.
    """
    files = files_of(project, target, root)
    objects = {file: [each.body for each in parse_objects(file, text)] for file, text in files.items()}

    def below(folder: str) -> list[Node]:
        return [node for file, nodes in objects.items() if file.startswith(f"{folder}/") for node in nodes]

    shared = below("base")
    (namespace,) = [node for node in shared if node["kind"] == "Namespace"]  # made only where the target says so
    shared.remove(namespace)
    lanes = {str(lane): in_order((*shared, *below(folder))) for lane, folder in FOLDERS.items()}
    lanes[STABLE] = in_order((*lanes[STABLE], *below("overlays/production")))
    # As they are kept, so that what comes back is the same.
    models = locked(project, root)
    checks = json.loads(json.dumps({str(lane): _asked(project, target, lane, models) for lane in FOLDERS}))
    return Rendered(digest([lanes, checks, namespace]), lanes, checks, namespace)


class _InPods(Containers):
    """What a check asks is the pod itself, which has the declared port in every lane."""

    def port(self, service: str) -> int | None:
        return self.project.services[service].port


def _asked(project: Project, target: Target, lane: Lane, models: Mapping[str, Locked]) -> list[Node]:
    """Every check of a channel, in the order in which a deploy asks; of what is on demand, none.

    Each with the service whose pods it is asked of (of the project's own: none), and the Secret and key that have the
    token that it sends.
    """
    places = _InPods(**vars(containers(project, "kubernetes", lane, target, models)))
    services = {name: project.services[name] for name in start_order(project.services) if places.holds(name)}
    found: list[Node] = []
    for name, service in services.items():
        if service.on_demand or service.batch:
            continue
        keyed = {each.name: [each.secret, each.key] for each in workload(places, name).keyed}
        for check in service_checks(places, name, service):
            token = str(check.get("token") or "")
            found.append({"service": name, "check": check, "token": keyed.get(token)})
    return [*found, *({"service": "", "check": check, "token": None} for check in project_checks(places))]


def unpacked(packed: str) -> Rendered:
    """What `packed` gave.

    Raises:
        Degraded: it is nothing that `packed` gives.
    """
    try:
        unpack = zlib.decompressobj()
        text = unpack.decompress(b64decode(packed), _LARGEST)
        found = Rendered(*json.loads(text))
    except (ValueError, TypeError, zlib.error) as error:
        raise Degraded(
            "a release that was kept in the cluster can't be read.",
            why=str(error),
            next_step="deploy up brings today's declaration",
        ) from None
    if digest([found.lanes, found.checks, found.namespace]) != found.id:
        raise Degraded(
            f"release {found.id[:12]} in the cluster is not what was deployed: somebody has changed it.",
            next_step="deploy up brings today's declaration",
        )
    return found


def service_of(node: Any) -> str:
    """The service that an object belongs to."""
    return str(node["metadata"].get("labels", {}).get("app.kubernetes.io/name", ""))
