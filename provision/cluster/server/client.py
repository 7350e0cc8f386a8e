"""The API server of a target, by lightkube: the one module that asks it, and only when a cluster is used.

Each call has a time-out of its own, and is tried again as `Patience` says. Reading, applying and deleting by uid are
safe to ask twice. What was written without an answer is read, and told by what it says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import lightkube
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource, create_api_info
from lightkube.types import CascadeType
from msgspec import DecodeError

from provision.cluster.server import kubeconfig
from provision.cluster.server.heard import Heard
from provision.cluster.server.line import line
from provision.cluster.server.objects import MANAGER, PLURALS, Name, Node, name_of
from provision.cluster.server.patience import CONNECT, NO_LOGIN, NoSuchKind, Patience, Unsure, claims
from provision.cluster.server.refusals import Invalid, told
from provision.errors import Refused, UsageError

_SECONDS = 30.0  # of one request
_CHUNK = 250  # objects of a list in one answer
_NOTHING_YET = (400, 404)  # of a log: its container waits to start, or the pod is gone
_UNSURE = 3  # times that nobody said whether something was written
_MORE = {
    "Pod": ("v1", "pods"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "Event": ("v1", "events"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "ResourceQuota": ("v1", "resourcequotas"),
    "Namespace": ("v1", "namespaces"),
    "Node": ("v1", "nodes"),
}
_CLUSTER_WIDE = ("Namespace", "Node")


class Conflict(Exception):
    """Others own fields that were to be applied; `claims` says who has which."""

    def __init__(self, claims: list[str]) -> None:
        super().__init__("; ".join(claims))
        self.claims = claims


class Gone(Exception):
    """A watch is too old; what it watched is to be listed anew."""


@cache
def _resource(kind: str) -> Any:
    """lightkube's own models are of one version, and leave out what they don't know; these are mappings."""
    version, plural = {**PLURALS, **_MORE}[kind]
    group, _, short = version.rpartition("/")
    parent = GenericGlobalResource if kind in _CLUSTER_WIDE else GenericNamespacedResource
    return type(kind, (parent,), {"_api_info": create_api_info(group, short, kind, plural)})


class Api:
    """The API server, with the namespace that a target means."""

    def __init__(self, context: str | None, file: Path | None, namespace: str) -> None:
        config = kubeconfig.chosen(context, file)
        self.namespace = namespace
        self.server = str(config.cluster.server)
        self._patience = Patience(self.server, self._by_certificate)
        self.kubectl = ["--namespace", namespace, "--context", config.context_name, *kubeconfig.words(file)]
        self._config = config
        self._heard = Heard()
        self._client = self._made()

    def _made(self) -> lightkube.Client:
        try:
            timeout = httpx2.Timeout(_SECONDS, connect=CONNECT)
            made = lightkube.Client(
                config=self._config,
                namespace=self.namespace,
                timeout=timeout,
                field_manager=MANAGER,
                transport=line(self._config),
            )
            return self._heard.listen(made)
        except (ConfigError, OSError, ValueError, AssertionError) as error:
            raise UsageError(f"the kubeconfig can't be used: {error}", next_step="kubectl config view") from None

    def _by_certificate(self) -> bool:
        """Log in anew by what lightkube does not know of a kubeconfig's program: that it may give no token."""
        if not kubeconfig.take_certificate(self._config.user, self.server):
            return False
        self._client.close()
        self._client = self._made()
        return True

    @property
    def warned(self) -> tuple[str, ...]:
        """What the server warned of in the last answer to this thread."""
        return self._heard.last

    def was_away(self, since: float) -> bool:
        """Whether it did not answer at some time since then, by `time.monotonic`."""
        return self._patience.was_away(since)

    def get(self, kind: str, name: str) -> Node | None:
        """An object; None where there is none."""
        try:
            return dict(self._patience.ask(lambda: self._client.get(_resource(kind), name)))
        except NoSuchKind:
            return None
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise self._told(error, f"reading {kind} {name}") from None

    def list(
        self,
        kind: str,
        labels: Mapping[str, str],
        kept: Callable[[Node], Node] = dict,
        fields: Mapping[str, str] | None = None,
    ) -> tuple[list[Node], str]:
        """All with these labels, and the version from which a watch goes on; none of a kind that nobody installed.

        Args:
            kept: what is kept of each; no more than `_CHUNK` are ever held whole.
            fields: values that each has as well (API "Field selectors").
        """
        try:

            def read() -> tuple[list[Node], str]:
                found = self._client.list(
                    _resource(kind), labels=dict(labels), fields=dict(fields or {}), chunk_size=_CHUNK
                )
                # Items of a list don't say what they are.
                return [kept({"kind": kind, **each}) for each in found], found.resourceVersion

            return self._patience.ask(read)
        except NoSuchKind:
            return [], ""
        except ApiError as error:
            raise self._told(error, f"listing {kind}s") from None

    def demand_listing(self, kind: str) -> None:
        """Refuse who may not list these, before it matters.

        Raises:
            Refused: says what the account needs.
        """
        try:
            self._patience.ask(lambda: next(iter(self._client.list(_resource(kind), chunk_size=1)), None))
        except NoSuchKind:
            return
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
        except ApiError as error:
            raise Gone from error
        except (httpx2.HTTPError, DecodeError) as error:
            self._patience.away()
            raise Gone from error
        except NO_LOGIN as error:  # said by what lists then
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
                self._patience.ask(
                    lambda: self._client.apply(made, named.name, field_manager=manager, force=force, dry_run=dry_run)
                )
            )
        except NoSuchKind:
            raise Invalid(
                f"applying {named}: this cluster knows no {named.kind}.",
                why=f"What defines a {named.kind}, of {node['apiVersion']}, is not installed there.",
                next_step="whoever runs the cluster installs it; or leave it out of deploy.toml",
            ) from None
        except ApiError as error:
            if claimed := claims(error):
                raise Conflict([f"{named}: {field}: {said}" for field, said in claimed]) from None
            raise self._told(error, f"applying {named}") from None

    def create(self, node: Node) -> Node | None:
        """A new object; None where there is one of that name."""
        return self._written(node, lambda made: self._client.create(made))

    def replace(self, node: Node) -> Node | None:
        """What was read, changed; None where somebody has changed it since (its resourceVersion), or deleted it."""
        return self._written(node, lambda made: self._client.replace(made))

    def _written(self, node: Node, write: Callable[[Any], Any]) -> Node | None:
        named, unsure = name_of(node), 0
        while True:
            made = _resource(named.kind)(node)
            try:
                return dict(self._patience.ask(lambda made=made: write(made), twice=False))  # type: ignore[misc]
            except Unsure as error:
                unsure += 1
                there = self.get(*named)
                if there is not None and _is_written(node, there):
                    return there
                if unsure > _UNSURE:
                    raise self._patience.unreachable(str(error.__cause__) or "it went away") from None
            except ApiError as error:
                if error.status.code != 409 and not _is_gone(error):
                    raise self._told(error, f"writing {named}") from None
                # An answer that was lost may come true later than somebody looked.
                there = self.get(*named) if unsure else None
                return there if there is not None and _is_written(node, there) else None

    def delete(self, named: Name, uid: str) -> bool:
        """End the object of that name that has this uid, and what it made; whether there was one."""
        found = self.get(named.kind, named.name)
        if found is None or found["metadata"]["uid"] != uid:
            return False
        try:
            self._patience.ask(
                lambda: self._client.delete(_resource(named.kind), named.name, cascade=CascadeType.BACKGROUND)
            )
        except ApiError as error:
            if error.status.code == 404:
                return False
            raise self._told(error, f"deleting {named}") from None
        return True

    def log(
        self,
        pod: str,
        container: str,
        lines: int,
        *,
        follow: bool = False,
        since: int | None = None,
        timestamps: bool = False,
    ) -> Iterator[str]:
        """The last lines of a pod's container; with `timestamps` each begins with its time, and a blank.

        Of one that has not begun, or is gone, there are none.

        Raises:
            Invalid: they can't be read; its node may not answer.
            Refused: not by who asks.
            Unreachable: the API server went away, in the middle where they are followed.
        """
        try:
            found = self._client.log(
                pod,
                container=container,
                tail_lines=lines,
                follow=follow,
                since=since,
                timestamps=timestamps,
                newlines=False,
            )
            yield from found
        except ApiError as error:
            if error.status.code not in _NOTHING_YET:
                raise self._told(error, f"reading what Pod {pod} writes") from None
        except httpx2.HTTPStatusError as error:
            raise self._patience.unreachable(f"it says {error.response.status_code}") from None
        except httpx2.HTTPError as error:
            raise self._patience.unreachable(str(error) or type(error).__name__) from None
        except NO_LOGIN as error:
            raise self._patience.shut(error) from None

    def close(self) -> None:
        self._client.close()

    def _told(self, error: ApiError, doing: str) -> Refused:
        return told(self.server, self.namespace, error, doing)


def _is_gone(error: ApiError) -> bool:
    """Whether what was to be written is not there any more; a namespace that is not there is another matter."""
    return error.status.code == 404 and "namespaces" not in (error.status.message or "")


def _is_written(node: Node, there: Node) -> bool:
    """Whether what is there is what was to be written: a lock and an inventory say by whom and when."""
    return all(there.get(key) == node[key] for key in ("spec", "data", "type") if key in node)
