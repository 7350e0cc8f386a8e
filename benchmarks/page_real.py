"""How soon the page shows what happens on real hosts, in a real Chromium.

    python -m benchmarks.page_real [--hosts 1,4,16] [--rtt 0,50] [--rounds 3]

Each host is a network namespace with a root file system, sshd and supervisord of its own; `deploy ui` and `deploy up`
are the ones that users run. Hosts have the processors that the laptop's side (page, browser, `deploy up`) leaves them:
elsewhere they have their own. Of an event: from the moment that the command wrote it down, to the frame that has its
line on the record's page. Of a state: a program is stopped, and started, behind the toolkit's back; from then
to the frame of the Project page that says so. Needs root and Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import as_installed
from benchmarks.many import timed
from benchmarks.wan import Far, distance
from provision import recorded
from provision.page.guard import ENTER
from tests.testbed import Kind, TestHost, take_slot
from tests.testbed.cgroups import run_after_all_others

_DEPLOY = Path(sys.executable).with_name("deploy")
_LOOKED_AT = 6  # hosts whose state changes; each waits for them to be asked again
_SECONDS = 120.0
_PORT = 8000
# When the frame came that had the first, second… line of what a command said, while it says more.
_LINES = """() => {
    window.seen = [];
    const look = () => {
        const now = Date.now(), lines = document.querySelectorAll("ol.said time").length;
        while (window.seen.length < lines) window.seen.push(now);
        requestAnimationFrame(look);
    };
    look();
}"""
_ALL = """lines => new Promise(done => {
    const look = () => window.seen.length >= lines ? done(window.seen) : requestAnimationFrame(look);
    look();
})"""
# The frame that does not say `word` of the host any more; true to `there`, the one that says it.
_STATE = """([host, word, there]) => new Promise(done => {
    const look = () => {
        const name = [...document.querySelectorAll(".host a")].find(each => each.textContent === host);
        const says = name && name.closest(".host").textContent.includes(word);
        says === there ? done(Date.now()) : requestAnimationFrame(look);
    };
    look();
})"""


def declare(folder: Path, hosts: Sequence[TestHost], version: str) -> None:
    """A web service on all of them."""
    (folder / "id").write_bytes(hosts[0].identity.read_bytes())
    (folder / "id").chmod(0o600)
    (folder / "known_hosts").write_text("".join(f"{host.address} {host.host_key}\n" for host in hosts))
    (folder / "index.html").write_text(version)
    names = ", ".join(f'"root@{host.address}"' for host in hosts)
    (folder / "deploy.toml").write_text(f"""\
[project]
name = "shown"

[services.web]
command = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "${{port}}"]
port = {_PORT}
check = {{ http = "/", timeout = "60s" }}

[targets.fleet]
platform = "supervisord"
hosts = [{names}]
identity = "id"
known_hosts = "known_hosts"
path = "/workspace/shown"
""")


@contextlib.contextmanager
def _page(folder: Path) -> Iterator[Any]:
    """A tab of a real Chromium at the project's page."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        sys.exit("chromium is missing: scripts/install-packages browser")
    words = [str(_DEPLOY), "ui", "--no-open", "--json"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as ui, sync_playwright() as playwright:
        assert ui.stdout
        url = json.loads(ui.stdout.readline())["url"]
        base = url.partition(ENTER)[0]
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            tab = browser.new_page(base_url=base)
            tab.set_default_timeout(_SECONDS * 1000)
            tab.goto(url)
            tab.wait_for_url(f"{base}/")
            yield tab
        finally:
            browser.close()
            ui.send_signal(signal.SIGINT)


def events(folder: Path, tab: Any) -> list[float]:
    """Of one deploy: milliseconds from each event, once the page was there, to its line."""
    began = time.time()
    with subprocess.Popen([_DEPLOY, "up"], cwd=folder, stdout=subprocess.DEVNULL) as up:
        while not (run := recorded.of_process(folder, up.pid, began)):
            if up.poll() is not None:
                raise RuntimeError(f"deploy up ended with {up.returncode}, and nobody wrote it down")
            time.sleep(0.01)
        tab.goto(f"/deploys/{run}")
        tab.locator("#line").get_by_text("live").wait_for()
        tab.evaluate(_LINES)
        since = time.time()
        while up.poll() is None:
            tab.wait_for_timeout(50)  # whoever does not listen to Playwright holds up the browser
        if up.returncode != 0:
            raise RuntimeError(f"deploy up ended with {up.returncode}")
    found = recorded.run(folder, run)
    assert found
    said = [event["at"] for event in found.events if event.get("text")]
    seen: list[float] = tab.evaluate(_ALL, len(said))
    return [shown - at * 1000 for at, shown in zip(said, seen, strict=True) if at > since]


def states(hosts: Sequence[TestHost], tab: Any) -> list[float]:
    """Seconds from the command that ends a program, or starts it again, to the page that says so; on each host once:
    of what is started more often the page says that.
    """
    tab.goto("/")
    took = []
    for host in hosts[:_LOOKED_AT]:
        tab.evaluate(_STATE, [host.address, "serving", True])
        for verb, before in (("stop", "serving"), ("start", "failing")):
            time.sleep(random.uniform(0, 5))  # anywhere between two questions
            began = time.time()
            host.exec(["supervisorctl", verb, "web"])
            took.append(tab.evaluate(_STATE, [host.address, before, False]) / 1000 - began)
    return took


def measure(count: int, rtt: float, rounds: int) -> None:
    slot = take_slot()
    with tempfile.TemporaryDirectory(prefix="deploy-bench-") as folder, contextlib.ExitStack() as held:
        held.callback(slot.release)
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"
        root = Path(folder) / "project"
        root.mkdir()
        hosts = [TestHost(Kind.SUPERVISORD, slot) for _ in range(count)]
        for host in hosts:
            run_after_all_others(host.name)
        declare(root, hosts, "0")
        timed(_DEPLOY, root, "up")
        if rtt:
            ends = [Far(host.name, host.address, slot.gateway) for host in hosts]
            held.enter_context(distance(ends, rtt_ms=rtt))
        tab = held.enter_context(_page(root))
        lags: list[float] = []
        for number in range(rounds):
            declare(root, hosts, f"{number + 1}")
            lags += events(root, tab)
        ages = states(hosts, tab)
        lag, age = statistics.median(lags), statistics.median(ages)
        cells = [f"{count}", f"{rtt:.0f} ms", f"{len(lags)}", f"{lag:.0f} ms", f"{_late(lags):.0f} ms"]
        cells += [f"{max(lags):.0f} ms", f"{age:.1f} s", f"{max(ages):.1f} s", f"{os.getloadavg()[0]:.1f}"]
        print("".join(f"{cell:>12}" for cell in cells), flush=True)


def _late(values: Sequence[float]) -> float:
    """What all but a twentieth are below."""
    return sorted(values)[int(0.95 * len(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default="1,4,16", help="numbers of hosts (1,4,16)")
    parser.add_argument("--rtt", default="0,50", help="round trips in ms (0,50)")
    parser.add_argument("--rounds", type=int, default=3, help="deploys that are looked at (3)")
    options = parser.parse_args()
    as_installed()
    names = ("hosts", "round trip", "events", "median", "95 %", "worst", "state", "worst", "load")
    print("".join(f"{name:>12}" for name in names))
    for count in map(int, options.hosts.split(",")):
        for rtt in map(float, options.rtt.split(",")):
            measure(count, rtt, options.rounds)


if __name__ == "__main__":
    main()
