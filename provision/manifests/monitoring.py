"""What watches a project: Prometheus' scrapes and alerts, and a Grafana dashboard.

A service listens on 127.0.0.1 of its host unless a proxy says where its hosts are. So Prometheus runs beside it there,
and sends on what it sees (`remote_write`), or it runs beside the proxy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.errors import UsageError
from provision.manifests.templates import render
from provision.manifests.value import Value
from provision.platforms import face
from provision.project.fronted import is_fronted
from provision.project.networks import authority
from provision.project.parts import Metrics
from provision.project.ports import port_of, slot_port
from provision.project.rules.proxies import is_here
from provision.project.schema import Project
from provision.project.service import Lane, Service
from provision.project.target import Target
from provision.project.traffic import SPARE, mode_of

_SELF = "$self"


@dataclass(frozen=True)
class Alarm:
    """One alerting rule."""

    name: str
    when: Value
    says: Value
    seconds: int
    severity: str
    service: str  # empty for the machine's


@dataclass(frozen=True)
class Graph:
    """One panel of the dashboard; `x` and `y` are its place."""

    number: int
    title: Value
    lines: tuple[tuple[str, Value], ...]  # what each is called, which one alone is not, and its query
    x: int
    y: int


@dataclass(frozen=True)
class Scrape:
    """One service that is asked for its metrics."""

    service: str
    path: str
    addresses: tuple[str, ...]  # address:port
    token_file: str  # on Prometheus' machine; empty for none


@dataclass(frozen=True)
class Monitoring:
    """What a template may use, as `monitoring`."""

    project: str
    scrapes: tuple[Scrape, ...]
    alarms: tuple[Alarm, ...]
    graphs: tuple[Graph, ...]
    gpu: bool  # whether the GPU's exporter is asked
    traffic: int  # the port at which what stands before the programs is asked; 0 where it is not


def monitoring(project: Project, target: Target | None) -> Monitoring:
    """The facts of a project's monitoring.

    Raises:
        UsageError: no service tells how it is.
    """
    named = target.services if target else None
    services = {name: service for name, service in project.services.items() if named is None or name in named}
    told = {name: (service, service.metrics) for name, service in services.items() if service.metrics}
    if not told:
        raise UsageError(
            "no service declares metrics.",
            why="Monitoring asks those that do.",
            next_step='add metrics = { path = "/metrics" } to a service',
        )
    gpu = any(service.resources.devices for service in services.values())
    on_hosts = target is not None and target.can.over_ssh
    slots = {name: _slots(project, target, name) for name in told}
    alarms = [
        alarm
        for name, (_, metrics) in told.items()
        for alarm in _alarms(project.name, name, metrics, project.copies_of(name, Lane.STABLE) if slots[name] else 0)
    ]
    panels = [panel for name, (_, metrics) in told.items() for panel in _panels(project.name, name, metrics)]
    before = [name for name, service in services.items() if target and is_fronted(target, service)]
    if target and target.traffic and target.traffic.metrics:
        panels += [panel for name in before for panel in _lanes(project.name, name, mode_of(services[name]))]
    return Monitoring(
        project=project.name,
        scrapes=tuple(
            _scrape(
                project.name,
                name,
                service,
                metrics,
                slots[name]
                or [port_of(service, Lane.STABLE, copy + 1) for copy in range(_copies(project, name, on_hosts))],
            )
            for name, (service, metrics) in told.items()
        ),
        traffic=target.traffic.metrics or 0 if target and target.traffic and before else 0,
        alarms=(*alarms, *_machine(project.name, target, gpu=gpu)),
        graphs=tuple(
            Graph(at + 1, title, lines, x=12 * (at % 2), y=8 * (at // 2)) for at, (title, lines) in enumerate(panels)
        ),
        gpu=gpu,
    )


def files(project: Project, target: Target | None, root: Path) -> dict[str, str]:
    """The files for Prometheus and Grafana. See `provision.platforms.face.Face.files`."""
    facts, overrides = monitoring(project, target), root / "templates"
    return {
        f"dashboards/{project.name}.json": render("monitoring/dashboard.json.j2", overrides, monitoring=facts),
        "prometheus.yml": render("monitoring/prometheus.yml.j2", overrides, monitoring=facts),
        f"rules/{project.name}.yml": render("monitoring/rules.yml.j2", overrides, monitoring=facts),
    }


def _copies(project: Project, name: str, on_hosts: bool) -> int:
    return project.copies_of(name, Lane.STABLE) if on_hosts else 1


def _slots(project: Project, target: Target | None, name: str) -> list[int | None]:
    """The ports of a service's programs on their host, where its own port leads to any of them; not all are there."""
    service = project.services[name]
    here = service.proxy is None or is_here(service.proxy)
    if target is None or not here or not is_fronted(target, service):
        return []
    return [slot_port(service, slot + 1) for slot in range(project.copies_of(name, Lane.STABLE) + SPARE)]


def _scrape(project: str, name: str, service: Service, metrics: Metrics, ports: Sequence[int | None]) -> Scrape:
    hosts = service.proxy.upstreams if service.proxy else ("127.0.0.1",)
    addresses = tuple(authority(host, port) for host in hosts for port in ports)
    secret = metrics.token if metrics.token in service.every_secret else None
    return Scrape(name, metrics.path, addresses, f"/etc/prometheus/{project}/{secret}" if secret else "")


def _labels(project: str, name: str) -> str:
    return f'project="{project}",service="{name}"'


def _alarms(project: str, name: str, metrics: Metrics, copies: int) -> Iterator[Alarm]:
    """A service's alerts: those that every service has, then its own.

    Args:
        copies: of how many programs metrics are to be there, where each has any of several ports; 0: of all.
    """
    me = _labels(project, name)

    def alarm(what: str, when: str, says: str, seconds: float, severity: str) -> Alarm:
        title = "".join(word.capitalize() for word in f"{name}-{what}".split("-"))
        subject = f"services.{name}.metrics.alerts.{what}"
        query = when.replace(_SELF, me)
        return Alarm(title, Value(subject, (query,)), Value(subject, (says,)), round(seconds), severity, name)

    down = f"sum(up{{$self}}) < {copies}" if copies else "up{$self} == 0"
    yield alarm("down", down, "It does not answer.", 120, "page")
    restarted = "changes(process_start_time_seconds{$self}[15m]) > 3"
    yield alarm("restarts", restarted, "It was started anew more than three times in a quarter of an hour.", 60, "page")
    if metrics.requests:
        failed = f'sum(rate({metrics.requests}{{$self,status=~"5..|failed"}}[5m]))'
        share = f"{failed} / sum(rate({metrics.requests}{{$self}}[5m]))"
        yield alarm("errors", f"{share} > 0.05", "More than one answer in twenty is an error of its own.", 600, "page")
    if metrics.duration:
        says = f"One answer in twenty takes longer than {metrics.slow:g} s."
        yield alarm("slow", f"{_percentile(metrics.duration)} > {metrics.slow:g}", says, 600, "ticket")
    for what, own in metrics.alerts.items():
        yield alarm(what, own.when, own.says, own.lasting, own.severity)


def _panels(project: str, name: str, metrics: Metrics) -> Iterator[tuple[Value, tuple[tuple[str, Value], ...]]]:
    """The titles and lines of a service's graphs."""
    queries: dict[str, str | dict[str, str]] = {"Up": "up{$self}"}
    if metrics.busy:
        queries["In flight"] = " + ".join(f"{gauge}{{$self}}" for gauge in metrics.busy)
    if metrics.requests:
        queries["Answers a second, by status"] = f"sum by (status) (rate({metrics.requests}{{$self}}[5m]))"
    if metrics.duration:
        queries["Seconds an answer takes"] = {
            f"p{round(100 * share)}": _percentile(metrics.duration, share) for share in (0.5, 0.95, 0.99)
        }
    queries["Memory, bytes"] = _used(
        "container_memory_working_set_bytes", "process_resident_memory_bytes", project, name
    )
    cpu = _used("container_cpu_usage_seconds_total", "process_cpu_seconds_total", project, name, "rate(", "[5m])")
    queries["Cores in use"] = cpu
    for title, query in {**queries, **metrics.graphs}.items():
        subject = f"services.{name}.metrics.graphs.{title}"
        lines = query if isinstance(query, dict) else {"": query}
        told = ((line, Value(subject, (said.replace(_SELF, _labels(project, name)),))) for line, said in lines.items())
        yield Value(subject, (f"{name}: {title}",)), tuple(told)


def _lanes(project: str, name: str, mode: str) -> Iterator[tuple[Value, tuple[tuple[str, Value], ...]]]:
    """What comes to each program of a service that traffic comes to, side by side: stable's and the canary's."""
    me = f'project="{project}",proxy="{name}"'
    answers = f"haproxy_server_http_responses_total{{{me}"
    came = f"sum by (server) (rate(haproxy_server_sessions_total{{{me}}}[5m]))"
    queries = {"Requests a second, by program": came}
    if mode == "http":
        failed, all_ = (f"sum by (server) (rate({answers}{code}}}[5m]))" for code in (',code="5xx"', ""))
        queries["Share of errors, by program"] = f"{failed} / {all_}"
        queries["Seconds to an answer, by program"] = f"haproxy_server_response_time_average_seconds{{{me}}}"
    queries["In flight, by program"] = f"haproxy_server_current_sessions{{{me}}}"
    for title, query in queries.items():
        subject = f"services.{name}"
        yield Value(subject, (f"{name}: {title}",)), (("{{server}}", Value(subject, (query,))),)


def _percentile(histogram: str, share: float = 0.95) -> str:
    return f"histogram_quantile({share:g}, sum by (le) (rate({histogram}_bucket{{$self}}[10m])))"


def _used(container: str, process: str, project: str, name: str, before: str = "", after: str = "") -> str:
    """What the service's containers use, as cAdvisor tells of pods and of Compose's, where it is asked: its job is not
    ours. Else what its process tells of itself.
    """
    compose = (
        f'container_label_com_docker_compose_project="{project}",container_label_com_docker_compose_service="{name}"'
    )
    asked = (
        f'{container}{{namespace="{project}",container="{name}"}}',
        f"{container}{{{compose}}}",
        f"{process}{{$self}}",
    )
    return " or ".join(f"sum({before}{each}{after})" for each in asked)


def _machine(project: str, target: Target | None, *, gpu: bool) -> Iterator[Alarm]:
    """Alerts about the machines below; they come from node_exporter and, for GPUs, dcgm-exporter."""

    def alarm(name: str, when: str, says: str, seconds: int) -> Alarm:
        return Alarm(name, Value("monitoring", (when,)), Value("monitoring", (says,)), seconds, "ticket", "")

    disk = f'{{job="{project}-machine",fstype!~"tmpfs|ramfs|overlay|squashfs"}}'
    yield alarm(
        "DiskFull",
        f"node_filesystem_avail_bytes{disk} / node_filesystem_size_bytes{disk} < 0.1",
        "Less than a tenth of a disk is free; a deploy needs room for one more release, and for going back.",
        900,
    )
    if target is not None and (restarts := face(target.platform).restarts(target.name_prefix, project)):
        says = f"{target.platform} started a unit more than three times in a quarter of an hour."
        yield alarm("UnitRestarts", f"{restarts} > 3", says, 60)
    if gpu:
        memory = f'{{job="{project}-gpu"}}'
        used, free = f"DCGM_FI_DEV_FB_USED{memory}", f"DCGM_FI_DEV_FB_FREE{memory}"
        yield alarm(
            "GpuMemoryFull", f"{used} / ({used} + {free}) > 0.95", "A GPU has less than 5 % of memory free.", 600
        )
