"""What the agent does without a conversation: at boot, for a newer agent, for deploy-ctl, and at home with traffic.

Who is at home is to stay small, so what only others need is imported where it is needed.
"""

from __future__ import annotations

import sys
from typing import List

from ..contract.failure import Failure
from ..contract.layout import Layout
from . import guard


def main(agent: str, arguments: List[str]) -> int:
    """Do what `arguments` say (see `__main__`); the exit status.

    Args:
        agent: digest of this one.
    """
    command, root, *words = arguments
    layout = Layout(root)
    wrong = guard.fault(layout)
    if wrong is not None:
        print(f"what lies at {root} can't be trusted: {wrong}. next: deploy host mend", file=sys.stderr)  # noqa: T201
        return 1
    if command == "control":
        from . import control

        return control.main(layout, tuple(words))
    if command == "keep":
        from .keeper import home

        return home.main(layout, agent)
    from . import recover, rolling

    if command == "step":
        return rolling.main(layout, agent)
    try:
        if command == "recover-locked":
            print(recover.recover(layout, agent, lambda _: None) or "")  # noqa: T201
        else:
            print(recover.recover_project(layout, agent, "boot", lambda _: None)["outcome"])  # noqa: T201
    except (Failure, OSError) as error:
        print(error.sentence if isinstance(error, Failure) else error, file=sys.stderr)  # noqa: T201
        return 1
    return 0
