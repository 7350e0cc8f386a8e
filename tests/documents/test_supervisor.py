"""The guide to the supervisor, run as it stands: real binaries, TLS sockets, a Ray cluster, and a scraper.

Only what the examples take for granted is put in place: a build, a model that it reads where the path says, a
self-signed certificate, a `python` on the PATH, and the two names that the reader has already.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from bitnet import BitNetRuntime, RuntimeSupervisor, RuntimeTimeoutError
from bitnet.supervisor import LaunchResult
from tests.bitnet.conftest import example_ports
from tests.bitnet.runtime.conftest import CHECKOUT, demo_model, native_build

__all__ = ["demo_model", "example_ports", "native_build"]

PROBES = {"cpu", "memory", "disk", "gpu", "numa", "sandbox"}

# fmt: off
PROMISED = """\
from bitnet import BitNetRuntime, RuntimeSupervisor, RuntimeTimeoutError, GRPCSupervisorDriver, RaySupervisorDriver

runtime = BitNetRuntime(build_dir="build")
async with RuntimeSupervisor(runtime, concurrency=runtime.cpu_count) as sup:
    result = await sup.run_inference(model="models/BitNet-b1.58-2B-4T/ggml-model-i2_s.gguf", prompt="Summarise …", timeout=30)
print(result.stdout)

await supervisor.run_custom(["python", "-m", "http.server", "8080"], timeout=5)          # RuntimeTimeoutError

supervisor = RuntimeSupervisor(runtime, scheduling_policy="resource-aware", resource_limits={"gpu": 2})
await supervisor.run_inference(model=model_path, prompt="…", resources={"gpu": 1})         # waits for a slot

grpc_driver = GRPCSupervisorDriver(supervisor, host="0.0.0.0", port=50051,
    tls_config={"server_cert": "cert.pem", "server_key": "key.pem"}, auth_token="shared-secret")
await grpc_driver.start()
result = await grpc_driver.submit_task(["python", "-c", "print('hello')"], options={"timeout": 5})

ray_driver = RaySupervisorDriver(lambda: BitNetRuntime(build_dir="build"), num_workers=4, shutdown_ray=True, init_kwargs={"local_mode": True})
result = await ray_driver.submit_task(["python", "-c", "print('distributed')"], timeout=5)

supervisor = RuntimeSupervisor(runtime, backend_weights={"a": 3, "b": 1})

text = runtime.prometheus_metrics()
otel_payload = runtime.opentelemetry_metrics()
"""  # noqa: E501 - as it was promised
# fmt: on
EXPIRES = "# RuntimeTimeoutError"


def statements() -> list[str]:
    """The examples, a statement each, with the comment behind it."""
    lines = PROMISED.splitlines()
    return ["\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in ast.parse(PROMISED).body]


async def run(statement: str, names: dict[str, object]) -> object:
    """Run one statement, which may await at its top level; its value, if it is an expression."""
    tree = ast.parse(statement)
    if isinstance(tree.body[0], ast.Expr):
        tree.body[0] = ast.fix_missing_locations(
            ast.copy_location(ast.Assign([ast.Name("_", ast.Store())], tree.body[0].value), tree.body[0])
        )
    waiting = eval(compile(tree, "promised", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(waiting):
        await waiting
    return names.pop("_", None)


@pytest.fixture
def model_path(
    tmp_path: Path, native_build: Path, demo_model: Path, example_ports: None, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A model where the examples look for one, in a folder with everything else that they name."""
    (tmp_path / "build").symlink_to(native_build)
    model = tmp_path / "models/BitNet-b1.58-2B-4T/ggml-model-i2_s.gguf"
    model.parent.mkdir(parents=True)
    model.symlink_to(demo_model)
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*request, *names], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return model


@pytest.mark.native
async def test_the_examples_run_as_they_were_promised(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"model_path": model_path, "supervisor": RuntimeSupervisor(BitNetRuntime("build"))}
    results: dict[str, object] = {}
    with pytest.warns(RuntimeWarning, match="init_kwargs\\['local_mode'\\]"):
        for statement in statements():
            if statement.endswith(EXPIRES):
                with pytest.raises(RuntimeTimeoutError) as expired:
                    await run(statement, names)
                results["expired"] = expired.value.timeout
            else:
                value = await run(statement, names)
                results[statement] = value if value is not None else names.get("result")
    await names["grpc_driver"].stop()  # type: ignore[attr-defined]
    await names["ray_driver"].aclose()  # type: ignore[attr-defined]
    await names["supervisor"].aclose()  # type: ignore[attr-defined]

    assert not ray.is_initialized(), "as shutdown_ray asks"
    assert results["expired"] == 5
    launched = [value for value in results.values() if isinstance(value, LaunchResult)]
    assert {result.returncode for result in launched} == {0}
    said = {result.stdout for result in launched}
    assert {"hello\n", "distributed\n"} <= said
    assert any("> Summarise …" in text for text in said)
    assert any("> …" in text for text in said)
    assert "> Summarise …" in capsys.readouterr().out
    check_metrics(str(names["text"]), names["otel_payload"])


def check_metrics(text: str, payload: Any) -> None:
    """Executions are counted, and each health probe tells its outcome, in both forms; nothing has another prefix."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {sample.name.startswith("bitnet_runtime_") for sample in samples} == {True}
    assert {sample.labels["probe"] for sample in samples if sample.name.endswith("probe_healthy")} == PROBES
    launches = {sample.labels["outcome"]: sample.value for sample in samples if sample.name.endswith("launches_total")}
    assert launches["ok"] >= 1
    (scope,) = json.loads(json.dumps(payload))["resourceMetrics"][0]["scopeMetrics"]
    told = {metric["name"]: metric for metric in scope["metrics"]}
    assert len(told["bitnet_runtime_probe_healthy"]["gauge"]["dataPoints"]) == len(PROBES)
    for name in ("disk_free_bytes", "memory_available_bytes", "gpu_pressure_ratio", "numa_nodes", "sandbox_fence"):
        assert f"bitnet_runtime_{name}" in told


def test_prometheus_scrapes_an_endpoint(tmp_path: Path) -> None:
    runtime = BitNetRuntime(tmp_path)
    with runtime.metrics_endpoint(port=0) as endpoint:
        answer = httpx.get(f"http://127.0.0.1:{endpoint.port}/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "bitnet_runtime_probe_healthy" in answer.text


@pytest.mark.parametrize("statement", statements())
def test_the_documentation_shows_them(statement: str) -> None:
    shown = "".join((CHECKOUT / "docs" / name).read_text() for name in ("bitnet.md", "bitnet-supervisor.md"))

    code, _, _ = statement.splitlines()[0].partition("  # ")
    assert code.rstrip() in shown
