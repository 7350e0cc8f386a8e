"""How a transaction comes to its end in the process that carried it out, and what is reported of it.

`ending` makes either state the one that is there, by what is written down alone, so anybody can. Here is what only who
carried it out knows: why it failed, how long users waited, which processes it proved.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, List, Mapping, NoReturn

from ..contract import failure
from ..contract.failure import DEGRADED, INTERRUPTED, PUT_BACK, Failure
from ..contract.state import State
from . import state as states
from . import supervision, traffic, unwritable
from .change import Change
from .ending import finish, leave, undo
from .measured import Bench
from .passage import Passage
from .programs import Programs

if TYPE_CHECKING:
    from ..contract.events import Details
    from ..contract.records import Begun
    from ..contract.release import ReleaseDocument


def commit(programs: Programs, change: Change, passage: Passage, bench: Bench) -> None:
    """Make the proven state the committed one.

    Raises:
        Failure: degraded: it serves, and that could not be finished.
    """

    def leave_() -> None:
        if passage.behind:  # whom only a supervisor ends
            _revive(programs, change.after, change.documents)
        leave(programs)

    try:
        begun: Begun = {
            "kind": change.kind,
            "who": change.who,
            "transaction": change.transaction,
            "time": time.time(),
            **change.noted,
        }
        if bench.results:
            begun["bench"] = bench.by_service()
            bench.keep()
        finish(programs.layout, change.before, change.after, begun, leave_)
    except (Failure, OSError) as error:
        what = "end what was before" if isinstance(error, Failure) else "write that down"
        raise Failure(
            DEGRADED,
            f"the new release is proven and serves, but the host can't {what}: {str(error).rstrip('.')}.",
            next_step="mend that, then deploy unlock finishes it, and so does the next deploy up",
        ) from None


def stay_supervised(programs: Programs, change: Change, ran: Mapping[str, List[int]]) -> None:
    """See that somebody restarts what was proven, and remember its processes.

    Args:
        ran: the processes of before, as the journal has them.

    Raises:
        Failure: degraded: the supervisor was lost after the proof.
    """
    try:
        _revive(programs, change.after, change.documents)
    except (Failure, OSError) as error:
        lost = failure.of(error).sentence
        raise Failure(
            DEGRADED,
            f"the new release was proven, but then {programs.supervisor.kind} was lost: {lost}",
            next_step="deploy status; then deploy up, or deploy unlock",
        ) from None
    programs.remember(change.after, change.before, ran)


def _revive(programs: Programs, after: State, documents: Mapping[str, ReleaseDocument]) -> None:
    """A supervisor that was killed after the proof has left nobody who would restart what it proved."""
    if programs.supervisor.gone():
        supervision.restore(programs.layout, programs.supervisor, programs.emit, patient=True)
        running = [name for name, record in after.programs.items() if record.is_to_run]
        services = [traffic.described(after, documents, name) for name in running]
        programs.prove(services, after, worked=True)


def give_up(programs: Programs, change: Change, failed: Failure, began: float) -> NoReturn:
    """Put everything back.

    Args:
        began: when the transaction did, by the monotonic clock.

    Raises:
        Failure: always: what is to be reported; degraded, where the old release could not be put back.
    """
    programs.step("undo", detail=failed.sentence)
    program = failed.details.get("program", "")
    report: Details = {
        "program": program,
        "log": failed.details.get("log", []),
        "facts": failed.details.get("facts", {}),
    }
    # Read now: the log may go with what is put back.
    record = change.after.programs.get(program)
    release = record.release if record else change.after.channels.get("stable", "")
    service = record.service if record else program.rpartition(".")[0]
    writes = unwritable.explain(failed, programs.layout.release(release), service) if release and program else ""
    try:
        now = undo(programs)
    except (Failure, OSError) as error:
        back = states.way_back(programs.layout, change.before, states.history(programs.layout))
        raise Failure(
            DEGRADED,
            failed.sentence,
            why="Putting the old release back failed too: " + failure.of(error).sentence,
            next_step=failure.out_of_degraded(record.service if record else "", back),
            **report,
        ) from None
    report["seconds"] = round(time.monotonic() - began, 3)
    report["waited"] = programs.waits.told()
    report["held"] = programs.waits.holds.told()
    if report["waited"]:
        now += f" Users waited {max(report['waited'].values()):.1f} s."
    kind = INTERRUPTED if failed.kind == INTERRUPTED else PUT_BACK
    step = writes or failed.next_step or ("deploy up, once that is mended" if kind == PUT_BACK else "")
    raise Failure(kind, failed.sentence, now, step, **report) from None
