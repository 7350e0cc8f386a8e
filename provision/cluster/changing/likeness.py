"""Whether an object stands as it is declared, told from what the server shows: then nobody has to ask by a dry run.

Pure. The server writes down who has set which field (`managedFields`; structured-merge-diff, "FieldsV1"): `f:NAME` is a
field, `k:{…}` an item of a list by its keys, and what has nothing below it is set as a whole. A field that anybody else
changes is not ours any more, and one that is ours and not declared would go. So where exactly what is declared is ours,
with these very values, an apply changes nothing. Whatever else there is, also what the server writes in its own way
(`1000m` as `1`), is not told here: then the server is asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from provision.cluster.server.objects import MANAGER, Node

_NAMED = ("name", "namespace")  # of the metadata: they say which object is meant, and are nobody's


def stands(wanted: Node, live: Node) -> bool:
    """Whether applying `wanted` surely changes nothing of `live`; False where only the server can tell."""
    ours = [
        each
        for each in live["metadata"].get("managedFields") or ()
        if each.get("manager") == MANAGER and each.get("operation") == "Apply"
    ]
    if [(each.get("apiVersion"), each.get("subresource")) for each in ours] != [(wanted["apiVersion"], None)]:
        return False
    metadata = {key: value for key, value in wanted["metadata"].items() if key not in _NAMED}
    declared = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind", "metadata")}
    declared |= {"metadata": metadata} if metadata else {}
    return _is_same(ours[0].get("fieldsV1") or {}, declared, live)


def _is_same(fields: Mapping[str, Any], declared: Any, live: Any) -> bool:
    below = {key: each for key, each in fields.items() if key != "."}
    if not below:
        return bool(declared == live)
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        return {f"f:{key}" for key in declared} == set(below) and all(
            key in live and _is_same(below[f"f:{key}"], value, live[key]) for key, value in declared.items()
        )
    if isinstance(declared, list) and isinstance(live, list) and len(declared) == len(live) == len(below):
        return all(_is_same(_item(below, each), each, there) for each, there in zip(declared, live, strict=True))
    return False


def _item(below: Mapping[str, Any], item: Any) -> Mapping[str, Any]:
    """What is ours of an item of a list that has these keys; of one that has not, nothing that could be the same."""
    for key, fields in below.items():
        kind, _, named = key.partition(":")
        if kind == "k" and isinstance(item, Mapping) and json.loads(named).items() <= item.items():
            return dict(fields)
    return {"": {}}
