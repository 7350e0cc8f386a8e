"""What an apply would change: asked of the API server itself, by a dry run; nothing is guessed here.

What surely stands as it is declared (`likeness`) is not asked for, and not applied: an admission policy that came since
has no say in it, neither here nor where it is put back.

Who applied a field has it (server-side apply, "Field management"). What others have is left to them: copies that an
autoscaler or a person counts. What others have and we declare otherwise is a claim, named with its manager.
"""

from __future__ import annotations

import re
import shlex
import time
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from provision.cluster.changing.likeness import stands
from provision.cluster.server.at_once import at_once, each_of, ours
from provision.cluster.server.client import Api, Conflict
from provision.cluster.server.objects import (
    KEPT,
    MANAGER,
    PART_OF,
    Name,
    Node,
    at,
    differences,
    is_ending,
    managers,
    name_of,
    owns,
)
from provision.cluster.server.refusals import Invalid
from provision.errors import Refused
from provision.events import OnEvent

_ENDS = 60.0  # seconds that what is being deleted is waited for
_SCALER = "kube-controller-manager"  # the field manager by which autoscalers write
_LARGEST_SECRET = 1 << 20  # bytes of all its values (API "Secret")


@dataclass(frozen=True)
class Change:
    """What becomes of one object."""

    name: Name
    do: str  # create, change, keep, prune
    fields: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    refused: str = ""
    ends: bool = False  # what has its name is being deleted
    warned: tuple[str, ...] = ()  # what the server takes all the same


def changes(
    api: Api, wanted: Sequence[Node], applyset: str, take_over: Iterable[str] = (), *, is_new: bool = False
) -> list[Change]:
    """What applying each of `wanted` would do.

    Args:
        take_over: field managers whose fields are taken.
        is_new: the namespace is not there yet, so nothing can be asked.
    """
    if is_new:
        return [Change(name_of(node), "create") for node in wanted]
    with at_once() as pool:
        kinds = dict.fromkeys(node["kind"] for node in wanted)
        there: dict[Name, Node] = {}
        for found in each_of(pool, lambda kind: ours(api, kind, applyset), kinds):
            there |= found
        return each_of(pool, partial(_change, api, there, applyset, tuple(take_over)), wanted)


def _change(api: Api, there: dict[Name, Node], applyset: str, take_over: tuple[str, ...], node: Node) -> Change:
    """What would become of one; what is not in `there` may not be there, or be somebody else's.

    It is taken out of that: thousands of objects need not be held until the last has been looked at.
    """
    name = name_of(node)
    live = there.pop(name, None)
    if live is None and node["kind"] != "Secret" and _is_new(api, node):
        return Change(name, "create", warned=api.warned)
    live = live or api.get(*name)
    if live is not None and (owner := foreign(live, applyset, take_over)):
        return Change(name, "change", claims=(f"{name}: is there already, and not this project's; {owner} has it",))
    if live is not None and (why := ending(live)):
        return Change(name, "create", refused=why, ends=True)
    if name.kind == "Secret":
        return Change(name, "keep") if live else Change(name, "create", refused=_too_large(node))
    if live is not None and stands(counted(api, node, live), live):
        return Change(name, "keep")
    try:
        after = api.apply(counted(api, node, live), dry_run=True, force=bool(take_over))
        warned = api.warned
    except Conflict as conflict:
        return Change(name, "change", claims=tuple(conflict.claims))
    except Invalid as refused:
        return Change(name, "change" if live else "create", refused=_with_a_way_out(name, refused.why))
    if live is None:
        return Change(name, "create", warned=warned)
    if take_over and (claims := _not_taken(api, node, live, take_over)):
        return Change(name, "change", claims=claims)
    fields = tuple(differences(live, after))
    return Change(name, "change" if fields else "keep", fields, warned=warned if fields else ())


def _with_a_way_out(name: Name, why: str) -> str:
    """What can't be changed in what is there can be made beside it, where that loses nothing."""
    if name.kind == "PersistentVolumeClaim":
        way = "a claim stays as it was made: declare it so, or give the volume another name; what is in it stays there"
    elif "immutable" in why:
        way = "what is there stays so: give the service another name; or deploy down, then: deploy up"
    else:
        return why
    return f"{why.rstrip('. ')}; {way}"


def _too_large(node: Node) -> str:
    """Of a Secret that is made nobody asks the server before: its values would be in what is asked."""
    sizes = {key: len(b64decode(value)) for key, value in (node.get("data") or {}).items()}
    if sum(sizes.values()) <= _LARGEST_SECRET:
        return ""
    key = max(sizes, key=lambda key: sizes[key])
    return f"{key} has {sizes[key]} bytes, and a Secret holds {_LARGEST_SECRET} in all"


def _is_new(api: Api, node: Node) -> bool:
    """Whether nobody has one of that name, and the server takes it: what a dry run makes has no version yet."""
    try:
        return not at(api.apply(node, dry_run=True), "metadata", "resourceVersion")
    except (Conflict, Invalid):
        return False


def _not_taken(api: Api, node: Node, live: Node, take_over: tuple[str, ...]) -> tuple[str, ...]:
    """What others have than those that are named: what is forced is forced on all."""
    try:
        api.apply(counted(api, node, live), dry_run=True)
    except Conflict as conflict:
        return tuple(claim for claim in conflict.claims if not set(_named(claim)) & set(take_over))
    return ()


def foreign(live: Node, applyset: str, take_over: tuple[str, ...]) -> str:
    """Whose an object is that was not made here; empty where it is ours, or given to us."""
    if (at(live, "metadata", "labels") or {}).get(PART_OF) == applyset:
        return ""
    others = managers(live)
    return "" if set(others) & set(take_over) else ", ".join(others)


def ending(live: Node) -> str:
    """Why what is being deleted is there still, with which all that is applied to it goes; empty where it is not."""
    if not is_ending(live):
        return ""
    keeps = ", ".join(at(live, "metadata", "finalizers") or ())
    return f"it is being deleted, and {keeps or 'its grace period'} keeps it until then"


def counted(api: Api, node: Node, live: Node | None) -> Node:
    """`node` without its number of copies where somebody else counts them: an autoscaler that somebody else made, or
    who has started by hand what is on demand.
    """
    replicas = at(node, "spec", "replicas")
    if node["kind"] != "Deployment" or live is None or replicas is None or owns(live, MANAGER, "spec", "replicas"):
        return node
    by_hand = replicas == 0 and at(live, "spec", "replicas") != 0
    if not (by_hand or _is_scaled(api, live)):
        return node
    return {**node, "spec": {key: value for key, value in node["spec"].items() if key != "replicas"}}


def _is_scaled(api: Api, live: Node) -> bool:
    """Whether an autoscaler has counted the copies of a Deployment, and is there still."""
    if not owns(live, _SCALER, "spec", "replicas"):
        return False
    try:
        found, _ = api.list("HorizontalPodAutoscaler", {})
    except Refused:
        return True
    named = ("Deployment", live["metadata"]["name"])
    return any(named == tuple(at(each, "spec", "scaleTargetRef", key) for key in ("kind", "name")) for each in found)


def _named(claim: str) -> list[str]:
    """The field managers in the server's words; what they have may have quotes, too: `containers[name="web"]`."""
    return re.findall(r'conflict with "([^"]+)"', claim)


def claimed(claims: Sequence[str]) -> Refused:
    """Others have what would be changed."""
    named = _named("\n".join(claims))
    manager = named[0] if named else claims[0].rpartition("; ")[2].removesuffix(" has it").split(", ")[0]
    return Refused(
        "others have set what this would change.",
        why="\n".join(claims),
        next_step=f"declare it so; or take it from them: deploy up --take-over {manager}",
    )


def warnings(planned: Iterable[Change]) -> list[str]:
    """What the server warns of and takes."""
    return [f"{each.name}: the cluster warns: {text}" for each in planned for text in each.warned]


def demand(api: Api, wanted: Sequence[Node], applyset: str, take_over: tuple[str, ...], tell: OnEvent) -> list[Change]:
    """What would change. What is being deleted is waited for: a load balancer goes some seconds after its Service.

    Raises:
        Refused: the server would refuse some of it, others have it, or secrets are missing.
    """
    deadline, told = time.monotonic() + _ENDS, ""
    while True:
        planned = changes(api, wanted, applyset, take_over)
        ends = next((each for each in planned if each.ends), None)
        if ends is None or ends.name.kind in KEPT or time.monotonic() > deadline:
            break  # a claim ends with the last pod that has it, and those go on
        if not told:
            told = f"waiting up to {_ENDS:.0f} s for {ends.name}: {ends.refused}"
            tell({"event": "warning", "text": told})
        time.sleep(1.0)
    if claims := [claim for each in planned for claim in each.claims]:
        raise claimed(claims)
    if refused := [f"{each.name}: {each.refused}" for each in planned if each.refused]:
        step = full_of_claims(refused) or "change deploy.toml, then: deploy plan"
        if ends is not None:
            named = f"{ends.name.kind.lower()} {ends.name.name}"
            step = f"kubectl get {named} -o yaml names who has to remove its finalizers; then: deploy up"
            if ends.name.kind in KEPT:
                step = (
                    "copy out what is in it while a pod has it; deploy down ends it, then deploy up makes an empty one"
                )
        raise Refused(
            "the cluster refuses what would be applied; nothing was changed.",
            why="\n".join(refused),
            next_step=step,
        )
    if missing := lacking(api, wanted):
        raise Refused("secrets are missing in the cluster.", why="\n".join(missing), next_step=make(api, missing))
    return planned


def full_of_claims(refused: Iterable[str]) -> str:
    """What helps where a quota has no room for another claim; empty where that is not why."""
    hit = [text for text in refused if text.startswith("PersistentVolumeClaim ") and "exceeded quota" in text]
    return "deploy model list says which models have claims, deploy model prune ends those that may go" if hit else ""


def secret_keys(nodes: Iterable[Node]) -> dict[str, set[str]]:
    """The Secrets that pods read, and the keys in each."""
    needed: dict[str, set[str]] = {}
    for node in nodes:
        for secret, key in _secrets(at(node, "spec", "template", "spec") or {}):
            needed.setdefault(secret, set()).add(key)
    return needed


def lacking(api: Api, wanted: Iterable[Node]) -> list[str]:
    """Secrets that pods of `wanted` need and the namespace has not: `Secret web-secrets has no TOKEN`."""
    wanted = list(wanted)
    coming = {node["metadata"]["name"]: node for node in wanted if node["kind"] == "Secret" and "data" in node}
    needed = secret_keys(wanted)
    there = read_secrets(api, [secret for secret in needed if secret not in coming])
    lacks = []
    for secret, keys in sorted(needed.items()):
        has = at(coming.get(secret) or there[secret] or {}, "data") or {}
        if missing := sorted(keys - set(has)):
            lacks.append(f"Secret {secret} has no {', '.join(missing)}")
    return lacks


def read_secrets(api: Api, secrets: Iterable[str]) -> dict[str, Node | None]:
    """Those of these Secrets that are there, by name; None for what is not."""
    names = list(dict.fromkeys(secrets))
    with at_once() as pool:
        return dict(zip(names, each_of(pool, lambda name: api.get("Secret", name), names), strict=True))


def make(api: Api, missing: Sequence[str]) -> str:
    """What brings the first of what `lacking` found: `.env`, or a command, in the cluster that was asked."""
    secret, _, keys = missing[0].removeprefix("Secret ").partition(" has no ")
    kubectl = shlex.join(["kubectl", *api.kubectl])
    made = f"{kubectl} create secret generic {secret} --from-env-file=FILE --dry-run=client -o yaml"
    return f"{keys} into .env, then: deploy up; or {made} | {kubectl} apply -f -   # FILE with {keys}"


def _secrets(pod: Node) -> Iterable[tuple[str, str]]:
    for container in pod.get("containers") or ():
        for each in container.get("env") or ():
            if ref := at(each, "valueFrom", "secretKeyRef"):
                yield ref["name"], ref["key"]
    for volume in pod.get("volumes") or ():
        sources = [volume, *(at(volume, "projected", "sources") or ())]
        for source in (each["secret"] for each in sources if "secret" in each):
            for item in source.get("items") or ():
                yield source.get("secretName") or source["name"], item["key"]
