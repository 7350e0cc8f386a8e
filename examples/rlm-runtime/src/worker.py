"""Works off the queue, one prompt after another, and tells how it is on /metrics.

In this process, not in a child for each job: what is counted has to stay here, and importing the runtime takes
seconds. SIGTERM lets the prompt in work end.
"""

from __future__ import annotations

import os
import sys

from prometheus_client import start_http_server
from redis import Redis
from rq import Queue, SimpleWorker
from rq.registry import StartedJobRegistry

from src import meters
from src.jobs import QUEUE


def main(port: int) -> None:
    connection = Redis.from_url(os.environ["REDIS_URL"])
    queue = Queue(QUEUE, connection=connection)
    started = StartedJobRegistry(queue=queue)
    meters.WAITING.set_function(lambda: len(queue))
    meters.RUNNING.set_function(lambda: len(started))
    start_http_server(port, addr="127.0.0.1")
    SimpleWorker([queue], connection=connection).work()


if __name__ == "__main__":
    main(int(sys.argv[1]))
