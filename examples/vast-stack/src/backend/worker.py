"""Works off the queue of its mode, then ends; started on demand, one for each mode.

SIGTERM lets it finish the job that it has, because a deploy must not lose one.
"""

import asyncio
import fcntl
import os
import signal
import sys
import time

from src import temporal
from src.jobs import Queue
from src.llama import ModelUnavailable, complete

_IDLE_SECONDS = float(os.environ.get("WORKER_IDLE_SECONDS", "30"))
_TOKENS = 16


def main() -> int:
    mode = os.environ["WORKER_MODE"]
    queue = Queue.of(mode)
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    with (queue.folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another {mode} worker runs", flush=True)
            return 1
        queue.put_back()
        print(f"{mode} worker is ready", flush=True)
        # What waits here comes first, with Temporal too: it may be what Temporal was never told of.
        idle_since = time.monotonic()
        patience = 0 if temporal.ADDRESS else _IDLE_SECONDS
        while not stopping:
            if run(queue):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= patience:
                break
            else:
                time.sleep(0.1)
        if temporal.ADDRESS:
            asyncio.run(temporal.serve(mode, lambda name: run(queue, name), _IDLE_SECONDS, lambda: stopping))
    print("nothing left to do" if not stopping else "told to stop", flush=True)
    return 0


def run(queue: Queue, name: str = "*") -> bool:
    """Run the job of that name, or the oldest; whether there was one."""
    taken = queue.take(name)
    if taken is None:
        return False
    name, job = taken
    queue.finish(name, work(job))
    print(f"finished {name}", flush=True)
    return True


def work(job: dict[str, list[str]]) -> dict[str, object]:
    """A completion for each prompt of `job`; an error is a result, too."""
    try:
        return {"completions": [complete(prompt, _TOKENS) for prompt in job["prompts"]]}
    except ModelUnavailable as error:
        return {"error": str(error)}


if __name__ == "__main__":
    sys.exit(main())
