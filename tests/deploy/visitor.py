"""Users who never stop: short requests one after another, and streams, until standard input ends; then what they met.

Run on a host as `python3 - PORT SHORT STREAMS`. What it prints: one line of JSON.
"""

import http.client
import json
import sys
import threading
import time

PORT, SHORT, STREAMS = (int(word) for word in sys.argv[1:4])
over = threading.Event()
lock = threading.Lock()
told = {"requests": 0, "streams": 0, "failed": [], "longest": 0.0, "versions": []}


def ask(path):
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=90)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        return body
    finally:
        connection.close()
        told["longest"] = max(told["longest"], time.monotonic() - began)


def short():
    version = json.loads(ask("/"))["version"]
    with lock:
        told["requests"] += 1
        if told["versions"][-1:] != [version]:
            told["versions"].append(version)


def stream():
    body = ask("/stream").decode().split()
    if body[:-1] != [body[0]] * 10 or body[-1] != "end":
        raise ValueError(f"a stream of {len(body)} parts: {body[-3:]}")
    with lock:
        told["streams"] += 1


def visit(what):
    while not over.is_set():
        try:
            what()
        except Exception as error:
            with lock:
                told["failed"].append(f"{time.strftime('%X')} {what.__name__}: {type(error).__name__}: {error}")


threads = [threading.Thread(target=visit, args=(short,)) for _ in range(SHORT)]
threads += [threading.Thread(target=visit, args=(stream,)) for _ in range(STREAMS)]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
print(json.dumps(told))  # noqa: T201
