"""What strict schemas let through and a cluster refuses, or takes and never runs.

Each rule reads the rendered objects, not the declaration, so that a template of the project's own is judged as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from typing import Any

from provision.errors import UsageError
from provision.manifests.kubernetes.objects import Object, Pods, parse_objects
from provision.manifests.kubernetes.pods import NOTHING, Granted, pod_faults
from provision.manifests.kubernetes.shapes import misfits

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035: begins with a letter
_LARGEST_MAP = 1024 * 1024  # Kubernetes, "ConfigMaps": data cannot exceed 1 MiB

# What clusters still serve. Older ones (extensions/v1beta1, policy/v1beta1, autoscaling/v2beta2 …) were removed.
_SERVED = {
    "ConfigMap": "v1",
    "CronJob": "batch/v1",
    "DaemonSet": "apps/v1",
    "Deployment": "apps/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Ingress": "networking.k8s.io/v1",
    "Job": "batch/v1",
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PersistentVolumeClaim": "v1",
    "PodDisruptionBudget": "policy/v1",
    "Secret": "v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "StatefulSet": "apps/v1",
}


def check(files: Mapping[str, str], granted: Granted = NOTHING) -> None:
    """Refuse files that a cluster would refuse.

    Args:
        granted: what is in the cluster already, or was consented to.

    Raises:
        UsageError: names each object and what is wrong with it.
    """
    found: list[str] = []
    objects: list[Object] = []
    for file, text in files.items():
        try:
            objects += parse_objects(file, text)
        except ValueError as error:
            found.append(f"{file}: {error}")
    found += faults(objects, granted)
    if found:
        raise UsageError(
            "\n".join(["a cluster would not take what was rendered; nothing was written.", *found]),
            next_step="change deploy.toml, or your own template of that name in templates/kubernetes",
        )


def faults(objects: list[Object], granted: Granted = NOTHING) -> list[str]:
    """Everything that is wrong, each with its file and object."""
    if found := [f"{each}: {message}" for each in objects for message in misfits(each)]:
        return found  # what follows reads fields as what they are
    found = list(_twice(objects))
    pods = Pods(objects)
    known = {(each.kind, each.name) for each in objects} | {("PersistentVolumeClaim", name) for name in granted.claims}
    for each in objects:
        messages = [*_named(each), *_limits(each), *_selects(each, pods), *_refers(each, known, pods)]
        found += [f"{each}: {message}" for message in (*messages, *pod_faults(each, granted))]
    return found


def _twice(objects: list[Object]) -> Iterator[str]:
    counted = Counter((each.kind, each.name) for each in objects)
    for each in objects:
        if counted[each.kind, each.name] > 1:
            yield f"{each}: there are {counted[each.kind, each.name]} of this kind and name"


def _named(each: Object) -> Iterator[str]:
    served = _SERVED.get(each.kind)
    if served != each.body.get("apiVersion"):
        version = each.body.get("apiVersion")
        yield f"{version} is not served for it" + (f"; {served} is" if served else "")
    pattern = {"Service": _SERVICE, "Namespace": _LABEL}.get(each.kind, _SUBDOMAIN)
    if not pattern.fullmatch(each.name):
        yield f'"{each.name}" is no name that a cluster takes for this kind'
    if each.kind == "ConfigMap":
        size = sum(len(f"{key}{value}".encode()) for key, value in (each.at("data") or {}).items())
        if size > _LARGEST_MAP:
            yield f"its data have {size} bytes, and a ConfigMap holds {_LARGEST_MAP}"


def _limits(each: Object) -> Iterator[str]:
    if each.kind == "HorizontalPodAutoscaler":
        least, most = each.at("spec", "minReplicas") or 1, each.at("spec", "maxReplicas")
        if least > most:
            yield f"minReplicas is {least}, and maxReplicas {most}"
    if each.kind == "PodDisruptionBudget" and {"minAvailable", "maxUnavailable"} <= set(each.at("spec")):
        yield "minAvailable and maxUnavailable exclude each other"


def _selects(each: Object, pods: Pods) -> Iterator[str]:
    selector = _selector(each)
    if selector is None:
        return
    matched = pods.selected(selector)
    if not matched:
        yield "its selector matches no pod"
    if each.pod and each not in matched:
        yield "its selector does not match its own pods"
    if len({other.labels.get("channel") for other in matched}) > 1 and "channel" in each.labels:
        yield f"its selector takes pods of {' and '.join(sorted(other.name for other in matched))}"


def _refers(each: Object, known: Set[tuple[str, str]], pods: Pods) -> Iterator[str]:
    if each.kind == "HorizontalPodAutoscaler":
        scaled = each.at("spec", "scaleTargetRef")
        if (scaled["kind"], scaled["name"]) not in known:
            yield f"there is no {scaled['kind']} {scaled['name']} to scale"
    if each.kind == "Service":
        selector = each.at("spec", "selector") or {}
        ports = {
            port.get("name"): port
            for other in pods.selected(selector)
            if other.pod
            for container in other.pod["spec"]["containers"]
            for port in container.get("ports", ())
        }
        for port in each.at("spec", "ports") or ():
            target = port.get("targetPort")
            if isinstance(target, str) and target not in ports:
                yield f'its pods have no port "{target}"'
    if each.pod:
        spec = each.pod["spec"]
        for container in spec["containers"]:
            for source in container.get("envFrom", ()):
                name = source.get("configMapRef", {}).get("name")
                if name and ("ConfigMap", name) not in known:
                    yield f"there is no ConfigMap {name}"
        for volume in spec.get("volumes", ()):
            name = volume.get("persistentVolumeClaim", {}).get("claimName")
            if name and ("PersistentVolumeClaim", name) not in known:
                yield f"there is no PersistentVolumeClaim {name}"


def _selector(each: Object) -> dict[str, Any] | None:
    """The labels that it looks for; None where it takes no pods."""
    path = _SELECTORS.get(each.kind)
    return dict(each.at("spec", *path) or {}) if path else None


_SELECTORS = {
    "Service": ("selector",),
    "NetworkPolicy": ("podSelector", "matchLabels"),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "PodDisruptionBudget"), ("selector", "matchLabels")),
}
