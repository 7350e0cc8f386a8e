"""Declared checks as the documents that a host works from."""

from __future__ import annotations

from provision.contract.checks import CheckCommon, CheckDocument, CommandCheck, CompletionCheck, HttpCheck, TcpCheck
from provision.errors import UsageError
from provision.manifests.places import Places
from provision.project.ports import port_of
from provision.project.schema import Check, Service

# Checks run on the host itself. Not "localhost", which may mean ::1, where a server that was told 127.0.0.1 is not.
HOST = "127.0.0.1"


def service_checks(places: Places, name: str, service: Service) -> list[CheckDocument]:
    """A service's checks in the order in which they run; `warm` comes last and passes once."""
    declared = [*([service.check] if service.check else []), *service.checks]
    documents = [_check(places, check, f"services.{name}.check", name, name) for check in declared]
    if service.warm:
        warm = service.warm.model_copy(update={"passes": 1})
        documents.append(_check(places, warm, f"services.{name}.warm", f"{name} warm", name))
    return documents


def project_checks(places: Places) -> list[CheckDocument]:
    """The checks of the project as a whole, in the order in which they are declared."""
    return [_check(places, check, f"checks.{name}", name, "") for name, check in places.project.checks.items()]


def _check(places: Places, check: Check, subject: str, label: str, service: str) -> CheckDocument:
    if check.http is not None:
        return _http(places, check, subject, label, service)
    if check.tcp is not None:
        return _tcp(places, check, subject, label, service)
    if check.command is not None:
        argv = [places.text(word, f"{subject}.command", service) for word in check.command]
        common = _common(check, f"{label} command {argv[0]}")
        return CommandCheck(kind="command", argv=argv, env=_known_env(places, service), **common)
    if check.completion is not None:
        return CompletionCheck(
            kind="completion",
            url=_own_address(places, subject, service),
            token=_token(places, check, service),
            prompt=places.text(check.completion, f"{subject}.completion", service),
            tokens=check.tokens,
            min_tokens_per_second=check.min_tokens_per_second,
            **_common(check, f"{label} completion"),
        )
    raise UsageError(f"{subject}: expected one of http, tcp, command or completion")


def _http(places: Places, check: Check, subject: str, label: str, service: str) -> HttpCheck:
    assert check.http is not None  # noqa: S101 (the caller's branch)
    asked = places.text(check.http, f"{subject}.http", service)
    return HttpCheck(
        kind="http",
        url=_own_address(places, subject, service) + asked if asked.startswith("/") else asked,
        token=_token(places, check, service),
        status=list(check.status),
        body=check.body or "",
        headers=check.headers,
        **_common(check, f"{label} http {asked}"),
    )


def _tcp(places: Places, check: Check, subject: str, label: str, service: str) -> TcpCheck:
    assert check.tcp is not None  # noqa: S101 (the caller's branch)
    asked = places.text(check.tcp, f"{subject}.tcp", service)
    host, _, port = asked.rpartition(":")
    if not port.isdecimal():
        raise UsageError(f'{subject}.tcp: expected "${{port}}" or "host:port", got "{asked}"')
    common = _common(check, f"{label} tcp {asked}")
    return TcpCheck(kind="tcp", host=host.strip("[]") or HOST, port=int(port), **common)


def _own_address(places: Places, subject: str, service: str) -> str:
    port = port_of(places.project.services[service], places.lane) if service else None
    if port is None:
        raise UsageError(f"{subject}: it asks the service itself, but the service declares no port")
    return f"http://{HOST}:{port}"


def _token(places: Places, check: Check, service: str) -> str:
    known = places.project.services[service].every_secret if service else ()
    return check.token if check.token in known else ""


def _known_env(places: Places, service: str) -> dict[str, str]:
    """A check runs without the launcher, so it misses secrets, and variables that only a start makes known."""
    if not service:
        return {}
    values = {
        name: places.value(template, f"services.{service}.env.{name}", service)
        for name, template in places.project.services[service].env.items()
    }
    return {name: value.text for name, value in values.items() if all(isinstance(part, str) for part in value.parts)}


def _common(check: Check, name: str) -> CheckCommon:
    return CheckCommon(
        name=name,
        timeout=check.timeout,
        interval=check.interval,
        passes=check.passes,
        attempt_timeout=check.attempt_timeout,
    )
