"""What each service needs, how it is known to work, and who hears that it does not."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.production.rule import Finding, Rule, Severity, Subject


def _memory(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        if service.resources.memory is None:
            yield Finding(("services", name), "it may take all memory of its host.")


def _cpus(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        if service.resources.cpus is None:
            yield Finding(("services", name), "it may take all processor time of its host.")


def _health(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.serving.items():
        if service.check is None and not service.checks:
            yield Finding(("services", name), "nothing says whether it works.")


def _alerts(subject: Subject) -> Iterator[Finding]:
    if not any(service.metrics for service in subject.project.services.values()):
        yield Finding(("services",), "no service declares metrics, so nobody hears of a failure.")


def _metrics(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.serving.items():
        if service.port is not None and service.metrics is None:
            yield Finding(("services", name), "nobody is told when it is down.")


def _engines(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        if service.engine == "wheel":
            yield Finding(("services", name, "engine"), "a prebuilt engine serves it.")


RULES = (
    Rule(
        "memory-limit",
        Severity.FAIL,
        "Each service has a limit of memory.",
        "One that leaks takes the others with it. systemd and containers hold it; preflight refuses a host with less.",
        'Add `resources = { size = "small" }`, or `memory`.',
        _memory,
    ),
    Rule(
        "cpu-limit",
        Severity.WARN,
        "Each service has a limit of cores.",
        "One that spins makes the others slow. systemd and containers hold it; preflight refuses a host with fewer.",
        'Add `resources = { size = "small" }`, or `cpus`.',
        _cpus,
    ),
    Rule(
        "health-check",
        Severity.FAIL,
        "Each service has a check.",
        "A release that starts and does not work would stay.",
        'Add `check = { http = "/health" }`.',
        _health,
    ),
    Rule(
        "alerts",
        Severity.FAIL,
        "Somebody hears of a failure.",
        "Otherwise the users are the monitoring.",
        'Add `metrics = { path = "/metrics" }`, and load what `deploy render monitoring` writes.',
        _alerts,
    ),
    Rule(
        "metrics",
        Severity.WARN,
        "Each service with a port tells how it is.",
        "Alerts know only of services that are asked.",
        'Add `metrics = { path = "/metrics" }`. What has none, such as redis, has an exporter as a service beside it.',
        _metrics,
    ),
    Rule(
        "compiled-engine",
        Severity.WARN,
        "What serves a model is compiled from pinned sources.",
        "A prebuilt engine is somebody else's build: for one baseline of processors, with OpenMP, which is slow where "
        "cores are shared.",
        'engine = "build", and `deploy native build --profile portable`.',
        _engines,
    ),
)
