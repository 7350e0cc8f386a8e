"""Bringing models to a host: shipped from here, or fetched by the host from where they are."""

from __future__ import annotations

import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from provision.contract.answers import Folder, Present
from provision.contract.layout import SHIPPED
from provision.errors import DeployError, Interrupted
from provision.hosts import Forbidden
from provision.models.access import Access
from provision.targets.ship import Shipment, progress, room_given_back

if TYPE_CHECKING:
    from provision.contract.bringing import AdoptModel, Came, FetchModel
    from provision.release import ModelFile
    from provision.targets.fleet import Member


def ship_models(shipment: Shipment) -> None:
    """Bring the models that the host lacks; each is verified there before it gets its name."""
    by_content = {model.sha256: model for model in shipment.release.models}
    for model in by_content.values():
        if model.sha256 not in shipment.plan.models:
            continue
        if model.url and not model.relayed:
            _fetch(shipment, model)
        else:
            _send(shipment, model)


def _send(shipment: Shipment, model: ModelFile) -> None:
    session = shipment.session
    with session.phase("model"), session.deployment.fleet.joined(shipment, model) as member:
        if member and (_handed_out(shipment, model, member) or _borrowed(shipment, model, member)):
            return
        source = model.source or _here(shipment, model)
        folder = session.conversation.ask({"op": "incoming", "sha256": model.sha256}, Folder)["folder"]
        since = time.monotonic()
        with room_given_back(session, folder):
            sent = session.connection.rsync(
                source.parent,
                [source.name],
                folder,
                in_place=True,
                follow_links=True,
                chmod="Fu=rw,Fgo=r",
                limit=model.limit,
                on_progress=progress(shipment, "model", source.name),
            )
        came: Came = {"bytes": sent.bytes_on_wire, "seconds": time.monotonic() - since}
        adopt: AdoptModel = {"op": "adopt-model", "sha256": model.sha256, "name": source.name, "came": came}
        session.conversation.ask(adopt, Present)


def _handed_out(shipment: Shipment, model: ModelFile, member: Member) -> bool:
    """Let the host have a share of it from here, and the rest from others that do so, too; whether it has it all."""
    if not member.is_first:
        return False
    session = shipment.session
    handout = member.handout(model.source or _here(shipment, model), model)
    try:
        with handout.reached(session.connection) as access, member.sent():
            _ask(shipment, model, access, member, SHIPPED)
    except Interrupted:
        raise
    except Forbidden:  # its sshd_config says so
        return False
    except DeployError as error:
        if not session.connection.is_open:
            raise
        text = f"{error.what} It comes from other hosts, or by rsync."
        session.deployment.on_event({"event": "warning", "host": session.spec.name, "text": text})
        return False
    return True


def _borrowed(shipment: Shipment, model: ModelFile, member: Member) -> bool:
    """Let the host have it from another, which it is sent to; whether it has."""
    tried: set[str] = set()
    while bringers := member.others_bring(tried):
        tried |= bringers
        try:
            _ask(shipment, model, Access(""), member)
        except Interrupted:
            raise
        except DeployError as error:
            facts = error.details.get("facts")
            reached = not isinstance(facts, dict) or facts.get("reached", True)
            text = error.what if reached else f"{', '.join(sorted(bringers))} can't be reached from there."
            event = {"event": "warning", "host": shipment.session.spec.name, "text": f"{text} It is sent from here."}
            shipment.session.deployment.on_event(event)
            if not reached:
                break
        else:
            return True
    return False


def _here(shipment: Shipment, model: ModelFile) -> Path:
    """One that this machine fetches, once for all hosts."""
    from provision.models import relay

    deployment, host = shipment.session.deployment, shipment.session.spec.name

    def tell(done: int, total: int) -> None:
        shipment.stop_if_asked()
        name = PurePosixPath(model.relative).name
        event = {"event": "progress", "host": host, "phase": "download", "file": name, "done": done, "total": total}
        deployment.on_event({**event, "unit": "bytes"})

    return relay.here(model, _token(shipment, model), deployment.loaded.environment.variables, tell)


def _fetch(shipment: Shipment, model: ModelFile) -> None:
    """Let the host fetch one from where it is; where its address runs out meanwhile, with another."""
    session = shipment.session
    with session.phase("fetch"), session.deployment.fleet.joined(shipment, model) as member:
        while True:
            access = _access(shipment, model)
            try:
                return _ask(shipment, model, access, member, model.fetched_from)
            except DeployError:
                if not access.has_ended:
                    raise


def _ask(
    shipment: Shipment, model: ModelFile, access: Access, member: Member | None, source: str = "other hosts"
) -> None:
    request: FetchModel = {
        "op": "fetch-model",
        "sha256": model.sha256,
        "name": PurePosixPath(model.relative).name,
        "bytes": model.bytes,
        "url": access.url,
        "authorization": access.authorization,
        "limit": model.limit,
        "source": source,
    }
    if member:
        request["lenders"] = member.lenders
    shipment.session.conversation.ask(request, Present, interrupt=shipment.interrupt)


def _access(shipment: Shipment, model: ModelFile) -> Access:
    from provision.models.access import for_hosts

    return for_hosts(model.url, _token(shipment, model), shipment.session.deployment.loaded.environment.variables)


def _token(shipment: Shipment, model: ModelFile) -> str:
    return str(shipment.session.deployment.loaded.secrets[model.token]) if model.token else ""
