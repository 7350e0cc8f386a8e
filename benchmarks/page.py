"""What the page costs, and how soon it shows something.

    python -m benchmarks.page [--hosts 1000] [--viewers 50] [--seconds 30]

The server is the real one, in a process of its own; hosts are simulated: each answers after 20 to 200 ms, and of a
hundred looks one finds a host failing. Viewers follow the Project page as browsers do, without any browser's work. What
the server takes is read from /proc. With Chromium: the time from an event, as a deploy writes it down, to the pixels of
its record; and the first paint of the Project page by Chromium's own emulation of 1.6 Mbit/s and 150 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from provision.page import listening
from provision.page.app import Page
from provision.page.guard import ENTER, Door
from provision.page.places import STANDING, Place, Places, Project
from provision.page.poller import Key, Poller
from provision.recorded import Recorder
from tests.cli.test_status import ENDED, standing

_TARGET = "fleet"
_EVENTS = 20
# A promise, made before the event is written, of when the next frame has its text.
_WAIT = """text => {
    window.seen = new Promise(done => {
        const look = () => requestAnimationFrame(
            document.body.textContent.includes(text) ? () => done(Date.now()) : look);
        look();
    });
}"""
_PAINTED = """() => new Promise(done => {
    const look = () => {
        const [paint] = performance.getEntriesByName("first-contentful-paint");
        paint ? done(paint.startTime) : requestAnimationFrame(look);
    };
    look();
})"""
_ILL = 0.01  # of the hosts, at each look


class _Fleet(Places):
    """Hosts that answer after a while, as real ones do."""

    def __init__(self, project: Project, poller: Poller, hosts: int) -> None:
        self._names = tuple(f"gpu-{number:04}" for number in range(hosts))
        super().__init__(project, poller)

    def _place(self, name: str) -> Place:
        for host in self._names:
            self._look(Key(STANDING, name, host), partial(_answer, host))
        return Place(name, "systemd", "/srv/shop", self._names)


def _answer(_host: str) -> Any:
    time.sleep(random.uniform(0.02, 0.2))
    return standing(ENDED if random.random() < _ILL else None)


def serve(root: Path, hosts: int) -> None:
    """The page, until its input ends; each second, what the oldest answer is."""
    page = Page(Project("shop", root, {_TARGET: lambda: None}))  # type: ignore[dict-item,return-value]
    page.poller = Poller()
    page.places = _Fleet(page.project, page.poller, hosts)
    listener = listening.loopback(0)
    port = listener.getsockname()[1]
    door = Door()
    server = listening.server(page.app(door, port), page.end)
    addresses = [f"http://127.0.0.1:{port}{ENTER}{door.token()}" for _ in range(2)]
    sys.stdout.write(json.dumps(addresses) + "\n")
    sys.stdout.flush()

    def ages() -> None:
        while not server.should_exit:
            time.sleep(1)
            times: list[float] = [page.poller.heard(key).at for key in page.poller.keys(STANDING, _TARGET)]
            first = min(times, default=0.0)
            oldest = time.time() - first if first else None
            sys.stdout.write(json.dumps({"oldest": oldest}) + "\n")
            sys.stdout.flush()

    def ended() -> None:
        sys.stdin.read()
        server.should_exit = True

    for each in (ages, ended):
        threading.Thread(target=each, daemon=True).start()
    asyncio.run(server.serve(sockets=[listener]))


async def _viewers(base: str, cookies: httpx2.Cookies, count: int, seconds: float) -> int:
    """Bytes that all of them were sent."""
    sent = 0

    async def look(client: httpx2.AsyncClient) -> None:
        nonlocal sent
        async with client.stream("GET", "/live/") as stream:
            async for chunk in stream.aiter_raw():
                sent += len(chunk)

    limits = httpx2.Limits(max_connections=count)
    async with httpx2.AsyncClient(base_url=base, cookies=cookies, timeout=60, limits=limits) as client:
        looking = [asyncio.create_task(look(client)) for _ in range(count)]
        await asyncio.sleep(5)  # all have the whole page by then
        sent = 0
        await asyncio.sleep(seconds)
        for each in looking:
            each.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    return sent


def _taken(pid: int) -> tuple[float, float]:
    """Seconds of a core, and MB of memory."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return seconds, int(words[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _seen(chromium: str, url: str, root: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, Recorder(root, "deploy up", _TARGET, "benchmark") as recorder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(url)
        base = url.partition(ENTER)[0]
        tab.wait_for_url(f"{base}/")
        tab.goto(f"{base}/deploys")
        tab.get_by_role("link", name="deploy up").first.click()
        tab.get_by_text("What it said").wait_for()
        times = []
        for number in range(_EVENTS):
            tab.evaluate(_WAIT, f"event {number}.")
            time.sleep(random.uniform(0.2, 0.5))
            began = time.time()
            recorder.event({"event": "message", "host": "gpu-0001"}, f"event {number}.")
            times.append(tab.evaluate("window.seen") - began * 1000)
        times.sort()
        middle = statistics.median(times)
        _say(f"event to pixel: median {middle:.0f} ms, worst of {_EVENTS} {times[-1]:.0f} ms (goal: 300)")
        line = tab.context.new_cdp_session(tab)
        line.send("Network.enable")
        slow = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 750e3 / 8}
        line.send("Network.emulateNetworkConditions", slow)
        paints = []
        for _ in range(3):
            tab.goto(f"{base}/", wait_until="commit")
            paints.append(tab.evaluate(_PAINTED))
        _say(f"first paint at 1.6 Mbit/s: {statistics.median(paints):.0f} ms (goal: 1000)")
        browser.close()


def _read(lines: Iterable[str], ages: list[float]) -> None:
    """What the server says, as it comes."""
    ages.extend(oldest for line in lines if (oldest := json.loads(line)["oldest"]))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve, asked.hosts)
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        os.environ["XDG_STATE_HOME"] = folder
        program = [sys.executable, "-m", "benchmarks.page", "--serve", folder, "--hosts", str(asked.hosts)]
        server = held.enter_context(subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert server.stdin
        assert server.stdout
        held.callback(server.stdin.close)
        first, second = json.loads(server.stdout.readline())
        ages: list[float] = []
        threading.Thread(target=_read, args=(server.stdout, ages), daemon=True).start()
        base = first.partition(ENTER)[0]
        client = held.enter_context(httpx2.Client(base_url=base, timeout=60))
        client.get(first)
        client.get("/")
        while not ages:  # until each host has answered once
            client.get("/")
            time.sleep(1)
        page = client.get("/")
        wire = int(page.headers.get("content-length", 0))
        _say(f"load {os.getloadavg()[0]:.1f}; {asked.hosts} hosts, {asked.viewers} viewers, {asked.seconds:.0f} s")
        _say(f"the page: {len(page.content) / 1e3:.0f} kB, {wire / 1e3:.0f} kB as it is sent")
        ages.clear()
        before = _taken(server.pid)
        sent = asyncio.run(_viewers(base, client.cookies, asked.viewers, asked.seconds))
        after = _taken(server.pid)
        share = (after[0] - before[0]) / (asked.seconds + 5)
        _say(f"the server: {after[1]:.0f} MB, {100 * share:.0f} % of a core")
        _say(f"to each viewer: {sent / asked.viewers / asked.seconds / 1e3:.1f} kB a second")
        if ages:
            _say(f"the oldest answer of a host was {max(ages):.1f} s old (goal: 15)")
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if chromium:
            _seen(chromium, second, Path(folder))
        else:
            _say("no Chromium: nothing is said of pixels (scripts/install-packages browser)")


if __name__ == "__main__":
    main()
