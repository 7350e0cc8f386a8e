"""Whole lanes: every service of a target as its host will be told of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from provision.contract.canonical import digest
from provision.contract.layout import KEEP, START, Layout
from provision.contract.peers import SPARE as SPARE_PLACES
from provision.contract.peers import tls_name
from provision.contract.public import served
from provision.contract.release import (
    AcmeDocument,
    BehindDocument,
    FrontedDocument,
    Idle,
    LaneDocument,
    Needs,
    PublicDocument,
    ServiceDocument,
    TokensDocument,
    TrafficDocument,
)
from provision.contract.slots import FIRST, KEEPER, TRAFFIC, home, numbered
from provision.manifests.attendance import idle
from provision.manifests.checks import known_env, project_checks, service_checks
from provision.manifests.entry import entry
from provision.manifests.launcher import launch
from provision.manifests.nginx import health_path
from provision.manifests.places import LaneOnTarget
from provision.project.fronted import EVERYWHERE, behind, machines, services_behind
from provision.project.order import start_order
from provision.project.parts import Resources
from provision.project.rules.proxies import listens_on, proxy_before
from provision.project.schema import Project
from provision.project.service import Lane, Service
from provision.project.target import Target
from provision.project.template import Template
from provision.project.traffic import SPARE, Traffic, counts_tokens, mode_of

_SLOTS_MARKED = tuple(numbered(copy) for copy in range(1, SPARE + 2))  # there are as many, however few copies
_OURS_STOP = 5.0  # seconds that what stands before the others takes, and the one who is at home with it
DRAIN = 60.0  # seconds, where a service says nothing: with traffic, nobody is cut off by the way

if TYPE_CHECKING:
    from provision.release.model_needs import Needed


def render_lanes(
    project: Project,
    target: Target,
    *,
    models: Mapping[str, str],
    contents: Mapping[str, str] | None = None,
    needed: Mapping[str, Needed] | None = None,
    overrides: Path | None = None,
) -> dict[Lane, LaneDocument]:
    """Every lane of `project` on `target`. Pure but for reading templates; the same input gives the same bytes.

    Args:
        models: what a service declares as its model -> where the release has it.
        contents: by service, a digest of everything in the release that a change of must restart it.
        needed: by service, what its model needs, where it declares nothing of that.
        overrides: a folder whose templates replace ours.

    Raises:
        UnencodableValue: a value cannot be held; names it.
        DeclarationError: a template is wrong; says where.
        UsageError: a reference means nothing here.
    """
    lanes: dict[Lane, LaneDocument] = {}
    names: list[str] = []
    for lane in Lane:
        places = LaneOnTarget(project, target, lane, models)
        names = [name for name in start_order(project.services) if places.holds(name)]
        services = [
            _service(each, name, overrides, lane, (needed or {}).get(name))
            for name in names
            for each in places.copies(name)
        ]
        lanes[lane] = LaneDocument(services=services, checks=project_checks(places) if names else [])
    every = [service for lane in lanes.values() for service in lane["services"]]
    for name in names:
        copies = [service for service in every if service["name"] == name]
        if places.fronted(name):
            # Each slot has a program of any lane; the first ones say all of what is the same, and where ports begin.
            first = [service for service in copies if service["slot"] in _SLOTS_MARKED]
            groups = [(first, copies)]
        else:
            first = [service for service in copies if service.get("slot", FIRST) == FIRST]  # one in each lane
            groups = [(each, each) for each in (first, *([service] for service in copies if service not in first))]
        for those, marked in groups:
            mark = _fingerprint(those, (contents or {}).get(name, ""))
            for document in marked:
                document["fingerprint"] = mark
    if front := traffic(project, target):
        lanes[Lane.STABLE]["services"] += [
            _front(project, target, front, overrides),
            _keeper(project, target, overrides),
        ]
    return lanes


def traffic(project: Project, target: Target) -> TrafficDocument | None:
    """What stands before the programs of `target`; None where nothing does."""
    if target.traffic is None:
        return None
    places = LaneOnTarget(project, target, Lane.STABLE, {})
    fronts = behind(project.targets, target)
    elsewhere = services_behind(project.targets, project.services, target)
    document = TrafficDocument(
        listen=target.traffic.listen,
        hold=target.traffic.hold,
        hold_requests=target.traffic.hold_requests,
        canary=target.traffic.canary or 0,
        services={
            name: _fronted(target, name, service, service.port)
            for name, service in project.services.items()
            if service.port is not None and (name in elsewhere or (places.holds(name) and places.fronted(name)))
        },
    )
    for name, of in elsewhere.items():
        document["services"][name]["behind"] = of
    if elsewhere:
        document["behind"] = {name: _machines(project, name, each) for name, each in fronts.items()}
    if target.front:
        own = next(name for name, each in project.targets.items() if each == target)
        document["admits"] = tls_name(project.name, own)
        if target.traffic.listen == Traffic.model_fields["listen"].default:
            document["listen"] = EVERYWHERE
    if target.traffic.acme and (names := _by_itself(project, document)):
        acme = target.traffic.acme
        document["acme"] = AcmeDocument(directory=acme.directory, email=acme.email or "", ca=acme.ca or "", names=names)
    if target.traffic.metrics is not None:
        document["metrics"] = target.traffic.metrics
    return document


def _machines(project: Project, name: str, target: Target) -> BehindDocument:
    repeat = target.front is not None and target.front.repeat == "any"
    return BehindDocument(name=tls_name(project.name, name), places=machines(target) + SPARE_PLACES, repeat=repeat)


def _by_itself(project: Project, document: TrafficDocument) -> dict[str, list[str]]:
    proxies = {name: project.services[name].proxy for name in document["services"]}
    return {name: list(proxy.names) for name, proxy in proxies.items() if proxy and proxy.tls}


def _fronted(target: Target, name: str, service: Service, port: int) -> FrontedDocument:
    document = FrontedDocument(port=port, mode=mode_of(service), drain=service.drain or DRAIN)
    if target.front and service.proxy:
        document["timeout"] = service.proxy.timeout
    if proxy := proxy_before(target, service):
        health, metrics = health_path(service), service.metrics.path if service.metrics else ""
        own = Layout(target.path).certificate(name) if proxy.tls else ""
        document["public"] = PublicDocument(
            port=listens_on(proxy),
            names=list(proxy.names),
            certificate=proxy.certificate or own,
            certificate_key=proxy.certificate_key or own,
            timeout=proxy.timeout,
            body=proxy.body,
            rate=proxy.rate or 0,
            connections=proxy.connections or 0,
            headers=dict(proxy.headers),
            health=health,
            metrics="" if metrics == health else metrics,
        )
    return document


def _front(project: Project, target: Target, front: TrafficDocument, overrides: Path | None) -> ServiceDocument:
    """The program itself. Which ports it serves stands in its configuration, so a port more does not start it anew."""
    document = _of_the_hosts(project, target, TRAFFIC, START, overrides)
    told = [front["metrics"]] if "metrics" in front else []
    return {**document, "ports": sorted({*served(front["services"]), *told})}


def _keeper(project: Project, target: Target, overrides: Path | None) -> ServiceDocument:
    """Who is at home with it. Its end changes nothing for anybody's request, so it is replaced in place."""
    return _of_the_hosts(project, target, KEEPER, KEEP, overrides)


def _of_the_hosts(project: Project, target: Target, name: str, script: str, overrides: Path | None) -> ServiceDocument:
    """A program of ours. How it is started is written on the host: no release knows which HAProxy or agent that has."""
    folder = Layout(target.path).traffic
    service = Service(command=(Template((f"{folder}/{script}",)),), stop_timeout=_OURS_STOP)
    declared = project.model_copy(update={"services": {**project.services, name: service}})
    document = _service(LaneOnTarget(declared, target, Lane.STABLE, {}), name, overrides, Lane.STABLE, None)
    document["fingerprint"] = _fingerprint([document], "")
    return document


def _binary(places: LaneOnTarget, name: str) -> str:
    """The program, where a host can look at it: in a container, an absolute one is the image's own."""
    binary = places.binary(places.project.services[name], f"services.{name}.engine")
    return "" if binary.startswith("/") and not places.target.can.on_host else binary


def _service(
    places: LaneOnTarget, name: str, overrides: Path | None, lane: Lane, needed: Needed | None
) -> ServiceDocument:
    project = places.project
    service: Service = project.services[name]
    port = places.port(name)
    document = ServiceDocument(
        name=name,
        program=places.program(name),
        after=[other for other in service.after if places.holds(other)],
        binary=_binary(places, name),
        model=places.models[service.model] if service.model else "",
        fingerprint="",  # of all lanes together, so it comes when they are there
        on_demand=service.on_demand,
        prove=service.prove,
        on_switch=service.on_switch,
        switch=service.switch,
        user=service.user or "",
        starts=list(service.starts),
        ports=[] if port is None else [port],
        secrets=list(service.every_secret),
        secret_files=list(service.secret_files),
        checks=service_checks(places, name, service),
        drain=service.drain,
        idle=_idle(places, name),
        stop_timeout=service.drain + service.stop_timeout,
        needs=_needs(service.resources, needed),
        launch=launch(places, name, overrides),
        manifest=places.platform.manifest(places, name, overrides),
    )
    if service.draft:
        document["draft"] = places.models[service.draft]
    if service.mmproj:
        document["mmproj"] = places.models[service.mmproj]
    if project.python and places.target.can.on_host and not service.is_native:
        words = [places.value(word, f"services.{name}.command", name).known for word in service.command]
        if begins := entry(words):
            document["entry"] = {**begins, "env": known_env(places, name)}
    if places.slot != home(lane) or places.fronted(name):
        document["slot"] = places.slot
    # Who sends a secret has to see that its processes answer, which a keeper in a container does not.
    tokens = _tokens(service) if places.fronted(name) else None
    if tokens is not None and (places.target.can.on_host or not tokens["token"]):
        document["tokens"] = tokens
    return document


def _tokens(service: Service) -> TokensDocument | None:
    metrics = service.metrics
    if metrics is None or not counts_tokens(service):
        return None
    known = metrics.token if metrics.token and metrics.token in service.every_secret else ""
    return TokensDocument(path=metrics.path, token=known)


def _idle(places: LaneOnTarget, name: str) -> Idle | None:
    asked = idle(places, name)
    if asked is None or places.target.can.waits:
        return None
    return Idle(
        seconds=asked.seconds,
        port=asked.port,
        path=asked.path.text,
        gauges=list(asked.gauges),
        token=asked.token,
    )


def _needs(resources: Resources, needed: Needed | None) -> Needs:
    needs = Needs(
        memory_bytes=resources.memory or (needed.memory if needed else 0),
        vram_bytes=resources.vram or (needed.vram if needed else 0),
        cpus=resources.cpus or 0.0,
    )
    if resources.gpus:
        needs["gpus"] = resources.gpus
    if resources.gpu_fraction:
        needs["gpu_fraction"] = resources.gpu_fraction
    return needs


def _fingerprint(in_lanes: list[ServiceDocument], contents: str) -> str:
    """What must not change while a process runs on: how it is started, with what, and what it reads.

    The launchers hold the command, the environment and the names of secrets; the manifests hold user, limits and
    signals. All lanes count, so that one mark is good for each of them. Checks do not: a process need not restart
    to be asked something else.
    """
    started = [[lane["launch"], lane["manifest"], lane["user"], lane["ports"], lane["needs"]] for lane in in_lanes]
    return digest([started, contents])
