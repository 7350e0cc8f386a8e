"""What it costs to stand before a service, and who fails while one release takes the other's place.

    python -m benchmarks.traffic [--seconds 5] [--rounds 3] [--switches 6]

Compared in one run, in turns: asking the service itself, through HAProxy as a target with traffic has it, and through
nginx by a hand-written file (`peers/nginx.conf`), which writes a line a request; so does HAProxy where an analysis
listens. First each alone until it is saturated:
short answers (of an nginx that answers by itself, asked by h2load over 64 kept connections) as fast as they go, and as
many streams of 50 tokens a second as there can be before half of the tokens are late by a whole pause. Then all at the
same pace, half of what the slowest of them reached. Latency of a token is from when it left the service to when the
client had it. What a proxy takes of the processor for each depends little on what else the machine does, unlike all
other figures. Then services are replaced under short requests and streams, by what each way has for that.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.fronts import Listened, Nginx, Ours, Way, free_port, listens, program, start_service, started, until
from benchmarks.tokens import Met, ask

CONNECTIONS = 64
FEWEST_STREAMS, MORE_STREAMS = 100, 1.5  # at a time, to begin with, and then so many times as many
PAUSE_MS = 20  # between two tokens of a paced stream
SWITCH_STREAM = "/150/20"  # three seconds
_ANSWERS = """worker_processes 1; daemon off; pid {folder}/answers.pid; error_log {folder}/answers.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 10000000;
  server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ return 200 "hello, world\\n"; }} }} }}
"""
WAYS = (Way, Ours, Listened, Nginx)


class Taken(NamedTuple):
    """Milliseconds, and how many a second."""

    median: float
    p99: float
    rate: float
    number: int  # of requests, or tokens


def short(port: int, seconds: float, rate: float = 0.0) -> Taken:
    """Short answers, as fast as they go or at a rate."""
    with tempfile.NamedTemporaryFile("r") as log:
        pace = [f"--rps={rate / CONNECTIONS:.3f}"] if rate else []
        length = ["-D", f"{seconds:g}"] if not rate else ["-n", str(int(rate * seconds))]
        words = ["h2load", "--h1", "-c", str(CONNECTIONS), "-t", "1", *length, *pace, f"--log-file={log.name}"]
        done = subprocess.run([*words, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True)
        taken = sorted(int(row.split("\t")[2]) / 1000 for row in log.readlines() if row.split("\t")[1] == "200")
    failed = int((re.search(r"(\d+) failed", done.stdout) or ["", "0"])[1])
    finished = float((re.search(r"([\d.]+) req/s", done.stdout) or ["", "0"])[1])
    if failed or not taken:
        sys.exit(f"{failed} requests failed: {done.stdout}")
    return Taken(statistics.median(taken), taken[int(len(taken) * 0.99)], finished, len(taken))


async def streams(port: int, seconds: float, number: int) -> Taken:
    """So many streams of tokens at a time."""
    met, loop = Met(), asyncio.get_running_loop()
    path = f"/{int(seconds * 1000 / PAUSE_MS)}/{PAUSE_MS}"
    began = loop.time()

    async def client(delay: float) -> None:
        await asyncio.sleep(delay)
        await ask(port, path, met, [])

    await asyncio.gather(*(client(index * PAUSE_MS / 1000 / number) for index in range(number)))
    if met.failed:
        sys.exit(f"{met.failed} streams failed: {met.why}")
    late = sorted(each / 1e6 for each in met.late)
    return Taken(statistics.median(late), late[int(len(late) * 0.99)], met.tokens / (loop.time() - began), met.tokens)


def saturated(port: int, seconds: float, *, is_short: bool) -> float:
    """How much it takes: requests a second, or streams at a time."""
    if is_short:
        return short(port, seconds).rate
    number, taken = float(FEWEST_STREAMS), 0.0
    while asyncio.run(streams(port, seconds, int(number))).median < PAUSE_MS:
        number, taken = number * MORE_STREAMS, number
    return taken


async def replaced(way: Way, switches: int) -> tuple[Met, Met]:
    """What short requests and streams met while services were replaced."""
    quick, long, over = Met(), Met(), asyncio.Event()
    service = start_service(way.servers[0])

    async def client(path: str, met: Met, *, keeps: bool, pause: float) -> None:
        kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        while not over.is_set():
            await ask(way.port, path, met, kept)
            while kept and not keeps:
                kept.pop()[1].close()
            await asyncio.sleep(pause)

    with way.running():
        clients = [asyncio.ensure_future(client("/", quick, keeps=index % 2 == 0, pause=0.01)) for index in range(8)]
        clients += [asyncio.ensure_future(client(SWITCH_STREAM, long, keeps=False, pause=0)) for _ in range(10)]
        for number in range(1, switches + 1):
            await asyncio.sleep(1)
            old, service = service, await asyncio.to_thread(way.switch, service, number)
            await asyncio.to_thread(old.wait)
        over.set()
        await asyncio.gather(*clients)
    service.terminate()
    await asyncio.to_thread(service.wait)
    return quick, long


def best(rounds: list[Taken]) -> Taken:
    """The round in which the machine was least in the way."""
    return Taken(
        min(each.median for each in rounds),
        min(each.p99 for each in rounds),
        max(each.rate for each in rounds),
        sum(each.number for each in rounds),
    )


def measured(folder: Path, seconds: float, rounds: int) -> None:
    answers, tokens = free_port(), free_port()
    (folder / "answers.conf").write_text(_ANSWERS.format(folder=folder, port=answers))
    for what, server in (("short answers", answers), ("streams", tokens)):
        (place := folder / what.replace(" ", "-")).mkdir()
        ways = [kind(place, (server, free_port())) for kind in WAYS]
        source = (
            (program("nginx"), "-c", str(folder / "answers.conf"))
            if server == answers
            else (sys.executable, "-m", "benchmarks.tokens", str(server))
        )

        with started(*source):
            until(lambda port=server: listens(port), what)  # type: ignore[misc]
            most, found, processor = {}, {way: list[Taken]() for way in ways}, dict.fromkeys(ways, 0.0)
            for way in ways:
                with way.running():
                    most[way] = saturated(way.port, seconds, is_short=server == answers)
            half = min(most.values()) / 2
            for way in ways * rounds:
                with way.running():
                    before = way.spent()
                    asked = short(way.port, seconds, half) if server == answers else None
                    found[way].append(asked or asyncio.run(streams(way.port, seconds, int(half))))
                    processor[way] += way.spent() - before
        unit = "requests a second" if server == answers else "streams at a time"
        one = "request" if server == answers else "token"
        print(f"\n{what}: latency at {half:.0f} {unit}\n")
        heads = ["", f"saturated: {unit}", "p50 ms", "p99 ms", "p99 over direct", f"processor µs a {one}"]
        print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        direct = best(found[ways[0]])
        for way in ways:
            taken = best(found[way])
            over = f"{taken.p99 - direct.p99:+.2f}"
            each = processor[way] / taken.number * 1e6
            cells = f"{most[way]:.0f} | {taken.median:.2f} | {taken.p99:.2f} | {over} | {each:.1f}"
            print(f"| {way.name} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--switches", type=int, default=6)
    asked = parser.parse_args()
    program("h2load")
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="traffic-") as folder:
        measured(Path(folder), asked.seconds, asked.rounds)
        print(f"\n{asked.switches} switches, with 8 clients of short requests and 10 of streams of 3 s\n")
        print("| | short requests | failed | streams | failed | what they said |\n|---|---|---|---|---|---|")
        for kind in WAYS:
            (place := Path(folder) / f"switch-{kind.__name__}").mkdir()
            way = kind(place, (free_port(), free_port()))
            quick, long = asyncio.run(replaced(way, asked.switches))
            said = "; ".join(f"{why} ({times})" for why, times in {**quick.why, **long.why}.items())
            counts = f"{quick.requests} | {quick.failed} | {long.requests} | {long.failed}"
            print(f"| {way.name} | {counts} | {said} |", flush=True)
            failed += quick.failed + long.failed if issubclass(kind, Ours) else 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
