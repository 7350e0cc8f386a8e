"""A crowd that never stops: each request is somebody else's, until standard input ends; then what they met.

Run on a host as `python3 - PORT THREADS PAUSE`. What it prints: one line of JSON.
"""

import collections
import http.client
import json
import random
import sys
import threading
import time

PORT, THREADS, PAUSE = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
over = threading.Event()
lock = threading.Lock()
versions = collections.Counter()
told = {"requests": 0, "errors": 0, "failed": []}


def ask():
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    try:
        connection.request("GET", "/ask", headers={"User-Agent": f"user {random.random()}"})
        answer = connection.getresponse()
        version = answer.read().decode()
        with lock:
            told["requests"] += 1
            told["errors"] += answer.status == 500
            if answer.status not in (200, 500):
                told["failed"].append(f"status {answer.status}")
            versions[version] += 1
    finally:
        connection.close()


def visit():
    while not over.is_set():
        try:
            ask()
        except Exception as error:
            with lock:
                told["failed"].append(f"{time.strftime('%X')} {type(error).__name__}: {error}")
        time.sleep(PAUSE)


threads = [threading.Thread(target=visit) for _ in range(THREADS)]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
print(json.dumps({**told, "versions": versions}))  # noqa: T201
