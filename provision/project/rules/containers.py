"""Rules about services in containers: copies, what they share, and those that run to their end."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault
from provision.project.rules.view import Sound
from provision.project.template import Template


def _scales(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        scale, base = service.scale, ("services", name, "scale")
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
            missing = service.resources.size is None and getattr(service.resources, declared) is None
            if getattr(scale, key) is not None and missing:
                message = f"{key} is a share of resources.{declared}, which is not declared."
                yield Fault(base, message, f"Add resources = {{ {example} }}.", at_key=True)


def _exposed(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.expose and service.port is None:
            yield Fault(("services", name, "expose"), "there is no port to reach.", "Add port = 8000.", at_key=True)


def _volumes(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        several = service.replicas > 1 or service.scale is not None
        places: dict[Template, str] = {}
        for key, volume in service.volumes.items():
            path = ("services", name, "volumes", key)
            other = places.setdefault(volume.path, key)
            if other != key:
                yield Fault((*path, "path"), f'"{other}" is there too.', "Give each volume a path of its own.")
            if several and not volume.shared:
                hint = "Set shared = true (the storage class must allow ReadWriteMany), or run one copy."
                yield Fault(path, "several copies cannot have one volume each.", hint, at_key=True)


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
        if not service.starts_containers:
            continue
        where = ("services", name, "docker") if service.docker else ("services", name, "env", "RLM_ENVIRONMENT")
        if service.docker is None:
            hint = 'Add docker = "/run/docker.sock", or env = { RLM_ENVIRONMENT = "wasm" }; or "local".'
            yield Fault(where, '"docker" starts containers, and nothing says on which Docker Engine.', hint)
        for place, target in view.targets.items():
            if not target.can.on_host and name in view.chosen(target):
                message = f"targets.{place} runs it in a confined container, which reaches no Docker daemon."
                hint = f'Leave it out of targets.{place}.services; or for rlm-runtime write "wasm" or "local".'
                yield Fault(where, message, hint, at_key=True)


def _scraped(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.scraped_by and not service.metrics:
            hint = 'Say where it tells them: metrics = { path = "/metrics" }.'
            yield Fault(("services", name, "scraped_by"), "there are no metrics to ask for.", hint, at_key=True)


RULES = (_scales, _exposed, _scraped, _volumes, _batch, _docker)
