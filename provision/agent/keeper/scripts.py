"""What a supervisor starts to be at home with traffic, and what that starts to take a step.

Scripts, because which agent a host has is no release's business. A step is taken by a process that is nobody's child:
what it does may stop the keeper, and must not end with it.
"""

from __future__ import annotations

import os
import sys
from typing import List

from ...contract import roles
from ...contract.layout import KEEP, STEP, Layout
from ...contract.state import State
from .. import files, launch, trust
from ..folders import sandbox_environment
from ..supervisors import Supervisor

_KEPT = ("PATH", "HOME", "XDG_RUNTIME_DIR")
_HEAD = "#!/bin/sh\n# {}. Written by deploy.\nexec {}\n"


def stage(layout: Layout, state: State, supervisor: Supervisor, agent: str) -> None:
    """Let the keeper that a state has be `agent` from now on; one that runs becomes it within a moment."""
    if roles.keeper(state) is None:
        return
    variables = {**{name: os.environ[name] for name in _KEPT if name in os.environ}, **sandbox_environment()}
    step = supervisor.apart(_agent(layout, agent, STEP), variables)
    keep = ["/usr/bin/env", *map("=".join, variables.items()), *_agent(layout, agent, KEEP)]
    files.make_folder(layout.traffic, 0o700)
    _write(layout, STEP, "Takes the step that the keeper proposes", step)
    _write(layout, KEEP, "Who is at home with traffic", keep)  # last: who reads it has the other one, too


def _agent(layout: Layout, agent: str, what: str) -> List[str]:
    main = os.path.join(layout.agents, agent, "deploy_agent", "__main__.py")
    return [sys.executable, "-I", "-S", "-X", "pycache_prefix=" + trust.compiled(), main, what, layout.root]


def _write(layout: Layout, name: str, says: str, words: List[str]) -> None:
    files.write_if_other(
        os.path.join(layout.traffic, name), _HEAD.format(says, " ".join(map(launch.quote, words))), 0o700
    )
