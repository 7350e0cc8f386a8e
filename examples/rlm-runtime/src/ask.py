"""python -m src.ask PROMPT: put it into the queue, wait, print the answer."""

from __future__ import annotations

import os
import sys
import time

from redis import Redis
from rq import Queue

from src.jobs import QUEUE, process_completion


def main(prompt: str) -> int:
    queue = Queue(QUEUE, connection=Redis.from_url(os.environ["REDIS_URL"]))
    job = queue.enqueue(process_completion, prompt, job_timeout=600)
    while job.get_status().value not in ("finished", "failed", "stopped", "canceled"):
        time.sleep(0.1)
    result = job.latest_result()
    if result is None or result.return_value is None:
        print(result.exc_string if result else "the job is gone", file=sys.stderr)
        return 1
    print(result.return_value.response)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
