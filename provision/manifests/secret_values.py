"""What the value of a secret may not be. It is known when it is deployed, so neither schema nor template can tell."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping

from provision.errors import UnencodableValue
from provision.manifests.value import LONGEST_STRING, check_process_string
from provision.project.schema import Project
from provision.project.service import Service
from provision.project.template import Template

# RFC 6750, section 2.1. It also keeps a key file true to its key: llama-server takes each line of one for a key, and a
# line that begins with "#" for none, and without a key it answers everybody.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_NOT_SENDABLE = "it is sent as a bearer token, which has letters, digits and -._~+/ alone, and = at its end"


def secret_refusals(project: Project, values: Mapping[str, str]) -> Iterator[UnencodableValue]:
    """Each secret whose value its service cannot be given, by the place that names it; its value is not told.

    Args:
        values: those that are known here; the others are passed over.
    """
    for subject, secret, longest, is_sent in _given(project):
        if secret not in values:
            continue
        try:
            check_process_string(subject, values[secret], longest)
            if is_sent and not _TOKEN.fullmatch(values[secret]):
                raise UnencodableValue(subject, _NOT_SENDABLE)
        except UnencodableValue as refusal:
            yield UnencodableValue(subject, f"the value of {secret}: {refusal.reason}")
    yield from _too_long(project, values)


def _too_long(project: Project, values: Mapping[str, str]) -> Iterator[UnencodableValue]:
    """Each variable that is made of secrets, and has no room for all of them."""
    envs = {f"services.{name}": service.env for name, service in project.services.items()}
    envs["prepare"] = project.prepare.env if project.prepare else {}
    envs |= {f"once.{name}": once.env for name, once in project.once.items()}
    for owner, env in envs.items():
        for variable, text in env.items():
            if text.secrets and all(part.name in values for part in text.secrets):
                try:
                    check_process_string(f"{owner}.env.{variable}", made(text, values), _longest_variable(variable))
                except UnencodableValue as refusal:
                    yield UnencodableValue(refusal.subject, f"once its secrets are in it, {refusal.reason}")


def made(text: Template, values: Mapping[str, str]) -> str:
    """`text` with the values of its secrets; of a place there is nothing."""
    return text.resolve(lambda _: "", lambda part: values[part.name])


def _given(project: Project) -> Iterator[tuple[str, str, int, bool]]:
    """Each place that names a secret: where, which, how long it may be, and whether it is sent."""
    for name, service in project.services.items():
        sent = _sent(service)
        for at, secret in enumerate(service.secrets):
            yield f"services.{name}.secrets[{at}]", secret, _longest_variable(secret), secret in sent
        for at, secret in enumerate(service.secret_files):
            yield f"services.{name}.secret_files[{at}]", secret, sys.maxsize, secret in sent
    steps = {"prepare": project.prepare, **{f"once.{name}": once for name, once in project.once.items()}}
    for step, declared in steps.items():
        for at, secret in enumerate(declared.secrets if declared else ()):
            yield f"{step}.secrets[{at}]", secret, _longest_variable(secret), False


def _longest_variable(name: str) -> int:
    return LONGEST_STRING - len(name) - 1  # NAME=value is one string


def _sent(service: Service) -> set[str | None]:
    """The secrets that a check or the monitoring sends."""
    asked = (service.check, *service.checks, service.warm, service.metrics)
    return {each.token for each in asked if each}
