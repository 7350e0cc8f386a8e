"""Who is behind a front, and who is before one: as who deploys says, one transaction a change."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from ..contract import peers as contract
from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import peers, rolling, traffic, weights, worker
from . import state as states
from .documents import read_documents
from .keeper.kinds import PEERS

if TYPE_CHECKING:
    from ..contract.answers import Introduced, Transacted
    from ..contract.events import Emit
    from ..contract.peers import ChangePeers, Introduce
    from ..contract.requests import Header

_END = "-----END CERTIFICATE-----\n"


def introduce(layout: Layout, header: Header, request: Introduce) -> Introduced:
    """This host's own certificate; and whom it admits, from now on.

    Raises:
        Failure: the host has no OpenSSL, or what it is to admit is no certificate.
    """
    certificate = peers.own(layout, request["name"])
    if request["admits"]:
        _judge(request["admits"])
        if peers.read_admitted(layout) != request["admits"]:
            with rolling.Locked(layout, header["who"], "introduce", worker.new_transaction()):
                peers.admit(layout, request["admits"])
                _become(layout)
    return {"event": "result", "certificate": certificate}


def _become(layout: Layout) -> None:
    """What serves already admits whom it is told; what comes after it reads the file."""
    state = states.read_state(layout)
    if os.path.exists(layout.journal):
        return  # whoever ends that makes the front anew
    front = traffic.front_of(layout, state, read_documents(layout, state.releases()))
    if front is not None:
        traffic.become(layout, front)


def change(layout: Layout, header: Header, transaction: str, request: ChangePeers, emit: Emit) -> Transacted:
    """Let requests come to other machines, by a transaction of its own that touches no program.

    Raises:
        Failure: this host has no front for them.
    """
    with rolling.Locked(layout, header["who"], PEERS, transaction):
        rolling.end_open(layout, header["agent"], emit)
        before = states.read_state(layout)
        documents = read_documents(layout, before.releases())
        declared = traffic.standing(before, documents)
        if declared is None:
            what = "nothing stands before programs here, so nothing leads to other machines."
            raise Failure(REFUSED, what)
        for machine in request["enter"]:
            _judge(machine["certificate"])
        after = contract.changed(before.peers, request, declared)
        if after == before.peers:
            return weights.unchanged(before)
        now = before._replace(peers=after)
        return weights.change(layout, transaction, PEERS, header["who"], header["agent"], before, now)


def _judge(text: str) -> None:
    try:
        if peers.PEM.fullmatch(text):
            ssl.PEM_cert_to_DER_cert(text[: text.index(_END) + len(_END)])
            return
    except ValueError:
        pass
    raise Failure(REFUSED, "what was to be pinned is no certificate.")
