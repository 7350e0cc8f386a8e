"""`scripts/cluster`: builds a cluster's programs, and runs one for people, until Ctrl-C.

scripts/cluster build [control|scale|pods]   compile what is missing; control: what no pod needs; scale: for many
                                             nodes; pods: what runs in them, where a cluster is given to tests
scripts/cluster up [control]                 run one; KUBECONFIG=… and how to end it are printed
scripts/cluster down                         end the one that KUBECONFIG names, or the only one that runs
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path

from tests.cluster.given import CTR, KUBECONFIG
from tests.cluster.node import Node
from tests.cluster.parts import CONTROL_PLANE, EVERYTHING, MANY_NODES, build, program
from tests.cluster.running import Cluster
from tests.testbed.processes import start_time
from tests.testbed.slots import STATE, take_slot

_NEEDED = {
    "": EVERYTHING,
    "control": CONTROL_PLANE,
    "scale": (*CONTROL_PLANE, *MANY_NODES),
    "pods": ("pods",),
}
_PARTS = {"build": tuple(_NEEDED), "up": ("", "control"), "down": ("",)}
_SECONDS = 60


def main(words: list[str]) -> int:
    verb, *parts = words or [""]
    part = parts[0] if parts else ""
    if part not in _PARTS.get(verb, ()) or parts[1:]:
        sys.stderr.write(__doc__ or "")
        return 2
    if verb == "down":
        return _down(os.environ.get("KUBECONFIG", ""))
    build(_NEEDED[part], tell=_say)
    if verb == "up":
        _up(control=part == "control")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _up(*, control: bool) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell has what it starts in the background ignore the first
        signal.signal(number, signal.default_int_handler)
    slot = take_slot()
    try:
        _by(slot.directory).write_text(f"{os.getpid()} {start_time(os.getpid())}")
        cluster = Cluster(slot)
        _say(f"export KUBECONFIG={cluster.kubeconfig}")
        if not control:
            node = Node(cluster)
            image = node.load("localhost/web:1", program("pods"))
            _say(f'# image = "{image}" is there: a service with command = ["/web", "${{port}}"]')
            _say(f"# tests on it: {KUBECONFIG}={cluster.kubeconfig} {CTR}={shlex.quote(shlex.join(node.ctr))}")
        _say("# Ctrl-C ends it, or scripts/cluster down.")
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        slot.release()


def _down(kubeconfig: str) -> int:
    running = {directory: pid for directory in STATE.glob("*") if (pid := _runs(directory))}
    named = [directory for directory in running if Path(kubeconfig).is_relative_to(directory)]
    chosen = named or [*running]
    if len(chosen) != 1:
        _say(f"{len(running)} clusters run that scripts/cluster up began; KUBECONFIG=… says which is meant")
        return 2 if running else 0
    os.kill(running[chosen[0]], signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS
    while _runs(chosen[0]):
        if time.monotonic() > deadline:
            _say(f"it has not ended in {_SECONDS} s: see {chosen[0]}")
            return 1
        time.sleep(0.1)
    return 0


def _by(directory: Path) -> Path:
    """Who runs the cluster that is there."""
    return directory / "up"


def _runs(directory: Path) -> int:
    """Its process, where it has not ended."""
    try:
        pid, began = _by(directory).read_text().split()
        return int(pid) if start_time(int(pid)) == began else 0
    except (OSError, ValueError):
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
