"""The folders of a host and of a project there, made as they have to be."""

from __future__ import annotations

import os
from typing import Dict

from ..contract.layout import Layout
from . import files, trust

STATE_DIR_VARIABLE = "DEPLOY_STATE_DIR"  # set in a sandbox, whose root must not be the machine's


def host_folder() -> str:
    """What all projects of this user on this host share: the host lock, the list of projects, our own supervisord."""
    return trust.state_folder()


def sandbox_environment() -> Dict[str, str]:
    """What a program that is run later needs to find the sandbox that we are in; empty outside of one."""
    names = (STATE_DIR_VARIABLE, "HOME", "PATH") if os.environ.get(STATE_DIR_VARIABLE) else ()
    return {name: os.environ[name] for name in names if name in os.environ}


def create(layout: Layout) -> None:
    """Make the folders that are missing. `.deploy` and `run` may be passed through, but not listed.

    Each has its mode from the start: nobody can have opened it before.
    """
    for folder, mode in (
        (layout.root, 0o755),
        (layout.releases, 0o755),
        (layout.shared, 0o755),
        (layout.models, 0o755),
        (layout.logs, 0o755),
        (layout.private, 0o711),
        (layout.history, 0o700),
        (layout.agents, 0o700),
        (layout.transactions, 0o700),
        (layout.run, 0o711),
    ):
        files.make_folder(folder, mode)
