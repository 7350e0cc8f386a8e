"""Ends what a killed worker or a reboot left open: forward where everything was proven, else back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, List, Optional

from ..contract import failure
from ..contract.failure import DEGRADED, FAILED, INTERRUPTED, UNPROVEN, Failure
from ..contract.layout import Layout
from ..contract.state import State, from_dict
from . import commands, control, facts, failed, files, journal, prune, supervision, traffic, trust, weights
from . import state as states
from .documents import read_documents
from .ending import finish, leave, undo
from .folders import host_folder
from .keeper.kinds import OF_WEIGHTS
from .locks import Lock, refuse
from .programs import Programs
from .supervisors import Activity, open_supervisor, options

if TYPE_CHECKING:
    from ..contract.answers import Recovered
    from ..contract.events import Emit
    from ..contract.holder import Holder
    from ..contract.records import Begin
    from ..contract.release import ServiceDocument

FINISHED = "finished"
PUT_BACK = "put back"
_OTHER_AGENT_SECONDS = 3600.0  # every program may take its drain, its stop and its proof, one level after another


def recover(layout: Layout, agent: str, emit: Emit) -> Optional[str]:
    """End an open transaction; what was done, or None where none is open. The caller holds the locks.

    The agent that wrote the journal does it, if it is another one and still whole: it alone knows for sure what its
    lines mean.

    Raises:
        Failure, OSError: the old release can't be proven; the journal is kept.
    """
    open_ = journal.Journal(layout.journal).left_open()
    if open_ is None:
        return None
    begin = open_.begin
    writer = os.path.join(layout.agents, str(begin.get("agent")))
    if begin.get("agent") != agent and not trust.refusal(writer):
        platform = begin["after"].get("platform") or begin["before"].get("platform", "")
        supervision.restore(layout, open_supervisor(layout, platform, options(layout)), emit)
        return _by_another(layout, writer)
    before, after = from_dict(begin["before"], layout.journal), from_dict(begin["after"], layout.journal)
    if begin["kind"] in OF_WEIGHTS:
        if open_.took(journal.COMMIT):
            finish(layout, before, after, begin, lambda: None)
            return FINISHED
        weights.undo(layout, before)
        return PUT_BACK
    supervisor = open_supervisor(layout, after.platform or before.platform, options(layout))
    for manifest in _manifests(begin, before, after):
        files.discard(files.temporary_of(supervisor.manifest_path(manifest)))
    if open_.took(journal.COMMIT):
        programs = Programs(layout, supervisor, emit)

        def end() -> None:
            if begin.get("behind"):
                supervision.restore(layout, supervisor, emit)
                leave(programs)

        finish(layout, before, after, begin, end)
        supervision.restore(layout, supervisor, emit)
        programs.remember(after, before, begin["running"])
        return FINISHED
    cut = f"Its worker on the host was cut off after: {open_.lines[-1]['step'] if open_.lines else journal.BEGIN}."
    try:
        now = undo(Programs(layout, supervisor, emit))
    except (Failure, OSError) as error:
        why = f"{cut} Putting the old release back failed too: {failure.of(error).sentence}"
        _note(layout, begin, after, DEGRADED, why)
        raise
    _note(layout, begin, after, INTERRUPTED, f"{cut} {now}")
    return PUT_BACK


def _note(layout: Layout, begin: Begin, after: State, outcome: str, why: str) -> None:
    with contextlib.suppress(OSError):  # a full disk
        failed.note(layout, begin, after.channels, outcome, why)


def _supervise(layout: Layout, emit: Emit) -> Optional[str]:
    """Put under their supervisor again what ran on when it was killed; start one that we had started, then or after a
    reboot. What was done, if it is news.

    Raises:
        Failure: what had run on without it does not work under it.
    """
    state = states.read_state(layout)
    if not state.programs:
        return None
    supervisor = open_supervisor(layout, state.platform, options(layout))
    programs = Programs(layout, supervisor, emit)
    gone, ended = supervisor.gone(), []
    if gone:
        if not supervisor.starts():
            return None
        ended = [name for name in supervision.restore(layout, supervisor, emit) if name in state.programs]
    # Somebody else started it again, before or just now, and these keep the ports.
    beside = not ended and bool(supervisor.stray_pids(list(state.programs)))
    if beside:
        seen = facts.view(layout, supervisor, state, with_gpus=False).programs
        ended = [name for name in state.programs if seen[name]["activity"] == Activity.UNSUPERVISED.value]
    if not gone and not ended:
        return None
    services = _services(layout, state, ended)
    if beside:
        programs.end({service["program"]: service["stop_timeout"] for service in services})
        programs.start(ended, "under its supervisor again")
    programs.prove(services, state, worked=True)
    programs.remember(state, state, {})
    return f"{', '.join(ended)}: under {state.platform} again" if ended else None


def _services(layout: Layout, state: State, programs: List[str]) -> List[ServiceDocument]:
    documents = read_documents(layout, state.releases())
    return [traffic.described(state, documents, name) for name in programs]


def _manifests(begin: Begin, *committed: State) -> List[str]:
    """The manifest files that a transaction may have been writing."""
    return [*begin["candidates"].values(), *(item.manifest for state in committed for item in state.programs.values())]


def _by_another(layout: Layout, agent: str) -> Optional[str]:
    main = os.path.join(agent, "deploy_agent", "__main__.py")
    kept = "pycache_prefix=" + trust.compiled()
    command = [sys.executable, "-I", "-X", kept, main, "recover-locked", layout.root]
    try:
        done = commands.ask(command, _OTHER_AGENT_SECONDS, apart=True)
    except subprocess.TimeoutExpired:
        raise Failure(
            DEGRADED,
            f"the agent that began the open transaction did not end it in {_OTHER_AGENT_SECONDS / 60:.0f} minutes.",
            next_step="deploy status; deploy logs; then deploy unlock, which tries again",
        ) from None
    if done.status != 0:
        raise Failure(DEGRADED, done.errors.decode("utf-8", "replace").strip()[-2000:])
    return done.output.decode("utf-8", "replace").strip() or None


def recover_project(layout: Layout, agent: str, who: str, emit: Emit) -> Recovered:
    """End an open transaction under the locks.

    Raises:
        Failure: it can't be ended; the host stays degraded.
    """
    project, host = Lock(layout.lock), Lock(os.path.join(host_folder(), "lock"))
    files.make_folder(host_folder())
    holder: Holder = {"who": who, "doing": "recovering"}
    if not project.take(holder, 3.0):
        raise refuse("a transaction of this project is running.", project.holder() or {})
    if not host.take(holder, 600.0):
        raise refuse("another project's transaction keeps this host busy.", host.holder() or {})
    try:
        done = recover(layout, agent, emit) or _supervise(layout, emit)
    except (Failure, OSError) as error:
        if isinstance(error, Failure) and error.kind != UNPROVEN:
            raise
        open_ = os.path.exists(layout.journal)
        what = "the interrupted transaction can't be undone" if open_ else "what was started again can't be proven"
        raise Failure(DEGRADED if open_ else FAILED, f"{what}: {error}") from None
    prune.leftovers(layout)
    if done is not None:
        control.refresh(layout, agent)
    return {"event": "result", "outcome": done or "nothing to recover"}
