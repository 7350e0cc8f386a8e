"""What is wrong with a pod: what the API server refuses, and what the restricted Pod Security Standard forbids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from provision.manifests.kubernetes.objects import Node, Object

_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")  # RFC 6335, "IANA service name"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_UNITS = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|[KMGTPE]i|[kMGTPE]|)")
# Kubernetes, "Pod Security Standards", Restricted: volume types.
_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected"),
    *("secret", "name"),
}
# The same page, Baseline: sysctls that are safe for the node.
_SYSCTLS = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}


@dataclass(frozen=True)
class Granted:
    """What is not among the files, and may be used all the same."""

    claims: frozenset[str] = frozenset()  # PersistentVolumeClaims that are there
    sockets: frozenset[str] = frozenset()  # of Docker Engines that somebody hands to pods


NOTHING = Granted()


def pod_faults(each: Object, granted: Granted = NOTHING) -> Iterator[str]:
    """What is wrong with the pod of `each`, if it makes one."""
    if each.pod is None:
        return
    spec = each.pod["spec"]
    restarts = spec.get("restartPolicy", "Always")
    if (restarts == "Always") is (each.kind in ("Job", "CronJob")):
        yield f"its pods cannot have restartPolicy: {restarts}"
    yield from _restricted_pod(spec, granted)
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        for message in (*_container(container, spec), *_restricted(container, spec)):
            yield f"container {container.get('name')}: {message}"


def _container(container: Node, spec: Node) -> Iterator[str]:
    if not _LABEL.fullmatch(str(container.get("name"))):
        yield "its name is none that a cluster takes"
    yield from _ports(container)
    yield from _resources(container.get("resources", {}))
    mounts, volumes = container.get("volumeMounts", ()), spec.get("volumes", ())
    lists = {
        "environment variable": [each["name"] for each in container.get("env", ())],
        "mounted path": [each["mountPath"] for each in mounts],
        "volume": [each["name"] for each in volumes],
    }
    for what, names in lists.items():
        for name, count in Counter(names).items():
            if count > 1:
                yield f'the {what} "{name}" is there {count} times'
    for mount in mounts:
        if mount["name"] not in lists["volume"]:
            yield f'there is no volume "{mount["name"]}"'
    seconds = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if seconds > spec.get("terminationGracePeriodSeconds", 30):
        yield "preStop sleeps longer than terminationGracePeriodSeconds"
    for probe in ("startupProbe", "livenessProbe"):
        if container.get(probe, {}).get("successThreshold", 1) != 1:
            yield f"{probe} has to pass once, not several times"


def _ports(container: Node) -> Iterator[str]:
    names = []
    for port in container.get("ports", ()):
        number, name = port.get("containerPort"), port.get("name")
        if not (isinstance(number, int) and 1 <= number <= 65535):
            yield f"{number} is no port"
        if name is not None:
            names.append(name)
            if not _PORT_NAME.fullmatch(name):
                yield f'"{name}" is no name of a port: at most 15 lower-case letters, digits and dashes, one a letter'
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        for how in ("httpGet", "tcpSocket"):
            asked = container.get(probe, {}).get(how, {}).get("port")
            if isinstance(asked, str) and asked not in names:
                yield f'{probe} asks for the port "{asked}", which it does not have'


def _resources(resources: Node) -> Iterator[str]:
    asked, allowed = resources.get("requests", {}), resources.get("limits", {})
    for name, limit in allowed.items():
        if amount(asked.get(name, 0)) > amount(limit):
            yield f"asks for more {name} ({asked[name]}) than it may have ({limit})"
    for name in {*asked, *allowed}:
        if "/" in name and asked.get(name, allowed.get(name)) != allowed.get(name):
            yield f"{name} has to be asked for and allowed alike"


def amount(given: Any) -> Decimal:
    """What a quantity says; below 0 where it is none (API "Quantity")."""
    found = _QUANTITY.fullmatch(str(given))
    if found is None:
        return Decimal(-1)  # a schema says that it is no quantity
    number, unit = Decimal(found[1]), found[2]
    if unit == "m":
        return number / 1000
    return number * Decimal(1024 if unit.endswith("i") else 1000) ** _UNITS[unit.removesuffix("i").replace("K", "k")]


def _restricted_pod(spec: Node, granted: Granted) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"the restricted profile forbids {key}"
    for volume in spec.get("volumes", ()):
        if volume.get("hostPath", {}).get("path") in granted.sockets:
            continue
        for kind in set(volume) - _VOLUMES:
            yield f"the restricted profile forbids a {kind} volume"
    for sysctl in spec.get("securityContext", {}).get("sysctls", ()):
        if sysctl["name"] not in _SYSCTLS:
            yield f"the restricted profile forbids the sysctl {sysctl['name']}"


def _restricted(container: Node, spec: Node) -> Iterator[str]:
    context = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
    if context.get("privileged"):
        yield "the restricted profile forbids privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "the restricted profile demands allowPrivilegeEscalation: false"
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "the restricted profile demands runAsNonRoot: true, and another account than 0"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()) or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "the restricted profile demands that all capabilities are dropped"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "the restricted profile demands seccompProfile RuntimeDefault"
    if any("hostPort" in port for port in container.get("ports", ())):
        yield "the restricted profile forbids hostPort"
