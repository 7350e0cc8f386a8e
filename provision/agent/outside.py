"""What is done for a project whose folder can't be trusted: by the supervisor's word alone, none of it is believed.

Its manifests lie where only this account or root could have put them, and name the folder. So what runs can be told,
and ended; which release it is, or how it is asked to end, can not.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from typing import TYPE_CHECKING, Dict, List, Optional, Set

from ..contract.failure import FAILED, REFUSED, Failure
from ..contract.layout import Layout
from ..contract.outcome import COMMITTED
from ..contract.state import State
from . import boot, guard, processes, trust
from . import facts as of_hosts
from .folders import host_folder
from .supervisors import Activity, Supervisor

if TYPE_CHECKING:
    from ..contract.answers import Down
    from ..contract.events import Emit
    from ..contract.facts import ProjectFacts

_STOP_SECONDS = 600.0  # at most; how long a program really has stands in its manifest, and its supervisor reads it
_STRAY_SECONDS = 30.0  # for what has none


def facts(supervisor: Supervisor, refusal: Failure) -> ProjectFacts:
    """As `facts.project` tells it, as far as it can be told."""
    seen = supervisor.observe(sorted(supervisor.ours()))
    table = processes.table()
    return {
        "untrusted": {**refusal.details["untrusted"], "what": refusal.what, "next": refusal.next_step},
        "state": State().as_dict(),
        "view": {
            "programs": {
                name: {
                    "activity": program.activity.value,
                    "pid": program.pid,
                    "detail": program.detail,
                    "restarts": program.restarts,
                    "memory_bytes": processes.memory_bytes(table.family([program.pid]))
                    if program.activity is Activity.RUNNING
                    else 0,
                }
                for name, program in seen.items()
            }
        },
        "holder": None,
        "journal": None,
        "previous": None,
        "history": [],
        "releases": [],
        "models": [],
        "engines": [],
        "environments": [],
        "disk": of_hosts.disk(supervisor.layout.root),
        "recovery_needed": False,
    }


def demand_no_link(layout: Layout, supervisor: Supervisor) -> None:
    """Where logs are files of the project's folder, have them be there, and not where somebody linked to.

    Raises:
        Failure: a folder on the way is a link.
    """
    for folder in (layout.root, layout.shared, layout.logs) if supervisor.logs_in_project else ():
        if os.path.islink(folder):
            raise Failure(
                REFUSED,
                f"{folder} is a link in a folder that can't be trusted; no log is read there.",
                next_step="deploy host mend",
            )


def down(
    layout: Layout,
    supervisor: Supervisor,
    project: str,
    fault: Optional[trust.Fault],
    emit: Emit,
) -> Down:
    """Stop every program of the project that the supervisor has, and take it from it. No file below `root` is touched.

    Raises:
        Failure: the folder can be trusted, and so tells more than the supervisor does; all that runs there is
            another project's; or a program does not stop.
    """
    if fault is None:
        raise Failure(FAILED, "the host was mended meanwhile.", next_step="deploy down")
    manifests = supervisor.ours()
    own = {program: path for program, path in manifests.items() if supervisor.is_of(project, program, path)}
    left = sorted(set(manifests) - set(own))
    if left and not own:
        raise Failure(
            REFUSED,
            f"what runs at {layout.root} is not of project {project!r}: {', '.join(left)}.",
            why="Nothing in that folder can be believed, so it can't be told whose place this is.",
            next_step="deploy down from the project that it is of, or deploy host mend",
        )
    gone = _end(supervisor, own, emit)
    if guard.is_ours(host_folder()) and not left:
        boot.forget(layout)
    return {"event": "result", "outcome": COMMITTED, "programs": gone}


def end_all(supervisor: Supervisor, emit: Emit) -> List[str]:
    """Stop and remove all programs that the supervisor has in this project's folder; their names. Raises as `_end`."""
    return _end(supervisor, supervisor.ours(), emit)


def _end(supervisor: Supervisor, manifests: Dict[str, str], emit: Emit) -> List[str]:
    """Stop and remove the programs of these manifests; their names.

    Raises:
        Failure: one does not stop, or the supervisor does not tell.
    """
    supervisor.accounts = {name: _accounts(path) for name, path in manifests.items()}
    gone = bool(manifests) and supervisor.gone()
    if gone:
        _end_strays(supervisor, sorted(manifests), emit)
    else:
        there = []
        for name, seen in supervisor.observe(sorted(manifests)).items():
            if seen.activity is not Activity.ABSENT:
                emit({"event": "step", "step": "stop", "program": name, "detail": ""})
                there.append(name)
            elif seen.detail:
                raise Failure(FAILED, f"{seen.detail}, so {name} can't be stopped.", next_step="start it there")
        supervisor.end(there, _STOP_SECONDS)
    supervisor.disable(sorted(manifests))
    for path in filter(None, manifests.values()):
        os.unlink(path)
    if manifests and not gone:  # else it has nothing to forget
        supervisor.load([], sorted(manifests))
    return sorted(manifests)


def _end_strays(supervisor: Supervisor, names: List[str], emit: Emit) -> None:
    """End what runs on after its supervisor was killed, as far as its environment tells."""
    if supervisor.stray_pids(names):
        emit({"event": "step", "step": "stop", "program": ", ".join(names), "detail": f"without {supervisor.kind}"})
    stuck = processes.end(lambda: supervisor.stray_pids(names), _STRAY_SECONDS)
    if stuck:
        raise Failure(FAILED, f"{supervisor.kind} is gone, and processes {sorted(stuck)} do not stop.")
    emit({"event": "warning", "text": f"{supervisor.kind} is gone: what hides its environment may run on"})


def _accounts(manifest: str) -> Set[int]:
    """The accounts that a manifest has its program run as."""
    if not manifest:
        return set()
    with open(manifest, encoding="utf-8", errors="replace") as stream:
        users = re.findall(r"(?im)^user *= *([^\s;]+)", stream.read())
    found = set()
    for user in users:
        with contextlib.suppress(KeyError):
            found.add(pwd.getpwnam(user).pw_uid)
    return found
