"""What stands before pods: Traefik as Gateway, and Prometheus that reads what it counts. Both run beside the node."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.parts import program
from tests.cluster.running import Cluster
from tests.faults.hooks import until

_PORT, _METRICS, _PROMETHEUS = 8080, 8081, 9090
# Traefik's own are at 0.1, 0.3, 1.2 and 5 s, which tell hardly anything from anything.
_BUCKETS = ",".join(f"{0.001 * 1.15**power:.6f}" for power in range(60))
SCRAPE_SECONDS = 1


class Gateway:
    """One, for all namespaces; `ask` comes from outside of the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.prometheus = f"http://{cluster.address}:{_PROMETHEUS}"
        cluster.kubectl("apply", "--server-side", "-f", str(program("gateway-api.yaml")))
        cluster.kubectl("wait", "--for=condition=Established", "crd/httproutes.gateway.networking.k8s.io")
        cluster.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects()}))
        options = ["--providers.kubernetesgateway=true", f"--entrypoints.web.address=:{_PORT}"]
        options += [f"--entrypoints.metrics.address=:{_METRICS}", "--ping=true", "--ping.entrypoint=metrics"]
        options += ["--metrics.prometheus=true", "--metrics.prometheus.entrypoint=metrics"]
        options += [f"--metrics.prometheus.buckets={_BUCKETS}", "--metrics.prometheus.addserviceslabels=true"]
        options += [f"--providers.kubernetesgateway.endpoint=https://{cluster.address}:6443"]
        self._start("traefik", program("traefik"), *options, KUBECONFIG=str(cluster.kubeconfig))
        self._start("prometheus", shutil.which("prometheus") or "prometheus", *self._prometheus())
        cluster.until(lambda: self._answers(_METRICS, "/ping"), "traefik")
        cluster.until(lambda: self._answers(_PROMETHEUS, "/-/ready"), "prometheus")

    def wait_for(self, host: str) -> None:
        """Until it knows the way to `host`."""
        until(lambda: not any(said.startswith("404") for said in self.ask(host, 8)), f"the way to {host}")

    def ask(self, host: str, count: int, headers: Mapping[str, str] | None = None, path: str = "/") -> Counter[str]:
        """How many of `count` requests were answered with what: `200 one`, or how they failed."""
        at_once = 8
        with ThreadPoolExecutor(at_once) as pool:
            parts = pool.map(lambda _: self._asked(host, count // at_once, headers or {}, path), range(at_once))
            return sum(parts, Counter())

    @contextmanager
    def load(self, host: str, path: str = "/") -> Iterator[Counter[str]]:
        """Users who never stop meanwhile; what they were answered."""
        over, seen = threading.Event(), Counter[str]()

        def users() -> None:
            while not over.is_set():
                seen.update(self._asked(host, 20, {}, path))
                time.sleep(0.02)

        threads = [threading.Thread(target=users) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _asked(self, host: str, count: int, headers: Mapping[str, str], path: str) -> Counter[str]:
        seen: Counter[str] = Counter()
        connection = http.client.HTTPConnection(self._cluster.address, _PORT, timeout=30)
        for _ in range(count):
            try:
                connection.request("GET", path, headers={"Host": host, **headers})
                answer = connection.getresponse()
                seen[f"{answer.status} {answer.read().decode()}"] += 1
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                seen[type(error).__name__] += 1
        connection.close()
        return seen

    def _prometheus(self) -> list[str]:
        disk = self._cluster.disk
        scrapes = {"job_name": "traefik", "static_configs": [{"targets": [f"127.0.0.1:{_METRICS}"]}]}
        seconds = f"{SCRAPE_SECONDS}s"
        config = {"global": {"scrape_interval": seconds, "scrape_timeout": seconds}, "scrape_configs": [scrapes]}
        (disk / "prometheus.json").write_text(json.dumps(config))
        listens = f"{self._cluster.address}:{_PROMETHEUS}"
        return [
            f"--config.file={disk}/prometheus.json",
            f"--storage.tsdb.path={disk}/tsdb",
            f"--web.listen-address={listens}",
        ]

    def _start(self, name: str, file: Path | str, *options: str, **environ: str) -> None:
        self._cluster.start(name, *options, file=Path(file), environ=environ)

    def _answers(self, port: int, path: str) -> bool:
        connection = http.client.HTTPConnection(self._cluster.address, port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def route(name: str, host: str, backends: list[dict[str, object]]) -> dict[str, object]:
    """An HTTPRoute of somebody's."""
    gateway = {"name": "public", "namespace": "gateways"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [gateway], "hostnames": [host], "rules": [{"backendRefs": backends}]},
    }


def _objects() -> list[dict[str, object]]:
    group = "gateway.networking.k8s.io/v1"
    listener = {"name": "web", "protocol": "HTTP", "port": _PORT, "allowedRoutes": {"namespaces": {"from": "All"}}}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gateways"}},
        {
            "apiVersion": group,
            "kind": "GatewayClass",
            "metadata": {"name": "traefik"},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": group,
            "kind": "Gateway",
            "metadata": {"name": "public", "namespace": "gateways"},
            "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
        },
    ]
