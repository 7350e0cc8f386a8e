"""What a conversation has done in a worker of its own, which goes on where the conversation is cut."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Mapping, Sequence, Tuple, cast

from ..contract import failure
from ..contract.failure import DEGRADED, FAILED, REFUSED, Failure
from . import activate, launch, once, rolling, sockets, trust, worker
from . import recover as recovery
from .locks import Lock
from .masks import Masks

if TYPE_CHECKING:
    from ..contract.answers import Recovered, Unlocked
    from ..contract.events import ErrorMessage
    from ..contract.peers import ChangePeers
    from ..contract.requests import TransactionRequest, Unlock
    from ..contract.rollout import SteerRollout, Weigh
    from .session import Conversation


def transact(session: Conversation, request: TransactionRequest) -> Mapping[str, object]:
    """Carry out a transaction; how it ended."""
    transaction = worker.new_transaction()
    session.emit({"event": "transaction", "transaction": transaction})
    return _in_worker(
        session,
        transaction,
        lambda emit, aborted: activate.perform(session.layout, session.header, transaction, request, emit, aborted),
        [
            *((name, secret["value"]) for name, secret in request["secrets"].items() if "value" in secret),
            *(
                item
                for secrets in request.get("once", once.NOTHING_ASKED)["secrets"].values()
                for item in secrets.items()
            ),
        ],
    )


def weigh(session: Conversation, request: Weigh) -> Mapping[str, object]:
    """Give the canary a share by hand; how that ended."""
    transaction, layout, header = worker.new_transaction(), session.layout, session.header
    return _in_worker(session, transaction, lambda emit, _: rolling.weigh(layout, header, transaction, request, emit))


def change_peers(session: Conversation, request: ChangePeers) -> Mapping[str, object]:
    """Let other machines answer behind this host's front; how that ended."""
    from . import introduced  # of hosts with such a front alone

    transaction, layout, header = worker.new_transaction(), session.layout, session.header
    return _in_worker(
        session, transaction, lambda emit, _: introduced.change(layout, header, transaction, request, emit)
    )


def steer(session: Conversation, request: SteerRollout) -> Mapping[str, object]:
    """Do to the rollout that is under way what somebody asks for; how that ended."""
    transaction, layout, header = worker.new_transaction(), session.layout, session.header
    return _in_worker(
        session,
        transaction,
        lambda emit, aborted: rolling.steer(layout, header, transaction, request, emit, aborted),
    )


def _in_worker(
    session: Conversation, transaction: str, work: worker.Work, secrets: Sequence[Tuple[str, str]] = ()
) -> Mapping[str, object]:
    """Have it done; nothing that is told of it holds one of `secrets`, nor of those that programs here have."""
    masks = Masks([*secrets, *launch.every_secret(session.layout)])
    running = worker.start(session.layout, transaction, work, masks)

    def on_command(line: bytes) -> bool:
        command = json.loads(line).get("op")
        if command == "abort":
            running.abort()
        return bool(command != "detach")

    try:
        return worker.forward(running, session.tell, session.input, on_command)
    except worker.Gone:
        sys.exit(0)
    except EOFError:
        raise Failure(
            DEGRADED if os.path.exists(session.layout.journal) else FAILED,
            "the worker was killed in the middle of the transaction.",
            next_step="deploy status; deploy unlock recovers it now, and so does the next deploy up",
        ) from None


def recover(session: Conversation, _: object = None) -> Recovered:
    """End the transaction that is open.

    Raises:
        Failure: it can't be ended, or only by a later version.
    """
    layout, header = session.layout, session.header
    answer = _in_worker(
        session,
        "recover-" + worker.new_transaction(),
        lambda emit, _: recovery.recover_project(layout, header["agent"], header["who"], emit),
    )
    if answer["event"] == "error":
        raise failure.told(cast("ErrorMessage", answer))
    return cast("Recovered", answer)


def recover_for_claim(session: Conversation) -> None:
    """The same for who is about to deploy, which tries again to end what can't be ended now.

    Raises:
        NewerHost: only a later version can.
    """
    try:
        recover(session)
    except Failure as failed:
        if "newer" in failed.details:
            raise


def unlock(session: Conversation, request: Unlock) -> Unlocked:
    """End a worker that hangs, and recover. Never just removes a file."""
    claim, lock = Lock(session.layout.claim), Lock(session.layout.lock)
    holder = lock.keeper() or claim.keeper()
    if holder and not request["yes"]:
        return {"event": "result", "holder": holder, "outcome": "held"}
    # A claim is held by a conversation, perhaps with a laptop that is long gone: sshd learns of that late.
    for pid, uid in {**claim.holders(), **lock.holders()}.items():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself
        except PermissionError:
            who = f"{trust.account(uid)} holds it (pid {pid}, {sockets.name(pid)})."
            raise Failure(
                REFUSED, "the lock is another account's.", why=who, next_step=f"end it there, as root: kill {pid}"
            ) from None
    if not os.path.isdir(session.layout.private):
        return {"event": "result", "holder": None, "outcome": "nothing to recover"}
    try:
        return {**recover(session), "holder": holder}
    except Failure as failed:
        if holder:
            failed.details["holder"] = holder
        raise
