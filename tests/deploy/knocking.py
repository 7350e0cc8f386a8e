"""Who asks anew every so many seconds, each time over a connection of its own, until standard input ends; then how
many there were, which failed, and for how long that went on.

Run on a host as `python3 - PORT SECONDS`. What it prints: one line of JSON.
"""

import http.client
import json
import sys
import threading
import time

PORT, EVERY = int(sys.argv[1]), float(sys.argv[2])
over = threading.Event()
lock = threading.Lock()
failed = []  # when it began, and why
longest = 0.0


def ask():
    global longest
    began = time.monotonic()
    why = ""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    try:
        connection.request("GET", "/health", headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        why = "" if answer.status == 200 else f"status {answer.status}"
    except Exception as error:
        why = type(error).__name__
    finally:
        connection.close()
    with lock:
        longest = max(longest, time.monotonic() - began)
        if why:
            failed.append((began, why))


threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
threads = []
due = time.monotonic()
while not over.is_set():
    threads.append(threading.Thread(target=ask))
    threads[-1].start()
    due += EVERY
    time.sleep(max(0.0, due - time.monotonic()))
for thread in threads:
    thread.join()
at = [began for began, _ in failed]
why = sorted({each for _, each in failed})
seconds = max(at) - min(at) + EVERY if at else 0.0
print(json.dumps({"requests": len(threads), "failed": len(at), "why": why, "seconds": seconds, "longest": longest}))  # noqa: T201
