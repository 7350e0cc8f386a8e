"""Entry points of the agent on a host.

    python3 -I …/deploy_agent/__main__.py recover PATH         at boot: take the locks, end what is open
    python3 -I …/deploy_agent/__main__.py recover-locked PATH  for a newer agent that holds the locks already
    python3 -I …/deploy_agent/__main__.py control PATH WORDS…  for deploy-ctl

A conversation starts through `loader`, which imports `serve`.
"""

from __future__ import annotations

import os
import sys

_PACKAGE = "deploy_agent"


def serve(header: dict, stdin: object, stdout: object) -> None:  # type: ignore[type-arg]
    from .session import Session

    Session(header, stdin, stdout).serve()  # type: ignore[arg-type]


def main(arguments: list) -> int:  # type: ignore[type-arg]
    here = os.path.dirname(os.path.abspath(__file__))
    os.umask(0o022)
    _enter(os.path.dirname(here))
    from deploy_agent import guard, recover  # type: ignore[import-not-found]
    from deploy_agent.layout import Layout  # type: ignore[import-not-found]
    from deploy_agent.protocol import AgentError  # type: ignore[import-not-found]
    from deploy_agent.prove import NotProven  # type: ignore[import-not-found]

    command, root, *words = arguments
    layout = Layout(root)
    wrong = guard.fault(layout)
    if wrong is not None:
        print(f"what lies at {root} can't be trusted: {wrong}. next: deploy host mend", file=sys.stderr)  # noqa: T201
        return 1
    if command == "control":
        from deploy_agent import control

        return int(control.main(layout, tuple(words)))
    agent = os.path.basename(os.path.dirname(here))
    try:
        if command == "recover-locked":
            print(recover.recover(layout, agent, lambda _: None) or "")  # noqa: T201
        else:
            print(recover.recover_project(layout, agent, "boot", lambda _: None)["outcome"])  # noqa: T201
    except AgentError as error:
        print(f"{error.what} {error.why}".strip(), file=sys.stderr)  # noqa: T201
        return 1
    except (NotProven, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _enter(folder: str) -> None:
    """What `trust.enter` does, read from its source: what lies beside it compiled is not believed before that."""
    with open(os.path.join(folder, _PACKAGE, "trust.py"), encoding="utf-8") as stream:
        trust: dict = {}  # type: ignore[type-arg]
        exec(compile(stream.read(), stream.name, "exec"), trust)  # noqa: S102
    trust["enter"](folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
