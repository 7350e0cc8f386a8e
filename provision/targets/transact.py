"""Plan what is to be done on one host, ship what that needs, and have it carried out."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from provision import errors, haproxy, plan
from provision.contract import on_purpose, once, roles
from provision.contract.answers import Transacted
from provision.contract.failure import Failure
from provision.contract.names import begun
from provision.contract.outcome import COMMITTED, MISMATCH, UNCHANGED
from provision.contract.slots import FIRST, services_in
from provision.contract.state import from_dict
from provision.targets import ahead, images
from provision.targets.contents import shown
from provision.targets.conversation import failure
from provision.targets.moves import moves
from provision.targets.outcomes import HostOutcome, ended
from provision.targets.secrets import of_step
from provision.targets.shares import with_shares
from provision.targets.ship import Shipment, ship_engines, ship_environment, ship_files, ship_haproxy
from provision.targets.ship_models import ship_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provision.contract.records import HistoryEntry, OnceRecord
    from provision.contract.release import ReleaseDocument
    from provision.contract.requests import Seal, TransactionRequest, Wanted
    from provision.release import Release
    from provision.targets.conversation import Interrupt
    from provision.targets.host import HostConversation


def plan_up(
    session: HostConversation,
    channel: str,
    *,
    claim: bool = False,
    show_files: bool = False,
    share: float | None = None,
    abort_rollout: bool = False,
    waits_for: Sequence[str] = (),
) -> plan.Plan:
    """Plan to bring the deployment's release to `channel`; what stands against it is in the plan.

    Args:
        claim: it is to be applied, so what stands against it is raised.
        share: of the clients, that the canary is given by hand.
        abort_rollout: a rollout that is under way ends; else that stands against it.
        waits_for: the hosts whose users see a release by steps before those of this one do.

    Raises:
        Refused: nothing was sent, and nothing changed.
    """
    deployment = session.deployment
    release = deployment.release
    other = "canary" if channel == "stable" else "stable"
    wanted: Wanted = {
        "nonce": _nonce(release),
        "documents": [other],
        "have": [release.id],
        "files_of": channel if show_files else None,
        "engines": release.document.get("engines", {}),
    }
    question = ahead.question(deployment, channel, _nonce(release))
    facts = session.facts({**wanted, "claim": claim, "ahead": question})
    if facts["ahead"]["measure"]:
        question["entries"] = ahead.entries(release, deployment.loaded.root)
        facts = session.facts({**wanted, "ahead": question})
    if not deployment.target.can.on_host and not all("@" in image for image in deployment.pulled.images):
        raise errors.DeployError("an image's tag was not looked up before it is deployed")  # a fault of ours
    planned = plan.plan(
        "up",
        channel,
        facts["project"],
        document=release.document,
        release=release.id,
        secrets=deployment.secrets,
        paths=release.paths if show_files else None,
        sizes={file.path: file.size for file in release.files},
    )
    planned = replace(planned, images=deployment.images, checks=checks_of(release.document))
    contents = tuple(shown(planned.contents, release.models))
    if lacking := facts["ahead"]["haproxy"]:
        pinned = haproxy.wheels()[facts["ahead"]["machine"]]
        contents = (*contents, plan.Content("haproxy", haproxy.version(), pinned["bytes"], 0, is_there=False))
        planned = replace(planned, haproxy=lacking)
    planned = replace(planned, contents=contents)
    planned = replace(planned, takes=tuple(facts["ahead"]["takes"]))
    planned = replace(planned, moves=moves(planned, facts["project"], release.document))
    against: Failure | None = None
    try:
        state = from_dict(facts["project"]["state"])
        planned = with_shares(deployment, planned, state, share, aborts=abort_rollout, waits_for=waits_for)
        planned = replace(planned, once=_once(session, facts["project"].get("once", [])))
    except Failure as unknown:
        against = unknown
    refused = ahead.refused(deployment, planned, facts["ahead"], facts["project"]["disk"])
    refused = refused or (against.message() if against else None)
    refused = refused or images.refused(deployment, planned, facts["ahead"]["machine"])
    if refused and "short_of" in refused.get("facts", {}):
        from provision.targets import fitting  # of what is refused alone

        refused["next"] = "; or ".join(filter(None, [fitting.advice(deployment, refused["facts"]), refused["next"]]))
    if refused and claim:
        raise failure(refused, session.spec.name)
    if refused:
        return replace(planned, refused=plan.Refusal(refused["what"], refused["why"], refused["next"]))
    return planned


def _once(session: HostConversation, records: Sequence[OnceRecord]) -> tuple[plan.Once, ...]:
    """What runs once for the release there; elsewhere it ran, or runs, on the first host."""
    deployment, release = session.deployment, session.deployment.release
    declared = release.document.get("once", {})
    runner = "" if session.spec == deployment.runner else deployment.runner.name
    decided = once.decide(declared, records, release.id, runner=runner, again=deployment.again, done=deployment.done)
    return tuple(plan.Once(name, tuple(declared[name]["command"]), do, why) for name, do, why in decided)


def fetch_models(session: HostConversation) -> int:
    """Bring the models of the deployment's release to a host, and nothing else; how many bytes it lacked.

    Raises:
        Refused: `up` would be refused; nothing was sent.
    """
    planned = plan_up(session, "stable", claim=True)
    release = session.deployment.release
    ship_models(Shipment(session, release, _nonce(release), planned))
    return sum(each.bytes - each.there for each in planned.contents if each.kind in ("model", plan.SNAPSHOT))


def plan_move(
    session: HostConversation, kind: str, *, release: str = "", channel: str = "stable", claim: bool = False
) -> plan.Plan:
    """Plan a promotion, a rollback or a removal: releases that are on the host already."""
    wanted = {"promote": ["canary"], "rollback": [release or "previous", "canary"]}.get(kind, ["stable", "canary"])
    facts = session.facts({"claim": claim, "documents": wanted})["project"]
    if release:
        release = _full(release, facts["releases"], session.spec.name)
    planned = plan.plan(kind, channel, facts, release=release)
    document = facts["documents"].get(planned.release)
    return replace(
        planned,
        checks=checks_of(document) if document else (),
        images=images_of(facts["history"], planned.release),
        rests_on=_rested_on(facts["history"], planned.release) if kind == "rollback" else None,
    )


def plan_on_purpose(session: HostConversation, kind: str, channel: str, services: Sequence[str]) -> plan.Plan:
    """Plan a restart, a start or a stop of what is there, which is to be applied; raises as `plan.plan_on_purpose`."""
    facts = session.facts({"claim": True, "documents": [channel]})["project"]
    try:
        return plan.plan_on_purpose(kind, channel, facts, services)
    except errors.DeployError as error:
        error.host = session.spec.name
        raise


def checks_of(document: ReleaseDocument) -> tuple[str, ...]:
    """What evidence has to hold for all of a release's own programs, by the names that hosts record."""
    services = [
        service
        for service in services_in(document, FIRST)
        if not service["on_demand"] and not roles.is_ours(document, service)  # the host's, whatever the release
    ]
    checks = (check["name"] for service in services for check in service["checks"])
    return (*(f"{service['name']} runs" for service in services), *checks)


def images_of(history: Sequence[HistoryEntry], release: str) -> dict[str, str]:
    """The images that were followed when `release` was brought there."""
    entries = (entry for entry in history if entry["kind"] == "up" and release in entry["channels"].values())
    return next((entry["images"] for entry in entries if "images" in entry), {})


def _rested_on(history: Sequence[HistoryEntry], release: str) -> tuple[str, ...] | None:
    for entry, before in zip(history[::-1], [*history[-2::-1], None], strict=True):
        was = before["channels"].get("stable") if before else None
        if entry["channels"].get("stable") == release != was:
            return tuple(entry.get("evidence", ()))
    return None


def apply(
    session: HostConversation, plan_: plan.Plan, interrupt: Interrupt | None = None, *, evidence: Sequence[str] = ()
) -> HostOutcome:
    """Ship what the plan needs, and carry it out.

    Args:
        evidence: digests of what allowed it, which the host writes down.

    Raises:
        PutBack, Degraded, Refused, Interrupted: how it ended, if not well.
    """
    if plan_.unchanged:
        return ended(session, UNCHANGED, plan_)
    session.deployment.on_event({"event": "planned", "host": session.spec.name, **plan_.as_facts()})
    for text in plan_.warnings:
        session.deployment.on_event({"event": "warning", "host": session.spec.name, "text": text})
    release = session.deployment.release if plan_.kind == "up" else None
    seal: Seal | None = None
    if release is not None:
        shipment = Shipment(session, release, _nonce(release), plan_, interrupt)
        ship_engines(shipment)
        ship_haproxy(shipment)
        ship_models(shipment)
        ship_environment(shipment)
        if plan_.ship:
            ship_files(shipment)
            seal = shipment.seal_request()
    answer = _transact(session, plan_, seal, interrupt, evidence)
    if answer["outcome"] == MISMATCH and release is not None:
        shipment.send_again(answer["entries"])
        answer = _transact(session, plan_, shipment.seal_request(), interrupt, evidence)
        if answer["outcome"] == MISMATCH:
            differing = shipment.differing(answer["entries"])
            named = f" ({', '.join(differing[:3])}{', …' * (len(differing) > 3)})" if differing else ""
            raise errors.DeployError(
                "what arrives on the host differs from what was sent, twice.",
                host=session.spec.name,
                why=f"Files change here while they are shipped{named}, or the host's disk is damaged.",
                next_step="deploy up again when nothing writes into the project",
            )
    plan_ = replace(plan_, generation=answer["generation"])
    return ended(session, answer["outcome"], plan_, answer)


def _transact(
    session: HostConversation,
    plan_: plan.Plan,
    seal: Seal | None,
    interrupt: Interrupt | None,
    evidence: Sequence[str],
) -> Transacted:
    deployment = session.deployment
    request: TransactionRequest = {
        "op": "transaction",
        "kind": plan_.kind,
        "channel": plan_.channel,
        "release": plan_.release,
        "generation": plan_.generation,
        # An interrupted transaction is ended first, which may change what has to be done.
        "steps": None if plan_.interrupted else [step.as_dict() for step in plan_.steps],
        "secrets": {name: {"value": deployment.secrets[name]} for name in plan_.secrets},
        "platform": str(deployment.target.platform),
        "supervisor": deployment.supervisor,
        # Whatever else may be done finds its images on the host.
        "logins": deployment.pulled.logins if plan_.kind == "up" else {},
        "gpus": deployment.wants_gpus,
        "keep": deployment.target.keep,
        "whole": bool(deployment.target.require or deployment.signing) and plan_.kind not in on_purpose.KINDS,
        "evidence": list(evidence),
        "images": dict(plan_.images),
        "programs": list(plan_.programs),
        "services": list(plan_.services),
    }
    if seal:
        request["seal"] = seal
    if plan_.share is not None:
        request["share"] = plan_.share
    if plan_.rollout is not None:
        request["rollout"] = plan_.rollout
    if plan_.aborts_rollout:
        request["abort_rollout"] = True
    if plan_.once:
        commands = deployment.release.document["once"]
        request["once"] = {
            "runner": "" if session.spec == deployment.runner else deployment.runner.name,
            "again": list(deployment.again),
            "done": list(deployment.done),
            "secrets": {
                each.name: of_step(deployment.loaded, commands[each.name]) for each in plan_.once if each.do == once.RUN
            },
        }
    held = interrupt.held(session.spec.name) if interrupt else contextlib.nullcontext()
    signing = deployment.signing if plan_.kind not in ("down", on_purpose.STOP) else None
    try:
        with held, session.phase("transaction"):
            answer = session.conversation.ask(request, Transacted, interrupt=interrupt)
    except (errors.PutBack, errors.Degraded):
        # What failed is evidence as well: it keeps an older success from counting.
        if signing:
            signing.sign_if_it_can(session, plan_.release, plan_.images)
        raise
    if signing and answer["outcome"] == COMMITTED:
        signing.sign_if_it_can(session, plan_.release, plan_.images)
    return answer


def _nonce(release: Release) -> str:
    """Named by content: an upload that was cut is resumed by whoever ships the same release next."""
    return release.id[:16]


def _full(release: str, known: list[str], host: str) -> str:
    """The one release whose id begins with `release`."""
    matches = begun(release, known)
    if len(matches) != 1:
        what = "is on no release" if not matches else "means more than one release"
        raise errors.UsageError(f"{release!r} {what} of this host.", host=host, next_step="deploy history")
    return matches[0]
