"""What every supervisor of a host can do, behind one face.

A supervisor starts, stops and watches programs; each program is described by one manifest file of ours. Nothing here
touches a file or a program that is not ours.
"""

from __future__ import annotations

import copy
import os
import time
from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from ...contract.failure import FAILED, REFUSED, Failure
from ...contract.layout import Layout
from .. import trust

if TYPE_CHECKING:
    from ...contract.records import Taken

LAUNCHERS = "/.deploy/run/"  # in each manifest of a deploy, whichever project's
LOG_BYTES = 64 << 10  # of a log, the last ones: more is not told at once
_POLL = 0.03
_LAST_SECONDS = 5.0  # until the processes of a program that was stopped are gone


class Activity(Enum):
    """What a program is doing."""

    RUNNING = "running"  # has a process, perhaps still starting
    STOPPING = "stopping"  # on its way out
    STOPPED = "stopped"  # not started, or stopped on purpose
    EXITED = "exited"  # ended by itself, or could not be started
    ABSENT = "absent"  # the supervisor does not know it
    UNSUPERVISED = "unsupervised"  # its processes are there, and the supervisor does not know them


class Observed(NamedTuple):
    """A program as its supervisor sees it."""

    activity: Activity
    pid: int = 0
    detail: str = ""  # how it ended: "exited with status 1", "killed by SIGKILL"
    restarts: int = 0


ABSENT = Observed(Activity.ABSENT)


class Own(NamedTuple):
    """A program of this account's that is of no project, and that no release describes."""

    program: str
    manifest: str  # the name of its file
    text: str


class Supervisor(ABC):
    """What each supervisor can do. Names are program names as they stand in release.json."""

    kind = ""
    in_containers = False  # whether programs are started there, and not from the project's own folder
    logs_in_project = False  # whether logs are files of the project's own folder

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.logins: Dict[str, str] = {}  # registry -> X-Registry-Auth, for `fetch`; never written down
        self.taking: Sequence[str] = ()  # what the target takes over
        self.accounts: Dict[str, Set[int]] = {}  # program -> uids that its manifest tells, where nothing else may
        self._marks: Dict[str, float] = {}  # program -> where its log was when we started it

    def twin(self) -> Supervisor:
        """Another connection to the same supervisor, for another thread; both know what either has started."""
        return copy.copy(self)

    @abstractmethod
    def usable(self) -> None:
        """Refuse where it can't be used, as far as that shows without starting or changing anything."""

    def same_as(self, other: Supervisor) -> bool:
        """Whether both are of one supervisor, for two projects perhaps."""
        return self.kind == other.kind

    @abstractmethod
    def ready(self) -> None:
        """Make sure that it runs, starting it where that is ours to do; Failure where it can't be."""

    def gone(self) -> bool:
        """Whether nobody is there who would answer: it was killed, or never started.

        Raises:
            Failure: it is there, and does not answer.
        """
        return False

    def starts(self) -> bool:
        """Whether `ready` starts one that is gone; otherwise somebody else does, as systemd starts a Docker Engine.

        Raises:
            Failure: it can't be started here.
        """
        return False

    @abstractmethod
    def observe(self, programs: Sequence[str]) -> Dict[str, Observed]:
        """What the supervisor says; of one that is gone, that they are absent."""

    def strays(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        """The processes of each program that the supervisor does not know: it was killed, or they escaped from it."""
        return {program: set() for program in programs}

    def stray_pids(self, programs: Sequence[str]) -> Set[int]:
        """The strays of these programs together."""
        return {pid for found in self.strays(programs).values() for pid in found}

    @abstractmethod
    def manifest_path(self, manifest: str) -> str: ...

    def at_rest(self, manifest: str) -> str:
        """A manifest as it is while its program is stopped on purpose: it does not start with the host."""
        return manifest

    @abstractmethod
    def ours(self) -> Dict[str, str]:
        """Program -> manifest, absolute, of all of this project that the supervisor has, whatever the project's own
        folder says; only manifests that nobody else can have written count.
        """

    def readable(self) -> None:
        """Make sure that the supervisor can read its configuration as it is; Failure names what it can't read."""

    def has_room(self, more: int) -> None:
        """Make sure that it can run so many programs more; Failure says what is in the way."""

    def is_of(self, project: str, program: str, manifest: str) -> bool:
        """Whether one of `ours` is this project's, by its name: PREFIX-PROJECT-SERVICE; any, of no project."""
        return f"-{project}-" in f"-{program}" or not project

    @abstractmethod
    def foreign(self, manifests: Mapping[str, str]) -> Dict[str, str]:
        """Who else has the name of a program: a sentence for the refusal, of each that is taken.

        Args:
            manifests: program -> its manifest.
        """

    @abstractmethod
    def own(self, name: str, command: str, folders: Sequence[str]) -> Own:
        """How it would start one that runs `command`, with the host and again whenever it ends.

        Args:
            folders: what it has to see of the host, besides its own.
        """

    def is_seen_by_own(self, name: str, folder: str) -> bool:
        """Whether the one that was started as `name` sees a folder of the host."""
        return True

    def fetch(self, manifest: str) -> None:
        """Get what a manifest needs from elsewhere, before anything is disturbed; Failure where it can't be had."""

    def labels(self, manifest: str) -> Mapping[str, str]:
        """What the image of a manifest says of itself; it is here."""
        return {}

    def tidy(self, manifests: Sequence[str]) -> None:
        """Remove what `fetch` got and none of these manifests needs: those of the releases that stay."""

    def theirs(self, names: Sequence[str]) -> List[Taken]:
        """Those of `names` that somebody else's configuration starts here, and no deploy.

        Raises:
            Failure: one can't be taken over.
        """
        return []

    def theirs_with(self, pids: Set[int]) -> str:
        """Which of those some of these processes are of, as `take_over` would name it; or empty."""
        return ""

    def members_of_theirs(self, taken: Sequence[Taken]) -> Set[int]:
        """The processes of these."""
        return set()

    def take(self, taken: Sequence[Taken]) -> None:
        """Stop these, for good. May be repeated."""

    def give_back(self, taken: Sequence[Taken]) -> None:
        """Let what starts these say what it said; nothing is started. May be repeated."""

    def start_again(self, taken: Sequence[Taken]) -> None:
        """Start those that ran.

        Raises:
            Failure: one does not run.
        """

    @abstractmethod
    def load(self, changed: Sequence[str], removed: Sequence[str]) -> None:
        """Let the supervisor read the manifests of these programs, already written or removed.

        A changed program must be stopped. May start what the manifest says is to be started.
        """

    def apart(self, argv: Sequence[str], variables: Mapping[str, str]) -> List[str]:
        """The command that runs `argv` so that no stop of a program reaches it, with these variables alone.

        Children inherit the marks by which a program's strays are known, so none of the environment is kept.
        """
        return ["/usr/bin/env", "-i", *map("=".join, variables.items()), *argv]

    def enable(self, programs: Sequence[str]) -> None:
        """Let them start with the host. supervisord's manifests say so themselves."""

    def disable(self, programs: Sequence[str]) -> None:
        """The opposite, before their manifests are removed."""

    def start(self, programs: Sequence[str]) -> None:
        """Start them, without waiting until they run."""
        if programs:
            self._marks.update({program: self._end_of_log(program) for program in programs})
            self._start(programs)

    @abstractmethod
    def _start(self, programs: Sequence[str]) -> None: ...

    def _end_of_log(self, program: str) -> float:
        """Where its log ends now, as `log_tail` takes it: the time, unless the log is a file."""
        return time.time()

    @abstractmethod
    def stop(self, timeouts: Mapping[str, float]) -> None:
        """Stop programs and all of their processes, strays too, at the same time; returns when they are gone.

        Args:
            timeouts: program -> seconds that it has.
        """

    def end(self, programs: Sequence[str], timeout: float) -> None:
        """As `stop`, where nothing but their manifests tells how long they have; waits `timeout` seconds at most."""
        self.stop(dict.fromkeys(programs, timeout))

    @abstractmethod
    def families(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        """The processes of each program, of its present run alone."""

    def members(self, program: str) -> Set[int]:
        """Those of one program."""
        return self.families([program])[program]

    def _await_end(self, programs: Sequence[str]) -> None:
        """Wait until the processes of programs that were stopped are gone.

        Raises:
            Failure: they stay.
        """
        until = time.monotonic() + _LAST_SECONDS
        while True:
            left = [name for name, members in self.families(programs).items() if members]
            if not left:
                return
            if time.monotonic() > until:
                raise Failure(FAILED, f"{', '.join(left)} did not stop.")
            time.sleep(_POLL)

    def restarts(self, counts: Mapping[str, int], seconds: float) -> Dict[str, List[float]]:
        """How many seconds ago each program was started again, newest first, as far as it notes that itself.

        Args:
            counts: program -> how often since it was started by hand, as `observe` says.
            seconds: what is longer ago is left out.
        """
        return {}

    def how_it_ended(self, program: str, seen: Observed) -> str:
        """For the sentence "web …": "exited with status 1"."""
        return seen.detail or f"is {seen.activity.value}"

    @abstractmethod
    def log_tail(self, program: str, lines: int = 20, *, exact: bool = False) -> List[str]:
        """The last lines that it wrote, `LOG_BYTES` at most; since its start where this object or a twin started it.

        Args:
            exact: nothing of them is replaced or left out: what is no UTF-8 is there as `surrogateescape` has it.
        """

    def log_since(self, program: str, since: float, lines: int) -> Tuple[List[str], bool]:
        """As `log_tail`, exactly, of what was written since a time; and whether times are known there at all."""
        self._marks[program] = since
        return self.log_tail(program, lines, exact=True), True

    @abstractmethod
    def facts(self) -> Dict[str, object]:
        """For `deploy host facts` and the plan."""


def last_lines(content: bytes, lines: int, exact: bool) -> List[str]:
    """The end of a log as `Supervisor.log_tail` has it."""
    if not exact:
        return content.decode("utf-8", "replace").splitlines()[-lines:]
    found = content.decode("utf-8", "surrogateescape").split("\n")
    return (found if found[-1] else found[:-1])[-lines:]


def manifests_of(layout: Layout, folder: str, suffix: str) -> Dict[str, str]:
    """Path -> text of the manifests in `folder` that start programs of this project and that only we can have written.

    Raises:
        Failure: others can write to that folder.
    """
    wrong = trust.fault(folder)
    if wrong:
        raise Failure(REFUSED, f"what lies in {folder} can't be trusted: {wrong}.", next_step=wrong.remedy)
    found = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if name.endswith(suffix) and os.path.isfile(path) and not os.path.islink(path) and not trust.own(path):
            with open(path, encoding="utf-8", errors="replace") as stream:
                text = stream.read()
            if layout.run + "/" in text:
                found[path] = text
    return found
