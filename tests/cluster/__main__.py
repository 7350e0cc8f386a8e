"""`scripts/cluster`: builds a cluster's programs, and runs one for people, until Ctrl-C.

scripts/cluster build [control|scale|pods]   compile what is missing; control: what no pod needs; scale: for many
                                             nodes; pods: what runs in them, where a cluster is given to tests
scripts/cluster up [control]                 run one; KUBECONFIG=… and how to end it are printed
"""

from __future__ import annotations

import shlex
import signal
import sys

from tests.cluster.given import CTR, KUBECONFIG
from tests.cluster.node import Node
from tests.cluster.parts import CONTROL_PLANE, EVERYTHING, MANY_NODES, build, program
from tests.cluster.running import Cluster
from tests.testbed.slots import take_slot

_NEEDED = {
    "": EVERYTHING,
    "control": CONTROL_PLANE,
    "scale": (*CONTROL_PLANE, *MANY_NODES),
    "pods": ("pods",),
}
_PARTS = {"build": tuple(_NEEDED), "up": ("", "control")}


def main(words: list[str]) -> int:
    verb, *parts = words or [""]
    part = parts[0] if parts else ""
    if part not in _PARTS.get(verb, ()) or parts[1:]:
        sys.stderr.write(__doc__ or "")
        return 2
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
        cluster = Cluster(slot)
        _say(f"export KUBECONFIG={cluster.kubeconfig}")
        if not control:
            node = Node(cluster)
            image = node.load("localhost/web:1", program("pods"))
            _say(f'# image = "{image}" is there: a service with command = ["/web", "${{port}}"]')
            _say(f"# tests on it: {KUBECONFIG}={cluster.kubeconfig} {CTR}={shlex.quote(shlex.join(node.ctr))}")
        _say("# Ctrl-C ends it.")
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        slot.release()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
