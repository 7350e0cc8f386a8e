"""All on one small cluster of this machine, begun and ended once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import ray
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bitnet.drivers import RaySupervisorDriver
from bitnet.drivers.cluster import session
from bitnet.errors import (
    DriverFailure,
    InvalidInput,
    LaunchFailed,
    ResourcesImpossible,
    RuntimeTimeoutError,
    SupervisorClosed,
)
from tests.bitnet.supervisor.programs import PrintingRuntime, alive, appears, gone

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLUSTER: Mapping[str, Any] = {
    "num_cpus": 2,
    "num_gpus": 2,
    "resources": {"fpga": 1},
    "object_store_memory": 80_000_000,
    "include_dashboard": False,
}


def available() -> dict[str, float]:
    return dict(ray.available_resources())  # type: ignore[no-untyped-call]


ECHO_WORKER = ["sh", "-c", "echo $PPID; sleep 0.3"]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    try:
        ray.init(log_to_driver=False, **CLUSTER)
    except Exception:  # it gives its node 30 s, which is not enough on a machine that is busy just then
        ray.shutdown()
        ray.init(log_to_driver=False, **CLUSTER)
    yield
    ray.shutdown()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(cluster: None) -> AsyncIterator[RaySupervisorDriver]:
    options = {"concurrency": 4, "grace": 0.2}
    async with RaySupervisorDriver(PrintingRuntime, num_workers=2, supervisor_options=options) as driver:
        yield driver


async def test_tasks_run_in_workers_and_results_and_errors_come_back_whole(driver: RaySupervisorDriver) -> None:
    result = await driver.submit_task(["sh", "-c", "echo o; echo e >&2; exit 3"], timeout=5, metadata={"id": 7})
    assert (result.stdout, result.stderr, result.returncode, result.metadata) == ("o\n", "e\n", 3, {"id": 7})
    answer = await driver.submit_inference(model="m", prompt="p", n_predict=2)
    assert (answer.stdout, answer.backend) == ("m p 2\n", "inference")
    with pytest.raises(RuntimeTimeoutError) as late:
        await driver.submit_task(["sh", "-c", "echo so far; exec sleep 60"], timeout=0.2)
    assert (late.value.stdout, late.value.timeout) == ("so far\n", 0.2)
    with pytest.raises(LaunchFailed, match="status 4"):
        await driver.submit_task(["sh", "-c", "exit 4"], check=True)
    with pytest.raises(InvalidInput):
        await driver.submit_task(["true"], timeout=-1)
    with pytest.raises(DriverFailure, match="timeuot"):
        await driver.submit_task(["true"], timeuot=1)
    assert driver.load == (0, 0)


async def test_a_task_goes_to_the_least_loaded_worker(driver: RaySupervisorDriver) -> None:
    long = asyncio.ensure_future(driver.submit_task(["sh", "-c", "echo $PPID; exec sleep 1"]))
    await asyncio.sleep(0.1)
    others = [(await driver.submit_task(["sh", "-c", "echo $PPID"])).stdout for _ in range(3)]
    assert sorted(driver.load) == [0, 1]
    assert set(others) != {(await long).stdout}
    assert len(set(others)) == 1
    results = await asyncio.gather(*(driver.submit_task(ECHO_WORKER) for _ in range(6)))
    counts = [[result.stdout for result in results].count(pid) for pid in {result.stdout for result in results}]
    assert counts == [3, 3]


async def test_cancelling_ends_the_program_in_its_worker(driver: RaySupervisorDriver, tmp_path: Path) -> None:
    script = ["sh", "-c", "echo $$ > $0; exec sleep 60", str(tmp_path / "pid")]
    task = asyncio.ensure_future(driver.submit_task(script))
    pid = int(await appears(tmp_path / "pid"))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await gone(pid)
    assert driver.load == (0, 0)


async def test_a_task_whose_worker_dies_is_given_to_another(driver: RaySupervisorDriver, tmp_path: Path) -> None:
    once = tmp_path / "once"
    script = f"if test -e {once}; then echo again; else touch {once}; kill -9 $PPID; sleep 5; fi"
    result = await driver.submit_task(["sh", "-c", script])
    assert result.stdout == "again\n"
    pids = {(await driver.submit_task(["sh", "-c", "echo $PPID"])).stdout for _ in range(4)}
    assert len(pids) == 2  # the dead worker was replaced


async def test_a_task_that_kills_every_worker_is_reported(driver: RaySupervisorDriver) -> None:
    with pytest.raises(DriverFailure, match="died under the task, 2 times"):
        await driver.submit_task(["sh", "-c", "kill -9 $PPID; sleep 5"])
    assert (await driver.submit_task(["echo", "on we go"])).stdout == "on we go\n"


async def test_resources_are_taken_from_rays_own(cluster: None) -> None:
    before = available()
    async with RaySupervisorDriver(PrintingRuntime, 2, resource_limits={"gpu": 1, "cpu": 0.5}) as driver:
        await _until_available("GPU", 0)
        assert available()["CPU"] == before["CPU"] - 1
        started = time.monotonic()
        await asyncio.gather(*(driver.submit_task(["sleep", "0.4"], resources={"gpu": 1}) for _ in range(4)))
        assert time.monotonic() - started > 0.7  # two workers with one GPU each
        with pytest.raises(ResourcesImpossible):
            await driver.submit_task(["true"], resources={"gpu": 2})
    await _until_available("GPU", 2)


async def _until_available(name: str, amount: float) -> None:
    deadline = time.monotonic() + 10
    while available().get(name, 0) != amount:
        assert time.monotonic() < deadline, available()
        await asyncio.sleep(0.1)


async def test_workers_for_which_the_cluster_has_no_room_are_given_up(cluster: None) -> None:
    driver = RaySupervisorDriver(PrintingRuntime, 2, resource_limits={"fpga": 1}, start_timeout=3)
    with pytest.raises(DriverFailure, match="did not come up in 3 s") as caught:
        await driver.submit_task(["true"])
    assert "each asks for fpga 1" in str(caught.value)
    await _until_available("fpga", 1)


async def test_who_stops_waiting_for_workers_leaves_none_behind(cluster: None) -> None:
    driver = RaySupervisorDriver(PrintingRuntime, 2, resource_limits={"fpga": 1})
    starting = asyncio.ensure_future(driver.start())
    await _until_available("fpga", 0)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    await _until_available("fpga", 1)


async def test_a_runtime_that_cannot_be_made_is_reported(cluster: None) -> None:
    def broken() -> PrintingRuntime:
        raise InvalidInput("no such build")

    with pytest.raises(DriverFailure, match="no such build"):
        await RaySupervisorDriver(broken).start()


async def test_closing_ends_programs_and_takes_no_more(cluster: None, tmp_path: Path) -> None:
    driver = RaySupervisorDriver(PrintingRuntime)
    script = ["sh", "-c", "echo $$ > $0; exec sleep 60", str(tmp_path / "pid")]
    task = asyncio.ensure_future(driver.submit_task(script))
    pid = int(await appears(tmp_path / "pid", within=15))
    await driver.aclose(drain=0)
    with pytest.raises(SupervisorClosed):
        await task
    assert not alive(pid)
    with pytest.raises(DriverFailure, match="is closed"):
        await driver.submit_task(["true"])
    assert ray.is_initialized()


async def test_a_task_whose_worker_dies_while_the_driver_closes_was_closed(cluster: None, tmp_path: Path) -> None:
    driver = RaySupervisorDriver(PrintingRuntime)
    script = ["sh", "-c", "echo $PPID > $0; exec sleep 60", str(tmp_path / "pid")]
    task = asyncio.ensure_future(driver.submit_task(script))
    worker = int(await appears(tmp_path / "pid", within=15))
    os.kill(worker, signal.SIGKILL)
    await driver.aclose(drain=0)
    with pytest.raises(SupervisorClosed):
        await task


async def test_a_worker_that_died_does_not_stand_in_the_way_of_closing(cluster: None) -> None:
    driver = RaySupervisorDriver(PrintingRuntime)
    pid = int((await driver.submit_task(["sh", "-c", "echo $PPID"])).stdout)
    os.kill(pid, signal.SIGKILL)
    await driver.aclose(drain=0)
    assert driver.load == ()


async def test_a_callers_trace_goes_on_in_the_worker(
    driver: RaySupervisorDriver, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Mapping[str, Any]] = []
    original = driver._call

    async def spy(worker: Any, method: str, *arguments: Any) -> Any:
        sent.append(arguments[-1])
        return await original(worker, method, *arguments)

    monkeypatch.setattr(driver, "_call", spy)
    await driver.submit_task(["true"])
    (span,) = spans.get_finished_spans()
    assert span.name == "bitnet.ray.submit"
    assert sent[0]["trace"]["traceparent"].split("-")[1] == f"{span.context.trace_id:032x}"


@pytest.mark.parametrize("values", [{"num_workers": 0}, {"worker_retries": -1}], ids=str)
async def test_numbers_out_of_range_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        RaySupervisorDriver(PrintingRuntime, **values)  # type: ignore[arg-type]


async def test_what_todays_ray_no_longer_takes_is_left_out_with_a_warning() -> None:
    with (
        pytest.warns(RuntimeWarning, match="'local_mode'.*real cluster"),
        pytest.warns(RuntimeWarning, match="'redis_max_memory'.*left out"),
    ):
        assert session.accepted({"local_mode": True, "num_cpus": 2, "redis_max_memory": 1}) == {"num_cpus": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert session.accepted({"num_cpus": 2}) == {"num_cpus": 2}


async def test_resources_have_rays_names() -> None:
    asked = {"cpu": 2.0, "gpu": 0.5, "memory": 1e9, "fpga": 1.0}
    expected = {"num_cpus": 2.0, "num_gpus": 0.5, "memory": 1e9, "resources": {"fpga": 1.0}}
    assert session.actor_options(asked) == expected
    assert session.actor_options({}) == {"num_cpus": 0}


async def test_ray_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where the port leads nowhere: asked as a first call would, without the session that this module has.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    driver = RaySupervisorDriver(PrintingRuntime, init_kwargs={"address": "no-such-scheme://nowhere"})
    with pytest.raises(DriverFailure, match="Ray did not start"):
        await driver.start()


async def test_two_first_tasks_at_once_start_one_set_of_workers(cluster: None) -> None:
    driver = RaySupervisorDriver(PrintingRuntime, num_workers=1)
    results = await asyncio.gather(*(driver.submit_task(["sh", "-c", "echo $PPID"]) for _ in range(2)))
    assert len({result.stdout for result in results}) == 1
    await driver.aclose()
