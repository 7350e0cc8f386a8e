"""Where things are on a host (design: "On a host")."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Dict

from . import files, trust

STATE_DIR_VARIABLE = "DEPLOY_STATE_DIR"  # set in a sandbox, whose root must not be the machine's


def host_folder() -> str:
    """What all projects of this user on this host share: the host lock, the list of projects, our own supervisord."""
    return trust.state_folder()


def sandbox_environment() -> Dict[str, str]:
    """What a program that is run later needs to find the sandbox that we are in; empty outside of one."""
    names = (STATE_DIR_VARIABLE, "HOME", "PATH") if os.environ.get(STATE_DIR_VARIABLE) else ()
    return {name: os.environ[name] for name in names if name in os.environ}


@dataclass(frozen=True)
class Layout:
    """The folder of one project on one host."""

    root: str

    @property
    def releases(self) -> str:
        return os.path.join(self.root, "releases")

    @property
    def shared(self) -> str:
        return os.path.join(self.root, "shared")

    @property
    def models(self) -> str:
        return os.path.join(self.shared, "models")

    @property
    def engines(self) -> str:
        return os.path.join(self.shared, "engines")

    @property
    def logs(self) -> str:
        return os.path.join(self.shared, "logs")

    @property
    def prepared(self) -> str:
        return os.path.join(self.shared, "prepared")

    @property
    def private(self) -> str:
        return os.path.join(self.root, ".deploy")

    @property
    def state(self) -> str:
        return os.path.join(self.private, "state.json")

    @property
    def journal(self) -> str:
        return os.path.join(self.private, "journal")

    @property
    def history(self) -> str:
        return os.path.join(self.private, "history")

    @property
    def agents(self) -> str:
        return os.path.join(self.private, "agents")

    @property
    def transactions(self) -> str:
        return os.path.join(self.private, "transactions")

    @property
    def run(self) -> str:
        return os.path.join(self.private, "run")

    @property
    def lock(self) -> str:
        return os.path.join(self.private, "lock")

    @property
    def mending(self) -> str:
        return os.path.join(self.private, "mending")

    @property
    def reserve(self) -> str:
        return os.path.join(self.private, "reserve")

    @property
    def claim(self) -> str:
        return os.path.join(self.private, "claim")

    def release(self, release: str) -> str:
        return os.path.join(self.releases, release)

    def document(self, release: str) -> str:
        return os.path.join(self.release(release), "release.json")

    def incoming(self, nonce: str) -> str:
        return os.path.join(self.releases, ".incoming-" + nonce)

    def channel(self, name: str) -> str:
        return os.path.join(self.root, name)

    def launchers(self, program: str) -> str:
        return os.path.join(self.run, program)

    def create(self) -> None:
        """Make the folders that are missing. `.deploy` and `run` may be passed through, but not listed.

        Each has its mode from the start: nobody can have opened it before.
        """
        for folder, mode in (
            (self.root, 0o755),
            (self.releases, 0o755),
            (self.shared, 0o755),
            (self.models, 0o755),
            (self.logs, 0o755),
            (self.private, 0o711),
            (self.history, 0o700),
            (self.agents, 0o700),
            (self.transactions, 0o700),
            (self.run, 0o711),
        ):
            files.make_folder(folder, mode)
