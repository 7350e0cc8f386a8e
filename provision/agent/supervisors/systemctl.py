"""systemd's own word on units: systemctl, asked again while the manager starts itself anew, and what its answers mean.

systemctl is part of every systemd and its `show` output is a stable interface (systemd's "Interface Portability and
Stability Promise"); D-Bus would need a library.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import Dict, Sequence, Set

from ...contract.failure import FAILED, REFUSED, Failure
from .. import commands, processes
from .base import ABSENT, Activity, Observed

_SHOW = (
    "Id,LoadState,LoadError,NeedDaemonReload,ActiveState,SubState,MainPID,ExecMainCode,ExecMainStatus,NRestarts,"
    "Result,ControlGroup,FragmentPath"
)
_RUNNING_STATES = {"active", "activating", "reloading"}
_CLD_EXITED = "1"  # siginfo_t.si_code, as ExecMainCode shows it
_POLL = 0.03
# What systemctl says where the manager starts itself anew (daemon-reexec, an update of systemd) while it is asked.
_HUNG_UP = re.compile(
    rb"Connection reset by peer|Transport endpoint is not connected|(message bus|Remote peer) ?(without|disconnected)"
)
_REEXEC_SECONDS = 20.0


class Systemctl:
    """The system's manager, or with `user` the account's own."""

    def __init__(self, user: bool) -> None:
        self._command = ["systemctl", *(["--user"] if user else []), "--no-pager", "--no-ask-password"]

    def __call__(self, *arguments: str, check: bool = True, timeout: float = 100.0) -> str:
        """What it prints.

        Raises:
            Failure: it is not there, or did not end; with `check` also: it failed.
        """
        command = [*self._command, *arguments]
        until = time.monotonic() + _REEXEC_SECONDS
        while True:
            try:
                done = commands.ask(command, timeout, apart=True, env={**os.environ, "LC_ALL": "C"})
            except FileNotFoundError:
                raise Failure(REFUSED, "systemctl is not on this host.", next_step="use another platform") from None
            except subprocess.TimeoutExpired:
                raise Failure(FAILED, f"{' '.join(command)} did not end in {timeout:.0f} s") from None
            if done.status == 0 or not _HUNG_UP.search(done.errors) or time.monotonic() > until:
                break
            time.sleep(_POLL)  # all that we ask for may be asked for twice
        if check and done.status != 0:
            why = done.errors.decode("utf-8", "replace").strip()
            raise Failure(FAILED, f"{' '.join(command)} failed", why=why)
        return done.output.decode("utf-8", "replace")

    def show(self, units: Sequence[str]) -> Dict[str, Dict[str, str]]:
        """Unit -> what it is known by; not of those that nobody knows."""
        found = {}
        for block in self("show", "-p", _SHOW, "--", *units, check=False).split("\n\n") if units else ():
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if "Id" in values:
                found[values["Id"]] = values
        return found


def observed(values: Dict[str, str]) -> Observed:
    """What a unit does, as `show` tells."""
    if not values or values.get("LoadState") in (None, "", "not-found"):
        return ABSENT
    pid = int(values.get("MainPID") or 0)
    restarts = int(values.get("NRestarts") or 0)
    active = values.get("ActiveState", "")
    detail = _how_it_ended(values)
    if active == "deactivating":
        return Observed(Activity.STOPPING, pid, "", restarts)
    if active in _RUNNING_STATES and values.get("SubState") != "auto-restart":
        return Observed(Activity.RUNNING, pid, "", restarts)
    if active == "failed" or values.get("SubState") == "auto-restart":
        return Observed(Activity.EXITED, 0, detail, restarts)
    # Also what was stopped on purpose, whose last status says nothing about a start that is still queued.
    return Observed(Activity.STOPPED, 0, detail, restarts)


def _how_it_ended(values: Dict[str, str]) -> str:
    status = values.get("ExecMainStatus", "0")
    if values.get("ExecMainCode") == _CLD_EXITED:
        return f"exited with status {status}"
    if values.get("ExecMainCode", "0") != "0":
        return f"killed by signal {status}"
    return values.get("Result", "")


def family(values: Dict[str, str], known: processes.Table) -> Set[int]:
    """The processes of a unit: its main one's, and all of its control group, however they left that."""
    pid = int(values.get("MainPID") or 0)
    group = values.get("ControlGroup", "")
    found = known.family([pid]) if pid else set()
    for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"):
        if group and group != "/":
            for folder, _, _ in os.walk(base + group):
                found |= _cgroup_members(folder)
    return {member for member in found if processes.alive(member)}


def _cgroup_members(folder: str) -> Set[int]:
    try:
        with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as stream:
            return {int(line) for line in stream.read().split()}
    except (OSError, ValueError):
        return set()
