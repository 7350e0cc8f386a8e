"""The examples of docs/bitnet-supervisor.md as they stand there; Ray's is in test_ray, where the cluster is."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from bitnet import BitNetRuntime, GRPCSupervisorDriver, RuntimeSupervisor, RuntimeTimeoutError
from tests.bitnet.supervisor.programs import PrintingRuntime

# fmt: off


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: dict[str, Path]) -> None:
    """A folder with certificates, and a `python` on the PATH."""
    shutil.copy(certificates["server"], tmp_path / "cert.pem")
    shutil.copy(certificates["server-key"], tmp_path / "key.pem")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    # The test's own certificate is not self-signed: its authority is what `ca` would name.
    (tmp_path / "cert.pem").write_bytes(certificates["server"].read_bytes() + certificates["ca"].read_bytes())


async def test_a_program_that_does_not_end_times_out() -> None:
    supervisor = RuntimeSupervisor(BitNetRuntime(build_dir="build"))
    with pytest.raises(RuntimeTimeoutError):
        await supervisor.run_custom(["python", "-m", "http.server", "8080"], timeout=5)          # RuntimeTimeoutError


async def test_inference_waits_for_a_slot() -> None:
    runtime, model_path = PrintingRuntime(), "model.gguf"
    supervisor = RuntimeSupervisor(runtime, scheduling_policy="resource-aware", resource_limits={"gpu": 2})
    result = await supervisor.run_inference(model=model_path, prompt="…", resources={"gpu": 1})         # waits for a slot  # noqa: E501
    assert result.stdout == "model.gguf … 16\n"


async def test_inference_with_a_deadline() -> None:
    runtime = PrintingRuntime()
    async with RuntimeSupervisor(runtime, concurrency=runtime.cpu_count) as sup:
        result = await sup.run_inference(model="models/BitNet-b1.58-2B-4T/ggml-model-i2_s.gguf", prompt="Summarise …", timeout=30)  # noqa: E501
    assert "Summarise …" in result.stdout


async def test_grpc_over_tls_with_a_token() -> None:
    supervisor = RuntimeSupervisor(BitNetRuntime(build_dir="build"))
    grpc_driver = GRPCSupervisorDriver(supervisor, host="0.0.0.0", port=50051,
        tls_config={"server_cert": "cert.pem", "server_key": "key.pem"}, auth_token="shared-secret")
    await grpc_driver.start()
    result = await grpc_driver.submit_task(["python", "-c", "print('hello')"], options={"timeout": 5})
    assert result.stdout == "hello\n"
    await asyncio.gather(grpc_driver.stop(), supervisor.aclose())
