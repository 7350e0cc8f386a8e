"""The Gateway that leads requests to services in a cluster: declared by a target, made by whoever runs the cluster."""

from __future__ import annotations

from provision.project.section import Section
from provision.project.values import Namespace, ObjectName


class Gateway(Section):
    """Kubernetes: the Gateway (Gateway API v1) by which users reach the services that have a `proxy`: each gets an
    HTTPRoute with the names of that."""

    name: ObjectName
    """What it is called; whoever runs the cluster made it, and its listener has the certificate."""
    namespace: Namespace | None = None
    """Where it is (default: where the project is)."""
    listener: ObjectName | None = None
    """The one of its listeners that is meant, such as "https" (default: each that takes the names)."""
    pods_in: Namespace | None = None
    """The namespace of the pods that pass requests on, which may then reach the services (default: `namespace`)."""
