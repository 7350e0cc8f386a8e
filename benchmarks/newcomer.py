"""How long it takes until an app of one's own runs: FastAPI and pandas in requirements.txt, on hosts without packages.

    python -m benchmarks.newcomer [--rounds 1]

A fresh folder with main.py and requirements.txt, then two commands, `deploy init` and `deploy up`, and one more `up`
after a line of main.py has changed. Places: the sandbox; a systemd host and a supervisord host with a package index in
their network; a host that reaches nothing, whose packages are shipped. Wheels are in the caches of this machine
beforehand, so an index' speed is not measured. It fails above the goals. Needs root: hosts are network namespaces with
a root file system, sshd and a supervisor of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import as_installed
from tests.deploy.newcomer import Newcomer, index
from tests.testbed import Kind, TestHost, take_slot

GOALS = {"first deploy": 60.0, "a changed line": 3.0}  # seconds


@dataclass(frozen=True)
class Place:
    name: str
    make: Callable[[], TestHost | None]
    ships: bool = False


def deployed(place: Place) -> dict[str, float]:
    """Seconds of each command, on a place that has never been deployed to."""
    host = place.make()
    person = Newcomer(Path(tempfile.mkdtemp(prefix="new-")), host)
    try:
        with index(host) if host and not place.ships else contextlib.nullcontext():
            person.init("root", "--wheels", "ship" if place.ships else "host")
            _, first = person.deploy("up")
            person.change_a_line()
            _, second = person.deploy("up")
        if person.answer()["line"] != "second":
            sys.exit(f"{place.name}: the changed line is not what users get")
        return {"first deploy": first, "a changed line": second}
    finally:
        person.leave()
        if host:
            host.destroy()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=1)
    rounds = parser.parse_args().rounds
    as_installed()
    slot = take_slot()
    places = [
        Place("the sandbox", lambda: None),
        Place("systemd", lambda: TestHost(Kind.SYSTEMD, slot)),
        Place("supervisord", lambda: TestHost(Kind.SUPERVISORD, slot)),
        Place("no network", lambda: TestHost(Kind.SUPERVISORD, slot), ships=True),
    ]
    missed = False
    try:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, medians of {rounds}, seconds")
        for place in places:
            deployed(place)  # whose wheels are cached from here on
            measured = [deployed(place) for _ in range(rounds)]
            times = {what: statistics.median(each[what] for each in measured) for what in GOALS}
            missed |= any(seconds > GOALS[what] for what, seconds in times.items())
            print(
                place.name.ljust(14),
                *(f"{what}: {times[what]:.1f} (goal {GOALS[what]:.0f})" for what in GOALS),
                sep="  ",
            )
    finally:
        slot.release()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
