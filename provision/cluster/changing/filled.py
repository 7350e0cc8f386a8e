"""Secrets that a project makes in its namespace, of the values that are known where `deploy up` runs.

As on a host: what `.env` or the environment says comes with an `up`, and a new value starts the pods anew that read it.
Each is immutable and has a name that says nothing of what is in it; what was before is there until the new release is
proven, so it can be put back without anybody's `.env`. Where somebody has made the Secret that is rendered, it is left
to them, and used.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from provision.cluster.changing.changes import read_secrets, secret_keys
from provision.cluster.kept.inventory import Inventory
from provision.cluster.kept.wanted import Rendered
from provision.cluster.server.client import Api
from provision.cluster.server.objects import Node, at
from provision.contract.canonical import digest
from provision.contract.slots import CANARY

_NAMING = ("secretKeyRef", "secret")  # of a variable, of a volume and of what one is made of
_NAMES = ("name", "secretName")


@dataclass(frozen=True)
class Filled:
    """Which Secrets stand for those that a release of one channel names.

    Attributes:
        names: as it is rendered -> as it is there.
        coming: those of them that are not there yet, with their values.
    """

    names: Mapping[str, str]
    coming: tuple[Node, ...] = ()


def filled(
    api: Api,
    services: Iterable[str],
    nodes: Iterable[Node],
    kind: str,
    channel: str,
    known: Inventory,
    values: Mapping[str, str],
) -> Filled:
    """What an `up`, a promotion or a rollback of `nodes` to `channel` reads its secrets from.

    Args:
        services: those of the project, whose Secrets are made here; another one's is somebody else's.
        values: variable -> value, as far as it is known here. A promotion keeps what the canary was proven with.
    """
    own = {f"{service}-secrets" for service in services}.union(*known.secrets.values())
    needed = {secret: keys for secret, keys in secret_keys(nodes).items() if secret in own}
    first = CANARY if kind == "promote" else channel
    made = {
        secret: dict.fromkeys(
            filter(None, (known.secrets.get(each, {}).get(secret) for each in (first, *known.secrets)))
        )
        for secret in needed
    }
    there = read_secrets(api, [*needed, *(name for names in made.values() for name in names)])
    names: dict[str, str] = {}
    coming = []
    for secret, keys in needed.items():
        if there[secret] is not None:
            continue
        held = {name: at(there[name] or {}, "data") or {} for name in made[secret]}
        name = next(iter(held), "")
        last: Mapping[str, str] = held.get(name, {})
        if kind == "up" and keys <= {*values, *last}:  # what is not known here stays as it is
            data = {
                key: b64encode(values[key].encode()).decode() if key in values else last[key] for key in sorted(keys)
            }
            same = (name for name, has in held.items() if has == data)
            names[secret] = next(same, "") or f"{secret}-{secrets.token_hex(4)}"
            if names[secret] not in held:
                coming.append({**_reference(names[secret]), "immutable": True, "type": "Opaque", "data": data})
        elif name and (kind == "up" or keys <= last.keys()):  # else somebody has to make it, under its own name
            names[secret] = name
    return Filled(names, tuple(coming))


def placed(release: Rendered, channel: str, of: Filled) -> Rendered:
    """`release`, whose objects and checks in `channel` name the Secrets that are there; these are among its objects."""
    if not of.names:
        return release
    new = {node["metadata"]["name"]: node for node in of.coming}
    made = [new.get(name) or _reference(name) for name in sorted(set(of.names.values()))]
    checks = [
        {**each, "token": [of.names.get(each["token"][0], each["token"][0]), each["token"][1]]}
        if each["token"]
        else each
        for each in release.checks[channel]
    ]
    nodes = [_placed(node, of.names) for node in release.lanes[channel]]
    return replace(
        release,
        lanes={**release.lanes, channel: [*made, *nodes]},
        checks={**release.checks, channel: checks},
    )


def as_known(release: Rendered, channel: str, known: Inventory) -> Rendered:
    """`release`, with the Secrets that the inventory has for `channel`."""
    return placed(release, channel, Filled(known.secrets.get(channel, {})))


def _reference(name: str) -> Node:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}


def _placed(node: Node, names: Mapping[str, str]) -> Node:
    """A Job's pods can't be changed: with other Secrets it is another Job, as with anything else that it runs."""
    there: Node = _renamed(node, names)
    if node["kind"] == "Job" and there != node:
        used = sorted(names[secret] for secret in secret_keys([node]) if secret in names)
        name = str(node["metadata"]["name"])
        called = f"{name.rpartition('-')[0]}-{digest([name, *used])[:8]}"
        there = {**there, "metadata": {**there["metadata"], "name": called}}
    return there


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """With other names wherever a Secret is named: in a pod's variables and volumes."""
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {key: _renamed(each, names) for key, each in value.items()}
    for key in _NAMING:
        named = found.get(key)
        if isinstance(named, dict):
            found[key] = {**named, **{called: names[named[called]] for called in _NAMES if named.get(called) in names}}
    return found
