"""Rules about `${…}`: what one names must be there."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault, Path, nearest
from provision.project.rules.view import Sound, check_texts, service_texts
from provision.project.service import Service
from provision.project.template import Ref, Template


def _of_services(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        for path, text in service_texts(name, service):
            for ref in text.refs:
                yield from _own(path, ref, service)
                yield from _of_snapshot(path, ref, service, view)
                yield from _secret_file(path, ref, service)
                yield from _other(path, ref, view)


def _of_project_checks(view: Sound) -> Iterator[Fault]:
    for name, check in view.checks.items():
        for path, text in check_texts(("checks", name), check):
            for ref in text.refs:
                if ref.name in (
                    "port",
                    "listen",
                    "model",
                    "draft",
                    "mmproj",
                    "hub",
                    "repository",
                    "binary",
                    "cpus",
                ) or ref.name.startswith("secret_files."):
                    hint = "Name the service: ${services.NAME.port}." if ref.name == "port" else ""
                    yield Fault(path, f"${{{ref.name}}} belongs to a service, and this check to the project.", hint)
                yield from _other(path, ref, view)


def _of_targets(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        texts: list[tuple[Path, Template]] = [
            (("targets", name, "hosts", index), host) for index, host in enumerate(target.hosts)
        ]
        if target.identity:
            texts.append((("targets", name, "identity"), target.identity))
        for path, text in texts:
            for ref in text.refs:
                yield Fault(path, f"${{{ref.name}}} is not known here.", "Here ${VARIABLE} alone can stand.")


def _own(path: Path, ref: Ref, service: Service) -> Iterator[Fault]:
    given = {
        "port": service.port,
        "model": service.model,
        "draft": service.draft,
        "mmproj": service.mmproj,
        "binary": service.binary or service.engine,
    }
    example = {
        "port": "8000",
        "model": '"models/NAME.gguf"',
        "draft": '"models/SMALL.gguf"',
        "mmproj": '"models/mmproj-NAME.gguf"',
        "binary": '"build/bin/llama-server"',
    }
    if ref.name in given and given[ref.name] is None:
        hint = f"Add {ref.name} = {example[ref.name]}."
        yield Fault(path, f"${{{ref.name}}} is used, and the service has no {ref.name}.", hint)


def _of_snapshot(path: Path, ref: Ref, service: Service, view: Sound) -> Iterator[Fault]:
    if ref.name in ("hub", "repository") and service.model not in view.models:
        hint = 'Declare one: [models.NAME] with source = "hf://ORG/REPOSITORY", and model = "NAME" here.'
        yield Fault(path, f"${{{ref.name}}} is of a snapshot, and the service's model is none of [models].", hint)


def _secret_file(path: Path, ref: Ref, service: Service) -> Iterator[Fault]:
    secret = ref.name.removeprefix("secret_files.")
    if secret == ref.name:
        return
    if path[2] in ("check", "checks", "warm"):
        yield Fault(path, f"${{{ref.name}}} is the service's own file, and a check runs beside it.")
    elif secret not in service.secret_files and not (path[2] == "secret_args" and path[3] == secret):
        hint = f'Add secret_files = ["{secret}"].'
        yield Fault(path, f"${{{ref.name}}} is used, and {secret} is not among secret_files.", hint)


def _other(path: Path, ref: Ref, view: Sound) -> Iterator[Fault]:
    if not ref.name.startswith("services."):
        return
    other = ref.name.split(".")[1]
    if other not in view.declared:
        hint = nearest(other, sorted(view.declared), "services")
        yield Fault(path, f'${{{ref.name}}}: no service is called "{other}".', hint)
    elif ref.name.endswith(".port") and other in view.services and view.services[other].port is None:
        yield Fault(
            path,
            f"${{{ref.name}}}: services.{other} has no port.",
            f"Add one, such as port = 8000, to services.{other}.",
        )


RULES = (_of_services, _of_project_checks, _of_targets)
