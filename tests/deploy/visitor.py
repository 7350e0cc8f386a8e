"""Users who never stop: short requests one after another, and streams, until standard input ends; then what they met.

Run on a host as `python3 visitor.py`; the first line of standard input is `wanted` as JSON. What it prints: one line
of JSON. Streams begin with a part of their length, so that they end one after another. Every answer is known byte for
byte, but for the version that gave it.
"""

import http.client
import json
import socket
import ssl
import sys
import threading
import time

# port; short: so many ask one after another, half of them over one connection each; pause: seconds between two of them;
# streams: so many are open at any time, of `seconds`; engine: whether it is a llama-server; least: requests at least;
# name, tls: what they ask for, and whether over TLS
wanted = json.loads(sys.stdin.readline())
over = threading.Event()
lock = threading.Lock()
told = {"requests": 0, "streams": 0, "failed": [], "longest": 0.0, "versions": [], "away": 0, "why": []}
PATIENCE = 300  # seconds
TOKENS = 16  # a second of a stream


class Connection(http.client.HTTPConnection):
    def __init__(self):
        super().__init__(wanted["name"] or "127.0.0.1", wanted["port"], timeout=PATIENCE)

    def connect(self):
        self.sock = socket.create_connection(("127.0.0.1", wanted["port"]), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wanted["tls"]:
            self.sock = ssl._create_unverified_context().wrap_socket(self.sock, server_hostname=wanted["name"])


def ask(path, body=None, connection=None):
    began = time.monotonic()
    mine = connection or Connection()
    try:
        mine.request("GET" if body is None else "POST", path, body, {} if connection else {"Connection": "close"})
        answer = mine.getresponse()
        said = answer.read()
        if answer.status == 503 and answer.getheader("Retry-After"):
            raise SentAway(said[:100])
        if answer.status != 200:
            raise ValueError(f"status {answer.status}: {said[:200]}")
        return said
    finally:
        if not connection:
            mine.close()
        with lock:
            told["longest"] = max(told["longest"], time.monotonic() - began)


class SentAway(Exception):
    """More waited already than may."""


def short(connection):
    if wanted["engine"]:
        body = json.dumps({"prompt": "Hello", "n_predict": 2, "ignore_eos": True})
        answer = json.loads(ask("/completion", body, connection))
        version, is_whole = answer["model"], answer["tokens_predicted"] == 2
    else:
        answer = json.loads(ask("/", None, connection))
        version, is_whole = answer["version"], True
    if not is_whole:
        raise ValueError(f"an answer with a part missing: {answer}")
    with lock:
        told["requests"] += 1
        if told["versions"][-1:] != [version]:
            told["versions"].append(version)


def stream(seconds):
    began = time.monotonic()
    if wanted["engine"]:
        tokens = int(TOKENS * seconds)
        body = json.dumps({"prompt": "Hello", "n_predict": tokens, "ignore_eos": True, "stream": True})
        parts = [json.loads(each[6:]) for each in ask("/completion", body).decode().split("\n\n") if each]
        whole = parts[-1]["stop"] and parts[-1]["tokens_predicted"] == tokens
    else:
        body = ask(f"/stream?parts={int(seconds * 10)}").decode()
        version = body.partition(" ")[0]
        whole = body == "".join(f"{version} {number}\n" for number in range(int(seconds * 10))) + "end\n"
    if not whole:
        raise ValueError(f"a stream of {len(body)} characters after {time.monotonic() - began:.1f} s: …{body[-40:]!r}")
    with lock:
        told["streams"] += 1


def visit(what, *given):
    try:
        what(*given)
    except SentAway as sent:
        with lock:
            told["away"] += 1
            told["why"] = [*told["why"], f"{time.strftime('%X')} {what.__name__}: {sent}"][:10]
    except Exception as error:
        with lock:
            told["failed"].append(f"{time.strftime('%X')} {what.__name__}: {type(error).__name__}: {error}")


def is_over():
    return over.is_set() and told["requests"] >= wanted["least"]


def ask_on(number):
    kept = Connection() if number % 2 else None
    while not is_over():
        visit(short, kept)
        time.sleep(wanted["pause"])


def stream_on(number):
    visit(stream, wanted["seconds"] * (number + 1) / wanted["streams"])
    while not is_over():
        visit(stream, wanted["seconds"])


threads = [threading.Thread(target=ask_on, args=(number,)) for number in range(wanted["short"])]
threads += [threading.Thread(target=stream_on, args=(number,)) for number in range(wanted["streams"])]
for thread in threads:
    thread.start()
if sys.stdin.read():  # whatever was wanted, it is enough
    wanted["least"] = 0
over.set()
for thread in threads:
    thread.join()
print(json.dumps(told))  # noqa: T201
