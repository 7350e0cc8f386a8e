"""One service on Kubernetes: facts for its templates."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

from provision.contract.canonical import digest
from provision.manifests import containers
from provision.manifests.containers import Containers, Engine
from provision.manifests.fetched import Fetch
from provision.manifests.kubernetes.routed import Doors, Route, doors, route
from provision.manifests.probes import Probe, probe
from provision.manifests.value import Value, Variable
from provision.project.networks import Endpoint
from provision.project.parts import Scale, Volume
from provision.project.schema import USER_ID
from provision.project.service import Lane, Service

# How long a pod goes on answering after it was told to go: until every node has stopped sending to it.
LEAST_DRAIN = 5
_GRACE_AFTER_DRAIN = 5  # the hard signal must not come while the polite one is being answered
_TRIES = 4
_FIRST_UNPRIVILEGED_PORT = 1024


@dataclass(frozen=True)
class Peer:
    """Another service of the same lane."""

    service: str
    port: int


@dataclass(frozen=True)
class Keyed:
    """A secret of the service, and where a cluster has its value."""

    name: str  # of the variable, or of the file
    secret: str  # the Secret
    key: str  # in it


@dataclass(frozen=True)
class Claim:
    """A volume of the service."""

    name: str  # of the claim
    volume: str  # in the pod; never the name of one that the template itself has
    path: Value
    size: str
    shared: bool
    is_there: bool  # somebody else made it
    models: tuple[str, ...] = ()  # that are fetched into it, and nothing else is


@dataclass(frozen=True)
class Workload:
    """What a template of a service may use, as `workload`."""

    project: str
    service: str
    lane: str  # stable or canary
    name: str  # of its objects; a canary's ends with -canary
    image: str
    command: tuple[Value, ...]
    env: tuple[Variable, ...]
    composed: tuple[Variable, ...]  # variables made of secrets
    config: str  # the ConfigMap of `env`; changes with its content
    secrets: tuple[str, ...]  # names alone
    secret_files: tuple[str, ...]  # likewise; these are files
    keyed: tuple[Keyed, ...]  # both, the variables first
    port: int | None
    low_port: bool
    probe: Probe | None
    checks_beyond: bool  # a check that the cluster cannot ask: a body, a header, a completion
    drain_seconds: int  # 0 for a service without a port
    stop_seconds: int  # drain and stop_timeout together
    recreate: bool  # the old copy has to go before the new one comes
    on_demand: bool
    batch: bool  # runs to its end: a Job
    job: str  # the name of that; changes with what it runs
    replicas: int
    scale: Scale | None
    memory: str | None
    cpus: str | None
    memory_request: str | None  # what is kept free for it
    cpus_request: str | None
    gpus: int
    claims: tuple[Claim, ...]
    after: tuple[str, ...]  # services of the lane that have to answer before it can run
    callers: tuple[str, ...]  # services of the lane that talk to it
    peers: tuple[Peer, ...]  # those that it talks to
    expose: tuple[str, ...]  # networks
    scraped_by: tuple[str, ...]  # namespaces
    doors: Doors | None  # the pods of the Gateway that leads here
    route: Route | None  # what that is told; of the stable channel alone
    outbound: tuple[Endpoint, ...]
    load_balancer: int | None  # the port of one that leads to it; of the stable channel alone
    engine: Engine | None  # the Docker Engine that it is given: `socket`, `group`
    tries: int  # of a batch
    user_id: int
    fetch: Fetch | None  # what fetches its model before it starts
    fetch_claim: Claim | None  # the volume for that
    fetch_token: Keyed | None


def workload(places: Containers, name: str) -> Workload:
    """The facts of service `name` in a lane.

    Raises:
        UnencodableValue: it has no image by digest, or a value cannot be held, or means nothing in a container.
    """
    service = places.project.services[name]
    stable = places.lane is Lane.STABLE
    env = containers.env(places, name)
    containers.refuse_docker(places, name, "a restricted pod")
    drain = max(LEAST_DRAIN, math.ceil(service.drain)) if service.port else 0
    resources, asks = service.resources, service.resources.requests
    gpus = resources.devices
    asked, beyond = (None, False) if service.batch else probe(places, name)
    fetch = containers.fetched(places, name)
    facts = Workload(
        project=places.project.name,
        service=name,
        lane=places.lane,
        name=places.name(name),
        image=containers.rendered_image(places.project, name),
        command=containers.command(places, name),
        env=env,
        composed=containers.composed(places, name),
        config=f"{places.name(name)}-{_mark(env)}",
        secrets=service.secrets,
        secret_files=service.secret_files,
        keyed=tuple(_keyed(service, name, secret) for secret in service.every_secret),
        port=service.port,
        low_port=service.port is not None and service.port < _FIRST_UNPRIVILEGED_PORT,
        probe=asked,
        checks_beyond=beyond,
        drain_seconds=drain,
        stop_seconds=drain
        + math.ceil(service.stop_timeout + (0 if service.port else service.drain))
        + _GRACE_AFTER_DRAIN,
        recreate=_recreates(service, gpus) or (fetch is not None and not _several(service)),
        on_demand=service.on_demand,
        batch=service.batch,
        job="",
        replicas=0 if service.on_demand else service.replicas if stable else 1,
        scale=service.scale if stable else None,
        memory=quantity(resources.memory) if resources.memory else None,
        cpus=_cores(resources.cpus) if resources.cpus else None,
        memory_request=quantity(most) if (most := asks.memory or resources.memory) else None,
        cpus_request=_cores(most_cpus) if (most_cpus := asks.cpus or resources.cpus) else None,
        gpus=gpus,
        claims=tuple(_claim(places, name, key, volume) for key, volume in sorted(service.volumes.items())),
        after=tuple(other for other in service.after if places.holds(other)),
        callers=places.callers[name] if service.port else (),
        peers=tuple(
            Peer(other, port) for other in places.called[name] if (port := places.project.services[other].port)
        ),
        expose=service.expose,
        scraped_by=service.scraped_by,
        doors=doors(places, service),
        route=route(places, name) if stable else None,
        outbound=(*service.outbound, *(fetch.outbound if fetch else ())),
        load_balancer=service.load_balancer if stable else None,
        engine=containers.engine(service),
        tries=service.restart.limit or _TRIES,
        user_id=places.project.user_id,
        fetch=fetch,
        fetch_claim=_fetch_claim(places, name, fetch) if fetch else None,
        fetch_token=_keyed(service, name, fetch.token) if fetch and fetch.token else None,
    )
    return replace(facts, job=f"{facts.name}-{_run(facts)}") if service.batch else facts


def quantity(size: int) -> str:
    """Bytes as Kubernetes writes them, in the largest unit that holds them whole."""
    units = (("Ti", 2**40), ("T", 10**12), ("Gi", 2**30), ("G", 10**9), ("Mi", 2**20), ("M", 10**6), ("Ki", 2**10))
    return next((f"{size // unit}{name}" for name, unit in units if size % unit == 0), str(size))


def _cores(cpus: float) -> str:
    """The API takes thousandths of a core at the finest."""
    thousandths = max(1, math.ceil(cpus * 1000))
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def _mark(env: tuple[Variable, ...]) -> str:
    """Changes with the content, so that pods restart when a value changes and a rollback finds the old ones."""
    content = "\0".join(f"{variable.name}={variable.value.text}" for variable in env)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:8]


def _run(facts: Workload) -> str:
    """Changes with what a Job runs: the API server does not let a Job's pods change."""
    command = [word.text for word in facts.command]
    asked: list[object] = [facts.memory, facts.cpus, facts.gpus, facts.stop_seconds]
    claims = [[claim.name, claim.path.text] for claim in facts.claims]
    # What moves from one kind of secret to the other changes the environment, and so its ConfigMap.
    secrets = [*facts.secrets, *facts.secret_files]
    made = [[each.name, *map(repr, each.value.parts)] for each in facts.composed]
    # What stands beside that only where it was declared, so that nothing else runs again.
    more: list[object] = [made] if made else []
    if (facts.memory_request, facts.cpus_request) != (facts.memory, facts.cpus):
        more.append([facts.memory_request, facts.cpus_request])
    elsewhere = [[each.name, each.secret, each.key] for each in facts.keyed if each != _own(facts.service, each.name)]
    more += [elsewhere] if elsewhere else []
    if facts.engine:
        more.append([facts.engine.socket, facts.engine.group])
    if facts.user_id != USER_ID:
        more.append(facts.user_id)
    if facts.fetch:
        more.append([facts.fetch.image, *(word.text for word in facts.fetch.command)])
    return digest([facts.image, command, facts.config, secrets, asked, claims, *more])[:8]


def _own(service: str, secret: str) -> Keyed:
    return Keyed(secret, f"{service}-secrets", secret)


def _keyed(service: Service, name: str, secret: str) -> Keyed:
    there, _, key = service.secret_keys.get(secret, "").partition("/")
    return Keyed(secret, there, key) if there else _own(name, secret)


def _recreates(service: Service, gpus: int) -> bool:
    """Whether two copies cannot be there at once: a volume for one, a GPU that is taken, or a declared wish."""
    alone = any(not (volume.shared or volume.of) for volume in service.volumes.values())
    return alone or service.switch == "in-place" or (gpus > 0 and service.switch == "auto")


def _several(service: Service) -> bool:
    return service.replicas > 1 or service.scale is not None


def _fetch_claim(places: Containers, name: str, fetch: Fetch) -> Claim:
    """Named by what is in it: a claim keeps its size, and the model before is there until the new one is proven."""
    folder = Value(f"services.{name}.model", (fetch.folder,))
    size = quantity(-(-fetch.bytes // 2**20) * 2**20)
    shared = _several(places.project.services[name])
    named = f"{places.name(name)}-model-{fetch.mark}"
    return Claim(named, "model", folder, size, shared, is_there=False, models=fetch.models)


def _claim(places: Containers, name: str, key: str, volume: Volume) -> Claim:
    subject = f"services.{name}.volumes.{key}.path"
    if volume.of:
        owners = places.project.services[volume.of].volumes[key]
        there = owners.claim or f"{places.name(volume.of)}-{key}"
        return Claim(there, f"data-{key}", places.value(volume.path, subject, name), "", shared=True, is_there=True)
    return Claim(
        volume.claim or f"{places.name(name)}-{key}",
        f"data-{key}",
        places.value(volume.path, subject, name),
        quantity(volume.size) if volume.size else "",
        volume.shared,
        volume.claim is not None,
    )
