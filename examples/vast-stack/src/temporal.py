"""Temporal between the API and the workers, where TEMPORAL_ADDRESS says where it is; without it the folder is enough.

A job stays a file of its queue. Temporal has its name, on a task queue called as its mode: it tries again what failed,
and knows which workers there are.
"""

import asyncio
import os
import time
from collections.abc import Callable

ADDRESS = os.environ.get("TEMPORAL_ADDRESS", "")
_CONNECT_SECONDS = 5


class NotHandedOver(Exception):
    """Temporal was not told of a job; the message says why."""


def hand_over(mode: str, name: str) -> None:
    """Have Temporal give the job to a worker.

    Raises:
        NotHandedOver: it does not answer, or refuses. The next worker that starts finds the job in its folder.
    """
    if ADDRESS:
        try:
            asyncio.run(_hand_over(mode, name))
        except Exception as error:  # whatever the client raises: the job is queued all the same
            raise NotHandedOver(f"Temporal at {ADDRESS}: {error or type(error).__name__}") from error


async def _hand_over(mode: str, name: str) -> None:
    from src.workflow import Batch

    await (await _client()).start_workflow(Batch.run, name, id=f"{mode}-{name}", task_queue=mode)


async def serve(mode: str, run: Callable[[str], None], idle_seconds: float, stopping: Callable[[], bool]) -> None:
    """Run what Temporal has for `mode`, one job at a time, until there was nothing for a while."""
    from concurrent.futures import ThreadPoolExecutor

    from temporalio import activity
    from temporalio.worker import Worker

    from src.workflow import Batch

    busy, since = 0, time.monotonic()

    @activity.defn(name="work")
    def work(name: str) -> None:
        nonlocal busy, since
        busy += 1
        try:
            run(name)
        finally:
            busy, since = busy - 1, time.monotonic()

    with ThreadPoolExecutor(1) as threads:
        options = {"activity_executor": threads, "max_concurrent_activities": 1}
        async with Worker(await _client(), task_queue=mode, workflows=[Batch], activities=[work], **options):
            while not stopping() and (busy or time.monotonic() - since < idle_seconds):
                await asyncio.sleep(0.1)


async def _client():
    from temporalio.client import Client

    return await asyncio.wait_for(Client.connect(ADDRESS), _CONNECT_SECONDS)
