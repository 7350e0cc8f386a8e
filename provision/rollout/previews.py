"""Previews: a project beside itself on the hosts of a target, with nothing in common but models and engines.

A preview is deployed as any project is, by transactions of its own. Until when it is wanted is written down on each
host; nothing there waits for that moment. It is the next `up` of anybody, or `down --expired`, that ends what is over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from provision import errors
from provision.contract.answers import Done
from provision.contract.slots import named, numbered
from provision.hosts import HostSpec, run_on_hosts
from provision.project import preview as project_preview
from provision.project.ports import port_of
from provision.rollout import everywhere, moves
from provision.rollout.hosts import chosen, values
from provision.targets import Deployment, HostConversation, HostOutcome, Interrupt, apply, open_session, plan_up

if TYPE_CHECKING:
    from provision.contract.facts import PreviewFacts, ProjectFacts
    from provision.contract.requests import ForgetPreview, Preview

_OF_BOTH = re.compile(r"\bdeploy (?:up|down|status|history|logs|exec|smoke|tunnel)\b(?! --preview)")


def up(
    deployment: Deployment,
    name: str,
    seconds: float | None = None,
    interrupt: Interrupt | None = None,
    hosts: Sequence[str] | None = None,
    *,
    again: Sequence[str] = (),
    done: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Bring the project as it is now to its preview `name`, there or not yet; where it is, one event a host.

    Args:
        deployment: of the project itself, which is not touched.
        seconds: how long it is wanted from now on; None: as was said before, else until somebody removes it.
        again, done: as `rollout.up` takes them; what runs once does so for each release of a preview, too.

    Raises:
        UsageError: it can't be called so.
        Refused, PutBack, …: as `rollout.up`.
    """
    project, target = deployment.loaded.project, deployment.target
    project_preview.judge_name(name)
    facts = _look(deployment, hosts)
    first = _first_port(deployment, name, facts)
    for text in project_preview.strays(project, target):
        deployment.on_event({"event": "warning", "host": "", "text": text})
    preview = instead(deployment, name, first)
    preview.say_once(again, done)
    preview.build_ahead("stable")
    document = preview.release.document
    request: Preview = {
        "op": "preview",
        "seconds": seconds,
        "port": first,
        "ports": project_preview.ports_of(project, target),
        "models": sorted({model["sha256"] for model in document["models"].values()}),
        "engines": sorted(document.get("engines", {})),
    }

    def act(session: HostConversation, _: object) -> HostOutcome:
        session.conversation.ask(request, Done)
        return apply(session, plan_up(session, "stable", claim=True), interrupt)

    if preview.runs_once:
        with _advice_of(name):
            moves.demand_done(preview, hosts)
    with _advice_of(name):
        everywhere.on_all(preview, act, interrupt, hosts, alone=preview.runner if preview.runs_once else None)
    there = _look(deployment, hosts)
    return [_event(preview, host, _noted(there[host], name)) for host in there]


def down(
    deployment: Deployment,
    name: str,
    interrupt: Interrupt | None = None,
    hosts: Sequence[str] | None = None,
) -> list[HostOutcome]:
    """End the preview `name` wherever it is, and remove its folder with all that is in it; nothing where there is none.

    Raises as `rollout.down`; a folder that can't be trusted is not removed.
    """
    project_preview.judge_name(name)
    found = [host for host, facts in _look(deployment, hosts).items() if _noted(facts, name)]
    if not found:
        return []
    with _advice_of(name):
        outcomes = moves.down(instead(deployment, name, None), interrupt=interrupt, hosts=found)
    request: ForgetPreview = {"op": "forget-preview", "name": name}

    def forget(spec: HostSpec) -> None:
        with open_session(deployment, spec) as session:
            session.conversation.ask(request, Done)

    values(run_on_hosts(chosen(deployment, found), forget))
    return outcomes


def demand_none(deployment: Deployment, name: str, hosts: Sequence[str] | None = None) -> None:
    """Refuse where there is a preview `name` that somebody wants.

    Raises:
        Refused: there is one.
    """
    for host, facts in _look(deployment, hosts).items():
        noted = _noted(facts, name)
        if noted and not noted["expired"]:
            raise errors.Refused(
                f"there is a preview {name} already.",
                host=host,
                why=f"It is {noted['who'] or 'somebody'}'s, and would be replaced, and removed in the end.",
                next_step=f"where nobody wants it: deploy down --preview {name}",
            )


def down_expired(
    deployment: Deployment, interrupt: Interrupt | None = None, hosts: Sequence[str] | None = None
) -> list[str]:
    """End every preview that is wanted no more; their names."""
    facts = _look(deployment, hosts)
    over = {each["name"] for each in _all(facts) if each["expired"]}
    for name in sorted(over):
        having = [host for host in facts if (noted := _noted(facts[host], name)) and noted["expired"]]
        down(deployment, name, interrupt, having)
    return sorted(over)


def named_preview(deployment: Deployment, name: str, hosts: Sequence[str] | None = None) -> Deployment:
    """The preview `name` as it was deployed, to be looked at.

    Raises:
        Refused: there is none.
    """
    ports = {noted["port"] for facts in _look(deployment, hosts).values() if (noted := _noted(facts, name))}
    if not any(ports):
        raise errors.Refused(
            f"there is no preview {name} on target {deployment.target_name}.", next_step="deploy status"
        )
    return instead(deployment, name, max(ports))


def instead(deployment: Deployment, name: str, first: int | None) -> Deployment:
    """The preview `name` of what `deployment` deploys."""
    project_preview.judge_name(name)
    return deployment.of(project_preview.previewed(deployment.loaded, deployment.target_name, name, first))


@contextmanager
def _advice_of(name: str) -> Iterator[None]:
    """What a host, or a rule, says to do next is about the project: here the preview is meant."""
    try:
        yield
    except errors.DeployError as error:
        error.next_step = _OF_BOTH.sub(rf"\g<0> --preview {name}", error.next_step)
        raise


def _look(deployment: Deployment, hosts: Sequence[str] | None) -> dict[str, ProjectFacts]:
    def look(spec: HostSpec) -> tuple[str, ProjectFacts]:
        with open_session(deployment, spec) as session:
            return spec.name, session.facts({})["project"]

    return dict(values(run_on_hosts(chosen(deployment, hosts), look)))


def _all(facts: Mapping[str, ProjectFacts]) -> list[PreviewFacts]:
    return [each for project in facts.values() for each in project.get("previews", ())]


def _noted(facts: ProjectFacts, name: str) -> PreviewFacts | None:
    return next((each for each in facts.get("previews", ()) if each["name"] == name), None)


def _first_port(deployment: Deployment, name: str, facts: Mapping[str, ProjectFacts]) -> int:
    """Of ports that are the same on all hosts: a release is."""
    project, target = deployment.loaded.project, deployment.target
    previews = _all(facts)
    listening = {int(port) for each in facts.values() for port in each["view"].get("listening", {})}
    own = {port for each in previews if each["name"] == name for port in _ports(each)}
    others = {port for each in previews if each["name"] != name for port in _ports(each)}
    taken = (listening - own) | others | project_preview.own_ports(project, target)
    earlier = max((each["port"] for each in previews if each["name"] == name), default=0) or None
    return project_preview.first_port(name, project_preview.ports_of(project, target), taken, earlier)


def _ports(each: PreviewFacts) -> range:
    return range(each["port"], each["port"] + each["ports"])


def _event(preview: Deployment, host: str, noted: PreviewFacts | None) -> dict[str, Any]:
    from provision.project.service import Lane

    project = preview.loaded.project
    ports = {
        named(service, numbered(copy)): port
        for service, declared in project.services_on(preview.target).items()
        for copy in range(1, project.copies_of(service, Lane.STABLE) + 1)
        if (port := port_of(declared, Lane.STABLE, copy)) is not None
    }
    until = noted["until"] if noted else None
    return {
        "event": "preview",
        "host": host,
        "name": noted["name"] if noted else "",
        "reach": f"deploy tunnel --target {preview.target_name} --preview {noted['name']}" if noted else "",
        "until": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(until)) if until is not None else "",
        "ports": ports,
    }
