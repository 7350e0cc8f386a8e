"""Names of Services: CoreDNS in a pod, behind the Service and with the label by which policies of projects know it."""

from __future__ import annotations

import json

ADDRESS = "10.96.0.10"
_NAME = "coredns"
# Who asks for another name learns that there is none.
_COREFILE = """\
. {
    errors
    ready
    kubernetes cluster.local
}
"""


def objects(image: str) -> str:
    """All that it is."""
    named = {"name": _NAME, "namespace": "kube-system"}
    label = {"k8s-app": "kube-dns"}
    ports = [{"name": protocol.lower(), "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    look = {"verbs": ["list", "watch"]}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-names"}
    group = "rbac.authorization.k8s.io/v1"
    container = {
        "name": _NAME,
        "image": image,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [{"containerPort": each["port"], "protocol": each["protocol"]} for each in ports],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": _NAME,
        "dnsPolicy": "Default",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": _NAME}}],
        "tolerations": [{"operator": "Exists"}],
    }
    made = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": {"Corefile": _COREFILE}},
        {
            "apiVersion": group,
            "kind": "ClusterRole",
            "metadata": {"name": role["name"]},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], **look},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], **look},
            ],
        },
        {
            "apiVersion": group,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role["name"]},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **named}],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**named, "labels": label},
            "spec": {"clusterIP": ADDRESS, "selector": label, "ports": ports},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": named,
            "spec": {
                "selector": {"matchLabels": label},
                "template": {"metadata": {"labels": label}, "spec": pod},
            },
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
