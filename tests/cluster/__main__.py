"""`scripts/cluster`: compiles an API server of Kubernetes with its store, and runs one for people, until Ctrl-C.

scripts/cluster build    compile what is missing
scripts/cluster up       run one; what kubectl has to be told is printed
"""

from __future__ import annotations

import signal
import sys

from tests.cluster.parts import build
from tests.cluster.running import Cluster
from tests.testbed.slots import take_slot


def main(words: list[str]) -> int:
    if words not in (["build"], ["up"]):
        sys.stderr.write(__doc__ or "")
        return 2
    build(tell=_say)
    if words == ["up"]:
        _up()
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _up() -> None:
    slot = take_slot()
    try:
        cluster = Cluster(slot)
        _say(f"export KUBECONFIG={cluster.kubeconfig}\n# Ctrl-C ends it.")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        slot.release()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
