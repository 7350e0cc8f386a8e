"""What autoscalers read: the resource metrics API, of a server beside the cluster that says of pods what it is told.

It speaks what metrics-server does (kubernetes/metrics, metrics.k8s.io/v1beta1), and is an APIService of the cluster.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.cluster.running import Cluster

_GROUP, _VERSION = "metrics.k8s.io", "v1beta1"


class Metrics:
    """How much each pod does; may be changed at any time."""

    def __init__(self, cluster: Cluster) -> None:
        self.cpu = "1m"
        self.cluster = cluster

    def answer(self, path: str) -> dict[str, object] | None:
        parts = urlsplit(path)
        version = f"{_GROUP}/{_VERSION}"
        if parts.path == f"/apis/{version}":
            pods = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["list"]}
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [pods]}
        if not parts.path.startswith(f"/apis/{version}/namespaces/"):
            return None
        selector = parse_qs(parts.query).get("labelSelector", [""])[0]
        words = ("get", "pods", "--namespace", parts.path.split("/")[5], "--selector", selector, "--output=json")
        found = json.loads(self.cluster.kubectl(*words))["items"]
        return {"kind": "PodMetricsList", "apiVersion": version, "metadata": {}, "items": list(map(self._of, found))}

    def _of(self, pod: dict[str, dict[str, object]]) -> dict[str, object]:
        names = ("name", "namespace", "labels")
        usage = {"name": "main", "usage": {"cpu": self.cpu, "memory": "1Mi"}}
        usage["name"] = pod["spec"]["containers"][0]["name"]  # type: ignore[index]
        return {
            "metadata": {name: pod["metadata"][name] for name in names},
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "window": "1s",
            "containers": [usage],
        }


@contextmanager
def metrics(cluster: Cluster) -> Iterator[Metrics]:
    """The server, while this lasts; known to the API server, and asked by it."""
    cluster.inside()  # it stands beside a cluster of ours, which asks it
    made = Metrics(cluster)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = made.answer(self.path)
            body = json.dumps(said).encode()
            self.send_response(200 if said else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer((cluster.slot.gateway, 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cluster.disk / "pki/server.crt", cluster.disk / "pki/server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects(*server.server_address[:2])})
    try:
        cluster.kubectl("apply", "-f", "-", text=text)
        cluster.kubectl("wait", "--for=condition=Available", f"apiservice/{_VERSION}.{_GROUP}", "--timeout=60s")
        yield made
    finally:
        cluster.kubectl("delete", "-f", "-", "--ignore-not-found", text=text)
        server.shutdown()
        thread.join()


def _objects(address: object, port: object) -> list[dict[str, object]]:
    at = {"name": "metrics", "namespace": "kube-system"}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": at, "spec": {"ports": [{"port": 443}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**at, "labels": {"kubernetes.io/service-name": "metrics"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": port}],
            "endpoints": [{"addresses": [address]}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{_VERSION}.{_GROUP}"},
            "spec": {
                "group": _GROUP,
                "version": _VERSION,
                "service": at,
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]
