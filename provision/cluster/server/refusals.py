"""What the API server's own refusals mean to who deploys, and what they do now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.errors import Refused

if TYPE_CHECKING:
    from lightkube.core.exceptions import ApiError


class Invalid(Refused):
    """The API server, or an admission policy, takes no such object."""


def told(server: str, namespace: str, error: ApiError, doing: str) -> Refused:
    """An answer that is final, as it is raised."""
    status = error.status
    said = status.message or str(error)
    if status.code == 401:
        return Refused(f"{server} does not know who asks.", why=said, next_step="log in to the cluster anew")
    if status.code == 403 and "is forbidden: User" in said:
        return Refused(
            f"{doing}: the account may not.",
            why=said,
            next_step="deploy render kubernetes --rbac shows what it needs",
        )
    if status.code == 403 and "is being terminated" in said:
        return Refused(
            f"namespace {namespace} is being deleted.",
            why=said,
            next_step=f"kubectl get namespace {namespace}, until it is gone; then make it anew",
        )
    if status.code == 404 and "namespaces" in said:
        return Refused(
            f"there is no namespace {namespace}.",
            next_step=f"kubectl create namespace {namespace}, or create_namespace = true",
        )
    if (status.code or 0) >= 500:
        return Invalid(
            f"{doing}: the API server fails at it.", why=said, next_step="kubectl cluster-info; then: deploy up"
        )
    step = "change deploy.toml, then: deploy plan"
    if "exceeded quota" in said:
        step = "kubectl describe quota: more of it, or less in deploy.toml; then: deploy plan"
    return Invalid(f"{doing}: the API server refuses it.", why=said, next_step=step)
