"""What runs inside an actor, here without one."""

from __future__ import annotations

import pytest

from bitnet.drivers.cluster.worker import SupervisorWorker
from bitnet.errors import ResourcesImpossible, SupervisorClosed
from tests.bitnet.supervisor.programs import PrintingRuntime


async def test_a_worker_runs_tasks_within_its_pool_until_it_is_closed() -> None:
    worker = SupervisorWorker(PrintingRuntime, {"gpu": 1}, {"concurrency": 3})
    assert await worker.ready() == 3
    assert (await worker.run_custom(["echo", "hi"], {"resources": {"gpu": 1}})).stdout == "hi\n"
    assert (await worker.run_inference({"model": "m", "prompt": "p"})).stdout == "m p 16\n"
    with pytest.raises(ResourcesImpossible):
        await worker.run_custom(["true"], {"resources": {"gpu": 2}})
    await worker.close(0.0)
    with pytest.raises(SupervisorClosed):
        await worker.run_custom(["true"], {})
