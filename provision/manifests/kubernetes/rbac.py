"""The account that `deploy up` and the other verbs need in a cluster: what they ask for, and nothing else.

What is in one namespace is a Role. Namespaces and nodes are cluster-wide: who may see them, and make a namespace, is a
ClusterRole in a file of its own, which can be left out; then somebody else makes the namespace, a target leaves
`create_namespace` out, and `deploy plan` says that nobody has looked for room on nodes.
"""

from __future__ import annotations

import json

import yaml

_APPLIED = ["get", "list", "create", "patch", "delete"]
# API group -> resource -> verbs.
_RULES: dict[str, dict[str, list[str]]] = {
    "": {
        "serviceaccounts": _APPLIED,
        "services": _APPLIED,
        # The inventory is one, and is written by its version.
        "configmaps": [*_APPLIED, "update"],
        # Deleted by `deploy model prune` alone, and only a model's: others hold what services wrote.
        "persistentvolumeclaims": _APPLIED,
        # What each release was; and what a check sends.
        "secrets": ["get", "list", "create", "delete"],
        "pods": ["get", "list", "watch"],
        "pods/log": ["get"],
        "pods/exec": ["get", "create"],
        "pods/portforward": ["get", "create"],
        "events": ["list"],
        "resourcequotas": ["list"],
    },
    "apps": {"deployments": [*_APPLIED, "watch"], "replicasets": ["list", "watch"]},
    "batch": {"jobs": [*_APPLIED, "watch"]},
    "autoscaling": {"horizontalpodautoscalers": _APPLIED},
    "networking.k8s.io": {"networkpolicies": _APPLIED},
    # A canary's share of the requests; routes that are somebody's are changed by their version.
    "gateway.networking.k8s.io": {"httproutes": [*_APPLIED, "update"]},
    "policy": {"poddisruptionbudgets": _APPLIED},
    "coordination.k8s.io": {"leases": ["get", "create", "update"]},
}


def render_rbac(project: str, namespace: str) -> dict[str, str]:
    """The files by their names; `kubectl apply -f` takes them."""
    account = f"deploy-{project}"
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": verbs}
        for group, resources in _RULES.items()
        for resource, verbs in resources.items()
    ]
    named = {"name": account, "namespace": namespace}
    # What is cluster-wide has a name that another namespace of the project does not take.
    widely = account if namespace == project else f"{account}:{namespace}"
    role: list[dict[str, object]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named, "automountServiceAccountToken": False},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": named, "rules": rules},
        _binding("Role", account, account, namespace),
    ]
    wide: list[dict[str, object]] = [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": widely},
            "rules": [
                {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": [namespace], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create"]},
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
            ],
        },
        _binding("ClusterRole", widely, account, namespace),
    ]
    return {
        "role.yaml": _text(f"# What deploy needs in the namespace {namespace}, as the account {account}.", role),
        "cluster-role.yaml": _text(
            "# Where deploy is to make the namespace (create_namespace = true), and plan to look for room on nodes.",
            wide,
        ),
    }


def _binding(kind: str, role: str, account: str, namespace: str) -> dict[str, object]:
    where = {"namespace": namespace} if kind == "Role" else {}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": f"{kind}Binding",
        "metadata": {"name": role, **where},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def _text(head: str, objects: list[dict[str, object]]) -> str:
    apart = json.loads(json.dumps(objects))  # else what is one object twice would be an anchor and an alias
    return f"{head}\n{yaml.safe_dump_all(apart, sort_keys=False)}"
