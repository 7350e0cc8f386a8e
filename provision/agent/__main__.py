"""Entry points of the agent on a host, where this file lies one folder higher: `deploy_agent/__main__.py`.

    python3 -I …/deploy_agent/__main__.py recover PATH         at boot: take the locks, end what is open
    python3 -I …/deploy_agent/__main__.py recover-locked PATH  for a newer agent that holds the locks already
    python3 -I …/deploy_agent/__main__.py control PATH WORDS…  for deploy-ctl
    python3 -I …/deploy_agent/__main__.py keep PATH            be at home with traffic, for a supervisor
    python3 -I …/deploy_agent/__main__.py step PATH            take the step of a rollout that the keeper proposes

A conversation starts through `loader`, which imports `serve`. Boot hooks of earlier versions have this path too.
"""

from __future__ import annotations

import os
import sys

_PACKAGE = "deploy_agent"


def serve(header: dict, stdin: object, stdout: object) -> None:  # type: ignore[type-arg]
    from deploy_agent.agent.session import Conversation  # type: ignore[import-not-found]

    Conversation(header, stdin, stdout).serve()


def main(arguments: list) -> int:  # type: ignore[type-arg]
    here = os.path.dirname(os.path.abspath(__file__))
    os.umask(0o022)
    _enter(os.path.dirname(here))
    from deploy_agent.agent.entry import main  # type: ignore[import-not-found]

    return int(main(os.path.basename(os.path.dirname(here)), arguments))


def _enter(folder: str) -> None:
    """What `trust.enter` does, read from its source: what lies beside it compiled is not believed before that."""
    with open(os.path.join(folder, _PACKAGE, "agent", "trust.py"), encoding="utf-8") as stream:
        trust: dict = {}  # type: ignore[type-arg]
        exec(compile(stream.read(), stream.name, "exec"), trust)  # noqa: S102
    trust["enter"](folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
