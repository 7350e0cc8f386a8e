"""The API server of a target, by lightkube: the one module that imports it, and only when a cluster is used.

Each call has a time-out of its own, and is tried again where the server says that it is busy (429, 503, API "Priority
and Fairness"), or did not answer what is safe to ask twice: reading, applying and deleting by uid are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import lightkube
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource, create_api_info
from lightkube.types import CascadeType

from provision.cluster import kubeconfig
from provision.cluster.objects import MANAGER, PLURALS, Name, Node, name_of
from provision.errors import Refused, Unreachable, UsageError

_Result = TypeVar("_Result")

_SECONDS = 30.0  # of one request
_PATIENCE = 60.0  # seconds of trying again: an API server that is upgraded is away for about that long
_BUSY = (429, 503)
_STARTING = 15.0  # seconds
_MORE = {
    "Pod": ("v1", "pods"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "Event": ("v1", "events"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "Namespace": ("v1", "namespaces"),
}


class Conflict(Exception):
    """Others own fields that were to be applied; `claims` says who has which."""

    def __init__(self, claims: list[str]) -> None:
        super().__init__("; ".join(claims))
        self.claims = claims


class Gone(Exception):
    """A watch is too old; what it watched is to be listed anew."""


class _NoSuchKind(Exception):
    """The server knows no such kind: what defines it was not installed."""


class Invalid(Refused):
    """The API server, or an admission policy, takes no such object."""


@cache
def _resource(kind: str) -> Any:
    """lightkube's own models are of one version, and leave out what they don't know; these are mappings."""
    version, plural = {**PLURALS, **_MORE}[kind]
    group, _, short = version.rpartition("/")
    parent = GenericGlobalResource if kind == "Namespace" else GenericNamespacedResource
    return type(kind, (parent,), {"_api_info": create_api_info(group, short, kind, plural)})


class Api:
    """The API server, with the namespace that a target means."""

    def __init__(self, context: str | None, file: Path | None, namespace: str) -> None:
        config = kubeconfig.chosen(context, file)
        self.namespace = namespace
        self._away = -_STARTING  # when it did not answer for the last time
        self.server = str(config.cluster.server)
        self.kubectl = ["--namespace", namespace, "--context", config.context_name, *kubeconfig.words(file)]
        try:
            timeout = httpx2.Timeout(_SECONDS)
            self._client = lightkube.Client(config=config, namespace=namespace, timeout=timeout, field_manager=MANAGER)
        except (ConfigError, OSError, ValueError, AssertionError) as error:
            raise UsageError(f"the kubeconfig can't be used: {error}", next_step="kubectl config view") from None

    def get(self, kind: str, name: str) -> Node | None:
        """An object; None where there is none."""
        try:
            return dict(self._ask(lambda: self._client.get(_resource(kind), name)))
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise self._told(error, f"reading {kind} {name}") from None

    def list(self, kind: str, labels: Mapping[str, str]) -> tuple[list[Node], str]:
        """All with these labels, and the version from which a watch goes on; none of a kind that nobody installed."""
        try:

            def read() -> tuple[list[Node], str]:
                found = self._client.list(_resource(kind), labels=dict(labels), chunk_size=500)
                # Items of a list don't say what they are.
                return [{"kind": kind, **each} for each in found], found.resourceVersion

            return self._ask(read)
        except _NoSuchKind:
            return [], ""
        except ApiError as error:
            raise self._told(error, f"listing {kind}s") from None

    def watch(self, kind: str, labels: Mapping[str, str], version: str, seconds: int) -> Iterator[tuple[str, Node]]:
        """Each change since `version`, for about `seconds`.

        Raises:
            Gone: that version is too old, or the line broke.
        """
        began = time.monotonic()
        changes = self._client.watch(
            _resource(kind), labels=dict(labels), server_timeout=seconds, resource_version=version
        )
        try:
            for what, node in changes:
                yield what, dict(node)
                if time.monotonic() - began > seconds:
                    return
        except httpx2.HTTPError as error:
            self._away = time.monotonic()
            raise Gone from error
        except ApiError as error:
            raise Gone from error

    def apply(self, node: Node, *, force: bool = False, dry_run: bool = False, manager: str = MANAGER) -> Node:
        """Server-side apply; the object as it is then.

        Raises:
            Conflict: other field managers have set some of it otherwise.
            Invalid: the server refuses it.
        """
        named = name_of(node)
        made = _resource(named.kind)(node)
        try:
            return dict(
                self._ask(
                    lambda: self._client.apply(made, named.name, field_manager=manager, force=force, dry_run=dry_run)
                )
            )
        except ApiError as error:
            if error.status.code == 409 and error.status.reason == "Conflict":
                raise Conflict(_claims(named, error)) from None
            raise self._told(error, f"applying {named}") from None

    def create(self, node: Node) -> Node | None:
        """A new object; None where there is one of that name."""
        return self._written(node, lambda made: self._client.create(made))

    def replace(self, node: Node) -> Node | None:
        """What was read, changed; None where somebody has changed it since (its resourceVersion)."""
        return self._written(node, lambda made: self._client.replace(made))

    def _written(self, node: Node, write: Callable[[Any], Any]) -> Node | None:
        named = name_of(node)
        made = _resource(named.kind)(node)
        try:
            return dict(self._ask(lambda: write(made), twice=False))
        except ApiError as error:
            if error.status.code == 409:
                return None
            raise self._told(error, f"writing {named}") from None

    def delete(self, named: Name, uid: str) -> bool:
        """End the object of that name that has this uid, and what it made; whether there was one."""
        found = self.get(named.kind, named.name)
        if found is None or found["metadata"]["uid"] != uid:
            return False
        try:
            self._ask(lambda: self._client.delete(_resource(named.kind), named.name, cascade=CascadeType.BACKGROUND))
        except ApiError as error:
            if error.status.code == 404:
                return False
            raise self._told(error, f"deleting {named}") from None
        return True

    def log(
        self, pod: str, container: str, lines: int, *, follow: bool = False, since: int | None = None
    ) -> Iterator[str]:
        """The last lines of a pod's container."""
        try:
            found = self._client.log(
                pod, container=container, tail_lines=lines, follow=follow, since=since, newlines=False
            )
            yield from found
        except (ApiError, httpx2.HTTPError):
            return

    def close(self) -> None:
        self._client.close()

    def _ask(self, ask: Callable[[], _Result], *, twice: bool = True) -> _Result:
        deadline, pause = time.monotonic() + _PATIENCE, 0.2
        while True:
            try:
                return ask()
            except ApiError as error:
                if not self._is_busy(error) or time.monotonic() > deadline:
                    raise
            except httpx2.HTTPStatusError as error:
                if error.response.status_code == 404:
                    raise _NoSuchKind from None
                if error.response.status_code not in _BUSY or time.monotonic() > deadline:
                    raise Unreachable(f"{self.server}: {error}", next_step="kubectl cluster-info") from None
            except (httpx2.HTTPError, OSError) as error:
                self._away = time.monotonic()
                sent = not isinstance(error, httpx2.ConnectError)
                if time.monotonic() > deadline or (sent and not twice):
                    raise Unreachable(
                        f"the cluster's API server, {self.server}, does not answer.",
                        why=str(error) or type(error).__name__,
                        next_step="kubectl cluster-info",
                    ) from None
            time.sleep(pause)
            pause = min(pause * 1.6, 5.0)

    def _is_busy(self, error: ApiError) -> bool:
        """Also one that has just started: it answers 403 to everybody until it has read who may what."""
        starting = time.monotonic() - self._away < _STARTING
        return error.status.code in _BUSY or (error.status.code in (401, 403) and starting)

    def _told(self, error: ApiError, doing: str) -> Refused:
        status = error.status
        said = status.message or str(error)
        if status.code == 401:
            return Refused(f"{self.server} does not know who asks.", why=said, next_step="log in to the cluster anew")
        if status.code == 403 and "is forbidden: User" in said:
            return Refused(
                f"{doing}: the account may not.",
                why=said,
                next_step="deploy render kubernetes --rbac shows what it needs",
            )
        if status.code == 404 and "namespaces" in said:
            return Refused(
                f"there is no namespace {self.namespace}.",
                next_step=f"kubectl create namespace {self.namespace}, or create_namespace = true",
            )
        return Invalid(
            f"{doing}: the API server refuses it.", why=said, next_step="change deploy.toml, then: deploy plan"
        )


def _claims(named: Name, error: ApiError) -> list[str]:
    """Who has which field, as the server says it: `conflict with "kubectl-edit" using apps/v1` and the field."""
    causes = error.status.details.causes if error.status.details else None
    return [f"{named}: {cause.field}: {cause.message}" for cause in causes or ()] or [
        f"{named}: {error.status.message}"
    ]
