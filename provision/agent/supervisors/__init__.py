"""The supervisors that a host may have, behind one face.

A supervisor starts, stops and watches programs; each program is described by one manifest file of ours. Nothing here
touches a file or a program that is not ours.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import Dict, List, Optional, Sequence, Set

from .. import guard, trust
from ..layout import Layout
from ..protocol import REFUSED, USAGE, AgentError

LOG_BYTES = 64 << 10  # of a log, the last ones: more is not told at once


class Activity(Enum):
    """What a program is doing."""

    RUNNING = "running"  # has a process, perhaps still starting
    STOPPING = "stopping"  # on its way out
    STOPPED = "stopped"  # not started, or stopped on purpose
    EXITED = "exited"  # ended by itself, or could not be started
    ABSENT = "absent"  # the supervisor does not know it
    UNSUPERVISED = "unsupervised"  # its processes are there, and the supervisor does not know them


@dataclass(frozen=True)
class Observed:
    """A program as its supervisor sees it."""

    activity: Activity
    pid: int = 0
    detail: str = ""  # how it ended: "exited with status 1", "killed by SIGKILL"
    restarts: int = 0


ABSENT = Observed(Activity.ABSENT)


class Supervisor:
    """What each supervisor can do. Names are program names as they stand in release.json."""

    kind = ""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.logins: Dict[str, str] = {}  # registry -> X-Registry-Auth, for `fetch`; never written down
        self.accounts: Dict[str, Set[int]] = {}  # program -> uids that its manifest tells, where nothing else may
        self._marks: Dict[str, float] = {}  # program -> where its log was when we started it

    def twin(self) -> Supervisor:
        """Another connection to the same supervisor, for another thread."""
        raise NotImplementedError

    def usable(self) -> None:
        """Refuse where it can't be used, as far as that shows without starting or changing anything."""
        raise NotImplementedError

    def same_as(self, other: Supervisor) -> bool:
        """Whether both are of one supervisor, for two projects perhaps."""
        return self.kind == other.kind

    def ready(self) -> None:
        """Make sure that it runs, starting it where that is ours to do; AgentError where it can't be."""
        raise NotImplementedError

    def gone(self) -> bool:
        """Whether nobody is there who would answer: it was killed, or never started.

        Raises:
            AgentError: it is there, and does not answer.
        """
        return False

    def starts(self) -> bool:
        """Whether `ready` starts one that is gone; otherwise somebody else does, as systemd starts a Docker Engine.

        Raises:
            AgentError: it can't be started here.
        """
        return False

    def observe(self, programs: Sequence[str]) -> Dict[str, Observed]:
        """What the supervisor says; of one that is gone, that they are absent."""
        raise NotImplementedError

    def strays(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        """The processes of each program that the supervisor does not know: it was killed, or they escaped from it."""
        return {program: set() for program in programs}

    def stray_pids(self, programs: Sequence[str]) -> Set[int]:
        """The strays of these programs together."""
        return {pid for found in self.strays(programs).values() for pid in found}

    def manifest_path(self, manifest: str) -> str:
        raise NotImplementedError

    def ours(self) -> Dict[str, str]:
        """Program -> manifest, absolute, of all of this project that the supervisor has, whatever the project's own
        folder says; only manifests that nobody else can have written count.
        """
        raise NotImplementedError

    def readable(self) -> None:
        """Make sure that the supervisor can read its configuration as it is; AgentError names what it can't read."""

    def foreign(self, program: str, manifest: str) -> str:
        """Who else has this name: a sentence for the refusal, or empty."""
        raise NotImplementedError

    def fetch(self, manifest: str) -> None:
        """Get what a manifest needs from elsewhere, before anything is disturbed; AgentError where it can't be had."""

    def tidy(self, manifests: Sequence[str]) -> None:
        """Remove what `fetch` got and none of these manifests needs: those of the releases that stay."""

    def load(self, changed: Sequence[str], removed: Sequence[str]) -> None:
        """Let the supervisor read the manifests of these programs, already written or removed.

        A changed program must be stopped. May start what the manifest says is to be started.
        """
        raise NotImplementedError

    def enable(self, programs: Sequence[str]) -> None:
        """Let them start with the host. supervisord's manifests say so themselves."""

    def disable(self, programs: Sequence[str]) -> None:
        """The opposite, before their manifests are removed."""

    def start(self, program: str) -> None:
        raise NotImplementedError

    def stop(self, program: str, timeout: float) -> None:
        """Stop it and all of its processes, strays too; returns when they are gone."""
        raise NotImplementedError

    def end(self, program: str, timeout: float) -> None:
        """As `stop`, where nothing but its manifest tells how long it has; waits for `timeout` seconds at most."""
        self.stop(program, timeout)

    def members(self, program: str) -> Set[int]:
        """The processes of a program, of its present run alone."""
        raise NotImplementedError

    def how_it_ended(self, program: str, seen: Observed) -> str:
        """For the sentence "web …": "exited with status 1"."""
        raise NotImplementedError

    def log_tail(self, program: str, lines: int = 20, *, exact: bool = False) -> List[str]:
        """The last lines that it wrote, `LOG_BYTES` at most; since its start where this object or a twin started it.

        Args:
            exact: nothing of them is replaced or left out: what is no UTF-8 is there as `surrogateescape` has it.
        """
        raise NotImplementedError

    def facts(self) -> Dict[str, object]:
        """For `deploy host facts` and the plan."""
        raise NotImplementedError


def last_lines(content: bytes, lines: int, exact: bool) -> List[str]:
    """The end of a log as `Supervisor.log_tail` has it."""
    if not exact:
        return content.decode("utf-8", "replace").splitlines()[-lines:]
    all_lines = content.decode("utf-8", "surrogateescape").split("\n")
    return (all_lines if all_lines[-1] else all_lines[:-1])[-lines:]


def manifests_of(layout: Layout, folder: str, suffix: str) -> Dict[str, str]:
    """Path -> text of the manifests in `folder` that start programs of this project and that only we can have written.

    Raises:
        AgentError: others can write to that folder.
    """
    wrong = trust.fault(folder)
    if wrong:
        raise AgentError(REFUSED, f"what lies in {folder} can't be trusted: {wrong}.", next_step=wrong.remedy)
    found = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if name.endswith(suffix) and os.path.isfile(path) and not os.path.islink(path) and not trust.own(path):
            with open(path, encoding="utf-8", errors="replace") as stream:
                text = stream.read()
            if layout.run + "/" in text:
                found[path] = text
    return found


def options(layout: Layout) -> Dict[str, object]:
    """How this project reaches its supervisor, as the last deploy wrote it down (targets' own settings)."""
    return guard.note(layout, os.path.join(layout.private, "supervisor.json"))


def open_supervisor(layout: Layout, platform: str, options: Optional[Dict[str, object]] = None) -> Supervisor:
    """The supervisor of `platform` on this host."""
    options = options or {}
    if platform == "supervisord":
        from .supervisord import Supervisord

        return Supervisord(layout, str(options.get("config") or ""))
    if platform == "systemd":
        from .systemd import Systemd

        return Systemd(layout, user_units=bool(options.get("user_units")))
    if platform == "docker":
        from .docker import Docker

        return Docker(layout)
    raise AgentError(USAGE, f"platform {platform!r} can't be deployed to over SSH")
