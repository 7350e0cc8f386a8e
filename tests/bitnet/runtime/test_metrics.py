"""Metrics that Prometheus and an OpenTelemetry collector take as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from prometheus_client.parser import text_string_to_metric_families

from bitnet import BitNetRuntime, RuntimeSupervisor, RuntimeTimeoutError, probes
from bitnet.errors import PortTaken, UnsafeListener
from bitnet.machine import Cpu, Gpu, Gpus, GpuState, Memory
from bitnet.machine.numa import Node
from bitnet.machine.sandbox import Sandbox
from bitnet.metrics import Metrics
from bitnet.probes import Finding, Probe, ProbeResult, StandingProbes, run_probes
from tests.bitnet.runtime.conftest import CHECKOUT

NAMES = {
    "bitnet_runtime_launches",
    "bitnet_runtime_retries",
    "bitnet_runtime_refusals",
    "bitnet_runtime_launch_duration_seconds",
    "bitnet_runtime_cpus",
    "bitnet_runtime_threads",
    "bitnet_runtime_memory_bytes",
    "bitnet_runtime_memory_available_bytes",
    "bitnet_runtime_gpu_memory_bytes",
    "bitnet_runtime_gpu_memory_free_bytes",
    "bitnet_runtime_gpu_pressure_ratio",
    "bitnet_runtime_disk_bytes",
    "bitnet_runtime_disk_free_bytes",
    "bitnet_runtime_numa_nodes",
    "bitnet_runtime_numa_memory_bytes",
    "bitnet_runtime_numa_memory_free_bytes",
    "bitnet_runtime_sandbox_fence",
    "bitnet_runtime_probe_healthy",
    "bitnet_runtime_breaker_open",
}


def sandbox() -> Finding:
    namespaces = {"pid": "pid:[1]"}
    return Finding(
        Sandbox(
            "filter", no_new_privs=False, uid=1000, capabilities="00", namespaces=namespaces, unshared=None, pid_depth=2
        ).as_dict()
    )


def fallen() -> Finding:
    raise OSError("the mount is gone")


MACHINE: dict[str, Probe] = {
    "cpu": lambda: probes.cpu(Cpu(architecture="arm64", features=frozenset(), logical=8, physical=4, quota=6.0)),
    "memory": lambda: probes.memory(Memory(total=1000, available=600, limit=None)),
    "disk": fallen,
    "gpu": lambda: probes.gpu(Gpus(GpuState.PRESENT, (Gpu(0, "GPU-0", 'H"100\\', 200, 5),))),
    "numa": lambda: Finding([Node(0, "0-7", 600, 400).as_dict(), Node(1, "8-15", 400, 200).as_dict()]),
    "sandbox": sandbox,
}


def look() -> dict[str, ProbeResult]:
    return run_probes(MACHINE, seconds=5)


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics(look, lambda: {"llama-cli": True})
    made.launched("llama-cli", "ok", 0.7)
    made.launched("llama-cli", "failed", 4000)
    made.launched("llama-server", "ok", 0.05)
    made.retried("llama-cli")
    made.refused("llama-server", "PortTaken")
    return made


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class TestPrometheus:
    def test_the_text_is_read_back_by_a_parser(self, metrics: Metrics) -> None:
        read = values(metrics.prometheus())

        assert read["bitnet_runtime_launches_total", (("outcome", "ok"), ("program", "llama-cli"))] == 1
        assert read["bitnet_runtime_retries_total", (("program", "llama-cli"),)] == 1
        assert read["bitnet_runtime_refusals_total", (("error", "PortTaken"), ("program", "llama-server"))] == 1
        assert read["bitnet_runtime_launch_duration_seconds_count", (("program", "llama-cli"),)] == 2
        assert read["bitnet_runtime_cpus", ()] == 6
        assert read["bitnet_runtime_threads", ()] == 4
        assert read["bitnet_runtime_memory_available_bytes", ()] == 600
        assert read["bitnet_runtime_gpu_memory_free_bytes", (("gpu", "0"), ("name", 'H"100\\'))] == 5
        assert read["bitnet_runtime_breaker_open", (("program", "llama-cli"),)] == 1

    def test_each_probe_says_how_it_went_and_what_it_saw(self, metrics: Metrics) -> None:
        read = values(metrics.prometheus())
        healthy = {dict(labels)["probe"]: value for (name, labels), value in read.items() if name.endswith("_healthy")}

        assert healthy == {"cpu": 1, "memory": 1, "disk": 0, "gpu": 0, "numa": 1, "sandbox": 1}
        assert read["bitnet_runtime_gpu_pressure_ratio", ()] == 0.975
        assert read["bitnet_runtime_numa_nodes", ()] == 2
        assert read["bitnet_runtime_numa_memory_free_bytes", (("node", "1"),)] == 200
        fences = {dict(labels)["fence"]: value for (name, labels), value in read.items() if name.endswith("_fence")}
        assert fences == {"seccomp": 1, "no_new_privs": 0, "no_capabilities": 1, "not_root": 1, "pid_namespace": 1}
        assert ("bitnet_runtime_disk_free_bytes", ()) not in read, "nobody saw it"

    def test_a_probe_that_hangs_is_told_as_ill_and_is_not_started_again(self) -> None:
        release, starts = threading.Event(), []
        hanging: dict[str, Probe] = {"disk": lambda: Finding(starts.append(1) or release.wait())}
        metrics = Metrics(StandingProbes(hanging, 0.1), dict)

        for _ in range(3):
            assert values(metrics.prometheus())["bitnet_runtime_probe_healthy", (("probe", "disk"),)] == 0
        assert len(starts) == 1
        release.set()
        while values(metrics.prometheus())["bitnet_runtime_probe_healthy", (("probe", "disk"),)] == 0:
            pass  # the hanging one is on its way out

    def test_names_are_stable_and_each_has_help_and_type(self, metrics: Metrics) -> None:
        families = list(text_string_to_metric_families(metrics.prometheus()))

        assert {family.name for family in families} == NAMES
        assert all(family.documentation and family.type != "unknown" for family in families)

    def test_counters_end_in_total(self, metrics: Metrics) -> None:
        for line in metrics.prometheus().splitlines():
            if line.startswith("# TYPE") and line.endswith(" counter"):
                assert line.split()[2].endswith("_total")

    @given(value=st.text(st.characters(exclude_categories=["Cs"])))
    def test_any_label_value_survives(self, value: str) -> None:
        metrics = Metrics(look, dict)
        metrics.refused("llama-cli", value)

        assert metrics.prometheus().count("\nbitnet_runtime_refusals_total{") == 1
        if "\r" not in value:  # the format escapes no carriage return, and the parser ends lines there
            parsed = [labels for name, labels in values(metrics.prometheus()) if name.startswith("bitnet_runtime_ref")]
            assert parsed == [(("error", value), ("program", "llama-cli"))]

    def test_a_runtime_that_launched_nothing_has_metrics_too(self) -> None:
        assert ("bitnet_runtime_cpus", ()) in values(BitNetRuntime("nowhere").prometheus_metrics())


async def test_what_a_supervisor_launches_is_counted_by_its_runtime(tmp_path: Path) -> None:
    runtime = BitNetRuntime(tmp_path)
    async with RuntimeSupervisor(runtime, concurrency=2) as supervisor:
        await supervisor.run_custom(["true"])
        await supervisor.run_custom(["false"], backend="made up by a caller")
        with pytest.raises(RuntimeTimeoutError):
            await supervisor.run_custom(["sleep", "60"], timeout=0.1)

    read = values(runtime.prometheus_metrics())
    launches = {labels: value for (name, labels), value in read.items() if name == "bitnet_runtime_launches_total"}
    assert launches == {
        (("outcome", "ok"), ("program", "custom")): 1,
        (("outcome", "failed"), ("program", "other")): 1,
        (("outcome", "timeout"), ("program", "custom")): 1,
    }


class TestEndpoint:
    def test_prometheus_scrapes_the_runtime_over_http(self, tmp_path: Path) -> None:
        runtime = BitNetRuntime(tmp_path)
        with runtime.metrics_endpoint(port=0) as endpoint:
            url = f"http://127.0.0.1:{endpoint.port}"
            metrics, health = httpx.get(f"{url}/metrics"), httpx.get(f"{url}/healthz")
            runtime.count_launch("inference", "ok", 1.0)
            later = values(httpx.get(f"{url}/metrics").text)

        assert values(metrics.text)["bitnet_runtime_probe_healthy", (("probe", "disk"),)] == 1
        assert health.status_code == 200
        assert later["bitnet_runtime_launches_total", (("outcome", "ok"), ("program", "inference"))] == 1

    def test_with_a_token_metrics_are_for_who_has_it_and_health_for_all(self, tmp_path: Path) -> None:
        with BitNetRuntime(tmp_path).metrics_endpoint("0.0.0.0", 0, token="s3cret") as endpoint:
            url = f"http://127.0.0.1:{endpoint.port}"
            given = (None, "Bearer other", "Bearer s3cret")
            answers = [httpx.get(f"{url}/metrics", headers={"Authorization": word} if word else {}) for word in given]

            assert [answer.status_code for answer in answers] == [401, 401, 200]
            assert answers[0].headers["WWW-Authenticate"] == "Bearer"
            assert httpx.get(f"{url}/healthz").status_code == 200

    @pytest.mark.parametrize(
        ("asked", "status"),
        [("127.0.0.1:9482", 200), ("localhost", 200), ("[::1]:80", 200), ("[::1]", 200), ("evil.example:9482", 403)],
    )
    def test_without_a_token_it_answers_no_name_that_somebody_lets_lead_here(
        self, tmp_path: Path, asked: str, status: int
    ) -> None:
        with BitNetRuntime(tmp_path).metrics_endpoint(port=0) as endpoint:
            answer = httpx.get(f"http://127.0.0.1:{endpoint.port}/metrics", headers={"Host": asked})
            assert answer.status_code == status

    def test_beyond_loopback_it_wants_a_token(self, tmp_path: Path) -> None:
        with pytest.raises(UnsafeListener, match="BITNET_METRICS_TOKEN"):
            BitNetRuntime(tmp_path).metrics_endpoint("0.0.0.0")

    def test_a_port_that_is_taken_is_said(self, tmp_path: Path) -> None:
        runtime = BitNetRuntime(tmp_path)
        with runtime.metrics_endpoint(port=0) as first, pytest.raises(PortTaken):
            runtime.metrics_endpoint(port=first.port)

    def test_the_verb_serves_until_it_is_ended(self, tmp_path: Path, free_port: int) -> None:
        command = [sys.executable, "-m", "bitnet", "metrics", "--listen", f"127.0.0.1:{free_port}"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(CHECKOUT)}, stderr=-1
        ) as serving:
            assert serving.stderr is not None
            said = serving.stderr.readline().decode()
            text = httpx.get(said.split()[1]).text
            serving.terminate()

        assert values(text)["bitnet_runtime_numa_nodes", ()] >= 0
        assert serving.returncode == 0


def received(payload: object) -> dict[str, Metric]:
    """What an OTLP collector makes of the payload: protobuf's own JSON mapping, unknown fields refused."""
    request = json_format.Parse(json.dumps(payload), ExportMetricsServiceRequest())
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "bitnet.runtime"
    assert resource.resource.attributes[0].key == "service.name"
    return {metric.name: metric for metric in scope.metrics}


class TestOpenTelemetry:
    @pytest.fixture
    def metrics_received(self, tmp_path: Path, metrics: Metrics) -> dict[str, Metric]:
        runtime = BitNetRuntime(tmp_path)
        runtime._metrics = metrics
        return received(runtime.opentelemetry_metrics())

    def test_counters_are_monotonic_cumulative_sums(self, metrics_received: dict[str, Metric]) -> None:
        launches = metrics_received["bitnet_runtime_launches_total"].sum

        assert launches.is_monotonic
        assert launches.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        assert sorted(
            (*(attribute.value.string_value for attribute in point.attributes), point.as_double)
            for point in launches.data_points
        ) == [("llama-cli", "failed", 1), ("llama-cli", "ok", 1), ("llama-server", "ok", 1)]

    def test_times_are_now_and_the_beginning(self, metrics_received: dict[str, Metric]) -> None:
        point = metrics_received["bitnet_runtime_retries_total"].sum.data_points[0]

        assert 0 <= time.time() - point.time_unix_nano / 1e9 < 60
        assert 0 <= point.time_unix_nano - point.start_time_unix_nano < 60e9

    def test_histograms_count_each_bucket_by_itself(self, metrics_received: dict[str, Metric]) -> None:
        points = metrics_received["bitnet_runtime_launch_duration_seconds"].histogram.data_points
        cli, server = sorted(points, key=lambda point: point.attributes[0].value.string_value)

        assert (cli.count, cli.sum) == (2, 4000.7)
        assert list(cli.explicit_bounds) == [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600]
        assert list(cli.bucket_counts) == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1], "the last is above every bound"
        assert (server.count, list(server.bucket_counts)) == (1, [1, *[0] * 11]), "the first is below every other"

    def test_gauges_have_units(self, metrics_received: dict[str, Metric]) -> None:
        memory, cpus = metrics_received["bitnet_runtime_memory_bytes"], metrics_received["bitnet_runtime_cpus"]

        assert (memory.unit, memory.gauge.data_points[0].as_double) == ("By", 1000)
        assert (cpus.unit, cpus.description) == ("1", "CPUs that this process may use.")
        assert metrics_received["bitnet_runtime_launch_duration_seconds"].unit == "s"

    def test_what_was_never_counted_is_left_out(self, tmp_path: Path) -> None:
        names = received(BitNetRuntime(tmp_path).opentelemetry_metrics())

        assert "bitnet_runtime_launches_total" not in names
        assert "bitnet_runtime_memory_bytes" in names
