"""Holds a rented machine within its budget, from the machine itself: no laptop has to be there.

What it goes by lies in the folder that it works in, which is its account's alone. Its clock is the machine's. Two of it
run: one acts, the other waits for its lock, which the kernel hands over in the moment in which that ends. A shell loop
that the machine starts with starts the first, and ends the machine at `ends` even where no Python can.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import IO, TYPE_CHECKING, Any, Dict, NamedTuple, Optional, Tuple, cast

from ..trust import fault
from .activity import Requests, computes, deploys, has_work, traffic

if TYPE_CHECKING:
    from ...contract.budget import Call, Installed, Sent, Terms, Watched

_TICK = 1.0  # seconds between two looks
_SELDOM = 15.0  # what takes a program to be asked
_AGAIN = 30.0  # until the provider is asked again to do what it did not do
_AHEAD = 120.0  # seconds of its price that a machine has left when it is ended for its share
_LAST = 600.0  # seconds for a last backup of a machine that is about to be no more
WARNED_AT = 0.8
_LONGEST = 1 << 20  # bytes of what it is told
_HEARD_SECONDS = 60.0  # until the guard goes by new terms


class Act(NamedTuple):
    """What is to be done with the machine, and why; nothing where `what` is empty."""

    what: str
    why: str


def decide(terms: Terms, now: float, spent: float, unused: float) -> Act:
    """What is to be done; all that is money comes first.

    Args:
        unused: seconds since somebody used the machine.
    """
    if now >= terms["ends"]:
        return Act("destroy", "its end has come")
    if spent + terms["per_hour"] * _AHEAD / 3600 >= terms["share"]:
        return Act("destroy", "it has cost ${:.2f} of its ${:.2f}".format(spent, terms["share"]))
    hours = terms["hours"]
    if hours is not None and not any(begin <= now < end for begin, end in hours):
        return Act("stop", "it is not wanted at this hour")
    if terms["idle"] is not None and unused >= terms["idle"]:
        return Act(terms["when_idle"], f"nobody has used it for {unused / 60:.0f} minutes")
    return Act("", "")


class Guard:
    """What has been seen of the machine, in all of its starts."""

    def __init__(self, seen: Dict[str, Any], terms: Terms, start: str, now: float) -> None:
        self._ticked = time.monotonic()
        self._asked = self._acted = -_AGAIN
        self._requests: Optional[Requests] = None
        self._warned = False
        self._last: Optional[Tuple[float, subprocess.Popen[bytes]]] = None
        self._start = start
        self._nonce = seen.get("nonce", "")
        self.doing, self.why, self.said = seen.get("doing", ""), "", ""
        is_same = seen.get("start") == start
        self.unused = seen.get("unused", 0.0) if is_same else 0.0
        # The kernel has counted on since, or from nothing.
        self._bytes = (seen.get("received", 0), seen.get("sent", 0)) if is_same else (0, 0)
        # While nothing ran here a machine that had stopped itself cost its disk, any other what it costs.
        price = terms["stopped_per_hour"] if self.doing == "stop" and not is_same else terms["per_hour"]
        self.spent = seen.get("spent", terms["spent"]) + max(now - seen.get("at", now), 0.0) / 3600 * price

    def tick(self, terms: Terms, now: float) -> Act:
        """Look once, and do what is to be done."""
        moment = time.monotonic()
        passed, self._ticked = moment - self._ticked, moment
        self._count(terms, passed)
        if terms["nonce"] != self._nonce:
            self._nonce, self.unused, self._acted, self._warned = terms["nonce"], 0.0, -_AGAIN, False
        self.unused = 0.0 if terms["idle"] is None or self._is_used(terms, moment) else self.unused + passed
        act = decide(terms, now, self.spent, self.unused)
        if act.what != self.doing:
            self._acted = -_AGAIN
            say("{}: {}".format(act.what or "goes on", act.why or "it is wanted again"))
        self.doing, self.why = act
        write("watched.json", self.watched(terms, now))
        waits = self._keeps(terms, now)
        if act.what and moment - self._acted >= _AGAIN and not waits:
            self._acted = moment
            said = ask(terms["destroy"] if act.what == "destroy" else terms["stop"], terms["key"])
            if said != self.said:
                say("the provider says " + said)
            self.said = said
            write("watched.json", self.watched(terms, now))
        return act

    def _keeps(self, terms: Terms, now: float) -> bool:
        """Have a last backup made of a machine that is about to be no more; whether that can be waited for.

        For what is money it begins ahead, and nothing waits.
        """
        spent = self.spent + terms["per_hour"] * _LAST / 3600
        if not terms.get("backup") or decide(terms, now + _LAST, spent, self.unused).what != "destroy":
            self._last = None
            return False
        if self._last is None:
            say("makes a last backup")
            command = [sys.executable, "-I", terms["backup"], "now"]
            self._last = time.monotonic(), subprocess.Popen(command, stdout=subprocess.DEVNULL)
        began, making = self._last
        is_money = decide({**terms, "idle": None, "hours": None}, now, self.spent, 0.0).what == "destroy"
        return making.poll() is None and time.monotonic() - began < _LAST and not is_money

    def _count(self, terms: Terms, passed: float) -> None:
        received, sent = traffic()
        carried = max(received - self._bytes[0], 0) * terms["per_byte_in"]
        carried += max(sent - self._bytes[1], 0) * terms["per_byte_out"]
        self._bytes = (received, sent)
        self.spent += passed / 3600 * terms["per_hour"] + carried
        if not self._warned and self.spent >= WARNED_AT * terms["share"]:
            self._warned = True
            say("it has cost ${:.2f} of its ${:.2f}".format(self.spent, terms["share"]))

    def watched(self, terms: Terms, now: float) -> Watched:
        return {
            "nonce": self._nonce,
            "start": self._start,
            "at": now,
            "ends": terms["ends"],
            "share": terms["share"],
            "spent": round(self.spent, 6),
            "received": self._bytes[0],
            "sent": self._bytes[1],
            "unused": self.unused,
            "doing": self.doing,
            "why": self.why,
            "said": self.said if self.doing else "",
        }

    def _is_used(self, terms: Terms, moment: float) -> bool:
        if self._requests is None or self._requests.ports != terms["ports"]:
            if self._requests is not None:
                self._requests.close()
            self._requests = Requests(terms["ports"])
        if self._requests.seen or deploys(terms["path"]):
            return True
        if moment - self._asked < _SELDOM:
            return False
        self._asked = moment
        return computes() or has_work(terms["busy"], terms["path"])


def ask(call: Call, key: str) -> str:
    """Have the provider do something to this machine; what it answered. Never a failure: it is asked again.

    Args:
        key: the variable that has the machine's own key, which the provider put there.
    """
    body = call["body"]
    request = urllib.request.Request(  # noqa: S310  (the toolkit gave the address: HTTPS, or this machine)
        call["url"],
        data=None if body is None else body.encode(),
        method=call["method"],
        headers={"Authorization": "Bearer " + os.environ.get(key, ""), "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            text = answer.read(300).decode("utf-8", "replace")
            return "{}: {}".format(answer.status, " ".join(text.split()))
    except urllib.error.HTTPError as error:
        return "{}: {}".format(error.code, " ".join(error.read(300).decode("utf-8", "replace").split()))
    except (OSError, ValueError) as error:
        return f"it can't be asked: {error}"


def read(name: str) -> Dict[str, Any]:
    """What lies in the guard's folder under a name; empty where nothing is that can be read."""
    try:
        with open(name, encoding="utf-8") as stream:
            found = json.loads(stream.read(_LONGEST))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(name: str, value: object) -> bool:
    """Put it there, whole or not at all: a disk that is full loses what was seen, and never the guard."""
    try:
        with open(name + ".new", "w", encoding="utf-8") as stream:
            stream.write(value if isinstance(value, str) else json.dumps(value))
        os.replace(name + ".new", name)
    except OSError:
        return False
    return True


def started() -> str:
    """What tells this start of the machine from others, as its shell loop wrote it down; empty where there is none."""
    try:
        with open("start", encoding="ascii", errors="replace") as stream:
            return stream.read(100).strip()
    except OSError:
        return ""


def say(text: str) -> None:
    sys.stderr.write("deploy-guard: {} {}\n".format(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()), text))
    sys.stderr.flush()


def install() -> None:
    """Take a guard and its terms, and tell when it goes by them."""
    os.umask(0o077)
    document = json.loads(sys.stdin.readline(_LONGEST))
    sys.stdout.write(json.dumps(_installed(document["folder"], document["program"], document["terms"])))


def _installed(folder: str, program: str, sent: Sent) -> Installed:
    wrong = fault(folder)
    if wrong:
        return {"fault": str(wrong)}
    if not os.path.isdir(folder):
        return {"fault": "it was not started with a guard"}
    os.chdir(folder)
    now, hours = time.time(), sent["hours"]
    terms = {**sent, "ends": now + sent["seconds"]}
    terms["hours"] = None if hours is None else [(now + begin, now + end) for begin, end in hours]
    texts = {"guard.py": program, "terms.json": json.dumps(terms), "ends": "{:.0f}\n".format(now + sent["seconds"])}
    if not all(write(name, text) for name, text in texts.items()):
        return {"fault": "its terms can't be written to " + folder}
    until = time.monotonic() + _HEARD_SECONDS
    while time.monotonic() < until:
        watched = read("watched.json")
        if watched.get("nonce") == sent["nonce"]:
            return {"watched": cast("Watched", watched)}
        time.sleep(0.1)
    return {"fault": "its guard does not run; /var/log/deploy-guard says more"}


def main() -> None:
    """Wait until nobody else acts, then act, for ever."""
    os.umask(0o077)
    entry = os.path.abspath(__file__)
    os.chdir(os.path.dirname(entry))
    waiting, acting = _lock("waits"), _lock("acts")
    try:
        fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # two are there
    fcntl.flock(acting, fcntl.LOCK_EX)
    waiting.close()
    guard: Optional[Guard] = None
    second: Optional[subprocess.Popen[bytes]] = None
    while True:
        terms = cast("Terms", read("terms.json"))
        if terms:
            guard = guard or Guard(read("watched.json"), terms, started(), time.time())
            guard.tick(terms, time.time())
        if second is None or second.poll() is not None:
            second = subprocess.Popen([sys.executable, "-I", entry])
        time.sleep(_TICK)


def _lock(name: str) -> IO[str]:
    return open(name, "a", encoding="ascii")
