"""From what the file says to what a deploy uses: sizes, arguments, and the references that are known by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from provision.engines import BUILT, IN_IMAGE
from provision.project.models import Model, place
from provision.project.schema import Declaration, Once, Prepare, Project
from provision.project.service import Service
from provision.project.sizes import sized
from provision.project.template import Template

_Step = TypeVar("_Step", Prepare, Once)


def finish(declared: Declaration, copies: Mapping[str, int] | None = None) -> Project:
    """The project that `declared` means. Of the places, `${cpus}` is replaced where threads or cores are declared.

    Args:
        copies: how many run on a host of those services that run there more than once.
    """
    return Project(
        name=declared.project.name,
        image=declared.project.image,
        build=declared.project.build,
        user_id=declared.project.user_id,
        include=declared.project.include,
        services={key: _service(service, declared.models) for key, service in declared.services.items()},
        targets=declared.targets,
        checks=declared.checks,
        prepare=_step(declared.prepare) if declared.prepare else None,
        python=declared.python,
        once={name: _step(once) for name, once in declared.once.items()},
        hooks=declared.hooks,
        copies=dict(copies or {}),
        models={place(name, model): model for name, model in declared.models.items()},
    )


def _service(service: Service, models: Mapping[str, Model]) -> Service:
    resources = sized(service.resources)
    known = {}
    if service.threads != "auto":
        known["cpus"] = str(service.threads)
    elif resources.cpus is not None:
        known["cpus"] = str(max(1, int(resources.cpus)))  # a thread without a whole core slows the others down
    binary = {"build": BUILT, "image": IN_IMAGE}.get(service.engine or "", service.binary)
    env = {**_docker(service), **{variable: text.fill(known) for variable, text in service.env.items()}}
    used = dict.fromkeys(part.name for text in env.values() for part in text.secrets)
    secret_words = (word for name in service.secret_files for word in service.secret_args.get(name, ()))
    model_words = (word for words in service.model_words.values() for word in words)
    return service.model_copy(
        update={
            "command": tuple(
                text.fill(known) for text in (*service.command, *secret_words, *model_words, *service.args)
            ),
            "args": (),
            "draft_args": (),
            "mmproj_args": (),
            "binary": binary,
            **{key: place(each, models[each]) for key, each in service.models.items() if each in models},
            "secret_args": {},
            # What its environment is made of are its secrets too: one that changes has to restart it.
            "secrets": (*service.secrets, *(name for name in used if name not in service.secrets)),
            "env": {variable: text for variable, text in env.items() if not text.is_secret(variable)},
            "check": service.check.fill(known) if service.check else None,
            "checks": tuple(check.fill(known) for check in service.checks),
            "warm": service.warm.fill(known) if service.warm else None,
            "resources": resources,
        }
    )


def _step(step: _Step) -> _Step:
    used: dict[str, None] = dict.fromkeys(part.name for text in step.env.values() for part in text.secrets)
    return step.model_copy(
        update={
            "secrets": (*step.secrets, *(name for name in used if name not in step.secrets)),
            "env": {variable: text for variable, text in step.env.items() if not text.is_secret(variable)},
        }
    )


def _docker(service: Service) -> dict[str, Template]:
    """How clients of Docker find the engine (docker(1), "Environment variables"), where there is one to be found."""
    if service.docker is None or not service.starts_containers:
        return {}
    return {"DOCKER_HOST": Template((f"unix://{service.docker}",))}
