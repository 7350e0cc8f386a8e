"""Rules about services in containers: copies, what they share, and those that run to their end."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault, nearest
from provision.project.parts import Volume
from provision.project.rules.view import Sound
from provision.project.sizes import sized
from provision.project.template import Template

# The consent, where a container would need the engine of its machine.
HAND_OVER = (
    "To give it that engine, and with it all that root may, say the group of its socket: docker_group = 998, which is "
    "what `stat -c %g /run/docker.sock` says there."
)


def _scales(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        scale, base = service.scale, ("services", name, "scale")
        asked = service.resources.requests
        if scale is None:
            continue
        if scale.max < service.replicas:
            yield Fault((*base, "max"), f"{scale.max} is below replicas, which is {service.replicas}.")
        if service.on_demand:
            yield Fault(base, "a service on demand is started by hand.", "Remove scale, or on_demand.", at_key=True)
        if scale.cpu is None and scale.memory is None:
            yield Fault(base, "nothing says when to scale.", "Add cpu = 70, or memory = 80.", at_key=True)
        for key, example in (("cpu", "cpus = 2"), ("memory", 'memory = "4GB"')):
            declared = example.partition(" ")[0]
            given = (service.resources.size, getattr(service.resources, declared), getattr(asked, declared))
            missing = given == (None, None, None)
            if getattr(scale, key) is not None and missing:
                message = f"{key} is a share of resources.{declared}, which is not declared."
                yield Fault(base, message, f"Add resources = {{ {example} }}.", at_key=True)


def _copies(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.on_demand and not service.batch and view.copies.get(name, 1) > 1:
            message = "a service on demand is one copy, started by hand or by another service."
            yield Fault(("services", name, "replicas"), message, "Remove replicas, or on_demand.", at_key=True)


def _requests(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        resources = sized(service.resources)
        for key in ("memory", "cpus"):
            asked, most = getattr(resources.requests, key), getattr(resources, key)
            if asked and most and asked > most:
                path = ("services", name, "resources", "requests", key)
                limit = key if getattr(service.resources, key) else f'size, which is "{service.resources.size}"'
                hint = f"Ask for less, or raise services.{name}.resources.{limit}."
                yield Fault(path, "more would be kept free for it than it may have.", hint)


def _exposed(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.expose and service.port is None:
            yield Fault(("services", name, "expose"), "there is no port to reach.", "Add port = 8000.", at_key=True)
        if service.load_balancer and not (service.port and service.expose):
            message = "nobody outside is let in." if service.port else "there is no port to lead to."
            hint = 'Say who: expose = ["0.0.0.0/0"].' if service.port else "Add port = 8000."
            yield Fault(("services", name, "load_balancer"), message, hint, at_key=True)


def _volumes(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        several = service.replicas > 1 or service.scale is not None
        places: dict[Template, str] = {}
        for key, volume in service.volumes.items():
            path = ("services", name, "volumes", key)
            other = places.setdefault(volume.path, key)
            if other != key:
                yield Fault((*path, "path"), f'"{other}" is there too.', "Give each volume a path of its own.")
            if volume.of:
                yield from _of_another(view, name, key, volume)
                continue
            if several and not volume.shared:
                hint = "Set shared = true (the storage class must allow ReadWriteMany), or run one copy."
                yield Fault(path, "several copies cannot have one volume each.", hint, at_key=True)
            if volume.size is None and volume.claim is None:
                hint = 'Such as size = "10GiB"; or claim, the name of one that is there.'
                yield Fault((*path, "size"), "missing.", hint, at_key=True)


def _of_another(view: Sound, name: str, key: str, volume: Volume) -> Iterator[Fault]:
    path, owner = ("services", name, "volumes", key), str(volume.of)
    for said in ("size", "claim", "shared"):
        if said in volume.model_fields_set:
            yield Fault((*path, said), f'the volume is that of "{owner}", which says it.', "Remove it here.")
    if owner not in view.services:
        yield Fault((*path, "of"), "no such service.", nearest(owner, view.services, "services"))
        return
    owners = view.services[owner].volumes.get(key)
    if owners is None or owners.of:
        hint = f"Add it to [services.{owner}.volumes], or name the service that has it."
        yield Fault((*path, "of"), f'"{owner}" has no volume "{key}" of its own.', hint)
    elif not owners.shared:
        hint = f"Set shared = true in [services.{owner}.volumes.{key}]."
        yield Fault((*path, "of"), f'"{owner}" shares it with nobody.', hint)


def _probes(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        alive = service.probes.liveness
        if alive and alive.asks == "port" and service.port is None:
            path = ("services", name, "probes", "liveness", "asks")
            yield Fault(path, "there is no port to ask.", 'Add port = 8000, or write asks = "check".')
        if service.probes.model_fields_set and not service.every_check and service.port is None:
            hint = 'Add check = { command = ["…"] }, or a port.'
            yield Fault(("services", name, "probes"), "there is no check to ask.", hint, at_key=True)


def _secret_keys(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        used = {part.name for text in service.env.values() for part in text.secrets}
        known = [*service.every_secret, *sorted(used - set(service.every_secret))]
        for secret in service.secret_keys:
            if secret not in known:
                path = ("services", name, "secret_keys", secret)
                hint = nearest(secret, known, "secrets") or f'Add secrets = ["{secret}"].'
                yield Fault(path, "the service has no such secret.", hint, at_key=True)


def _batch(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if not service.batch:
            continue
        given = {
            "port": service.port is not None,
            "check": service.check is not None,
            "checks": bool(service.checks),
            "warm": service.warm is not None,
            "prove": service.prove,
            "replicas": service.replicas > 1,
            "scale": service.scale is not None,
        }
        for key in (key for key, is_given in given.items() if is_given):
            message = "a batch runs once, to its end; its exit status says whether it worked."
            yield Fault(("services", name, key), message, f"Remove {key}, or batch.", at_key=True)
        for place, target in view.targets.items():
            if target.can.on_host and not service.on_demand and name in view.chosen(target):
                message = f"a host keeps running what a deploy starts there (targets.{place})."
                hint = f"Add on_demand = true, or leave it out of targets.{place}.services."
                yield Fault(("services", name, "batch"), message, hint, at_key=True)


def _docker(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.docker_group is not None and not service.docker:
            hint = 'Add docker = "/run/docker.sock", or remove docker_group.'
            yield Fault(("services", name, "docker_group"), "there is no socket to give to it.", hint, at_key=True)
        if not service.starts_containers:
            continue
        where = ("services", name, "docker") if service.docker else ("services", name, "env", "RLM_ENVIRONMENT")
        if service.docker is None:
            hint = 'Add docker = "/run/docker.sock", or env = { RLM_ENVIRONMENT = "wasm" }; or "local".'
            yield Fault(where, '"docker" starts containers, and nothing says on which Docker Engine.', hint)
        for place, target in view.targets.items():
            if not target.can.on_host and service.docker_group is None and name in view.chosen(target):
                message = f"targets.{place} runs it in a confined container, which reaches no Docker daemon."
                hint = f'{HAND_OVER} Or leave it out of targets.{place}.services; or write "wasm" or "local".'
                yield Fault(where, message, hint, at_key=True)


def _scraped(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.scraped_by and not service.metrics:
            hint = 'Say where it tells them: metrics = { path = "/metrics" }.'
            yield Fault(("services", name, "scraped_by"), "there are no metrics to ask for.", hint, at_key=True)


RULES = (_scales, _copies, _requests, _exposed, _scraped, _volumes, _secret_keys, _probes, _batch, _docker)
