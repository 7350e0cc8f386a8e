"""`scripts/cluster`: builds a cluster's programs, and runs one for people, until Ctrl-C.

scripts/cluster build [control|scale]   compile what is missing; control: what no pod needs; scale: for many nodes
scripts/cluster up [control]            run one; KUBECONFIG=… and how to end it are printed
"""

from __future__ import annotations

import signal
import sys

from tests.cluster.node import Node
from tests.cluster.parts import CONTROL_PLANE, EVERYTHING, MANY_NODES, build, program
from tests.cluster.running import Cluster
from tests.testbed.slots import take_slot


def main(words: list[str]) -> int:
    verb, control, scale = (words or [""])[0], words[1:] == ["control"], words[1:] == ["scale"]
    if verb not in ("build", "up") or (words[1:] and not control and not (scale and verb == "build")):
        sys.stderr.write(__doc__ or "")
        return 2
    build((*CONTROL_PLANE, *MANY_NODES) if scale else CONTROL_PLANE if control else EVERYTHING, tell=_say)
    if verb == "up":
        _up(control=control)
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _up(*, control: bool) -> None:
    slot = take_slot()
    try:
        cluster = Cluster(slot)
        _say(f"export KUBECONFIG={cluster.kubeconfig}")
        if not control:
            image = Node(cluster).load("localhost/web:1", program("pods"))
            _say(f'# image = "{image}" is there: a service with command = ["/web", "${{port}}"]')
        _say("# Ctrl-C ends it.")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        slot.release()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
