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

from src import logs, meters, store
from src.jobs import QUEUE


def main(port: int) -> None:
    from src import completion

    logs.configure()
    completion.configure()
    connection = Redis.from_url(os.environ["REDIS_URL"])
    queue = Queue(QUEUE, connection=connection)
    meters.WAITING.set_function(lambda: len(queue))
    start_http_server(port, addr=os.environ.get("RLM_LISTEN") or "127.0.0.1")
    store.keep_shipping()
    SimpleWorker([queue], connection=connection).work()


if __name__ == "__main__":
    main(int(sys.argv[1]))
