"""What Temporal runs: one job of a queue, by its name."""

from datetime import timedelta

from temporalio import workflow


@workflow.defn
class Batch:
    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.execute_activity("work", name, start_to_close_timeout=timedelta(days=1))
