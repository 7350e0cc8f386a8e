"""Signed evidence about releases, kept beside them in the cluster: a ConfigMap a release, which goes when that goes.

What is read here is whatever somebody with rights in the namespace has written; a signature says what counts, and who
judges knows the project's keys.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from provision.cluster.server.client import Api
from provision.cluster.server.objects import MANAGER, Name, at
from provision.errors import Refused

_TRIES = 5


class Kept:
    """The evidence of one project in one namespace."""

    def __init__(self, api: Api, project: str) -> None:
        self._api = api
        self._project = project

    def read(self, release: str) -> list[str]:
        """The envelopes about a release, as they were signed; what can't be read is none."""
        return _envelopes(self._api.get("ConfigMap", self._name(release)))

    def add(self, release: str, envelopes: Sequence[str]) -> None:
        """Keep these, too.

        Raises:
            Refused: others write all the time.
        """
        for _ in range(_TRIES):
            found = self._api.get("ConfigMap", self._name(release))
            signed = list(dict.fromkeys((*_envelopes(found), *envelopes)))
            node = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": self._name(release), "labels": {"app.kubernetes.io/managed-by": MANAGER}},
                "data": {"signed": json.dumps(signed)},
            }
            if found is None:
                done = self._api.create(node)
            else:
                done = self._api.replace({**found, "apiVersion": "v1", "kind": "ConfigMap", "data": node["data"]})
            if done is not None:
                return
        raise Refused("evidence could not be kept: others write it all the time.", next_step="deploy smoke --sign")

    def forget(self, release: str) -> None:
        """A release is kept no more, and so is what was said of it."""
        found = self._api.get("ConfigMap", self._name(release))
        if found is not None and (at(found, "metadata", "labels") or {}).get("app.kubernetes.io/managed-by") == MANAGER:
            self._api.delete(Name("ConfigMap", self._name(release)), found["metadata"]["uid"])

    def _name(self, release: str) -> str:
        return f"deploy-{self._project}-{release[:12]}"


def _envelopes(node: object) -> list[str]:
    try:
        found = json.loads(at(node, "data", "signed") or "[]")
    except ValueError:
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
