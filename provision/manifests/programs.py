"""What a supervisor has to know of a program: facts for the templates of supervisord and systemd."""

from __future__ import annotations

import math
from dataclasses import dataclass

from provision.contract.layout import SECRET_FOLDER, STARTS, Layout
from provision.contract.slots import KEEPER, TRAFFIC
from provision.manifests.attendance import idle, ready
from provision.manifests.places import LaneOnTarget, in_home
from provision.manifests.value import Value
from provision.project.service import Lane, Service

_FIRST_UNPRIVILEGED_PORT = 1024
_RETRIES = 10  # what supervisord is told where nothing is said, each a second later than the last: about a minute


@dataclass(frozen=True)
class Restart:
    """When a program that ended is started again."""

    always: bool  # also after exit status 0
    delay: str  # seconds before it is
    starts: int  # so many within `seconds`, then it stays down
    seconds: int
    retries: int  # failed starts in a row, after the first one
    declared: bool  # whether deploy.toml says any of this


@dataclass(frozen=True)
class Program:
    """What a manifest's template may use, as `program`."""

    project: str
    service: str
    lane: str  # stable, canary or candidate
    name: str  # supervisord's program or systemd's unit
    launch: str  # absolute path of the launcher
    starts_file: str  # absolute; the launcher notes there when it starts
    path: str  # the project's folder on the host
    shared: str  # what outlives releases: logs, models, data
    log: str  # absolute path
    user: Value | None  # None as well where the user's own systemd runs everything as that user
    account_group: Value | None  # the group it runs as, where that is said
    after: tuple[str, ...]  # programs of the same lane that this one needs
    depth: int  # how many programs have to start one after another before this one
    starts_with_host: bool
    restarts: bool
    restart: Restart  # how, where it `restarts`
    stop_seconds: int  # from the polite signal to the hard one: drain and stop_timeout
    ready_seconds: int  # how long the launcher, asked "ready", may wait until it serves; 0 where it is not asked
    waits_until_idle: bool  # whether the launcher, asked "idle", waits until no request is in flight
    secret_files: tuple[str, ...]  # names of the secrets that it has as files
    secret_folder: str  # absolute; where the host has those
    memory_bytes: int | None
    cpu_percent: int | None  # 100 is one CPU
    gpu: bool
    starts_containers: bool  # by the host's Docker Engine
    low_port: bool  # one below 1024 in this lane
    in_home: bool  # the project lies in somebody's home
    user_unit: bool  # for the user's own systemd
    front: str  # the folder of what stands before the others, for that program alone; empty for all others
    keeper: bool  # it is who is at home with that, and may what a deploy may
    group: str  # systemd's target that starts and stops the whole project; empty elsewhere, and for a candidate


def program(places: LaneOnTarget, name: str) -> Program:
    """The program that runs service `name` in a lane."""
    service = places.project.services[name]
    target, resources, front = places.target, service.resources, name == TRAFFIC and places.target.traffic is not None
    port = places.port(name)
    layout = Layout(target.path)
    candidate = places.lane is Lane.CANDIDATE
    asked = ready(places, name)
    return Program(
        project=places.project.name,
        service=name,
        lane=places.lane,
        name=places.program(name),
        launch=f"{places.run(name)}/launch",
        starts_file=f"{places.run(name)}/{STARTS}",
        path=target.path,
        shared=layout.shared,
        log=layout.log(places.program(name)),
        user=Value(f"services.{name}.user", (service.user,)) if service.user and not target.user_units else None,
        account_group=Value(f"services.{name}.group", (service.group,)) if service.group else None,
        after=tuple(each for other in service.after if places.holds(other) for each in places.programs(other)),
        depth=places.depths[name],
        starts_with_host=not candidate and not service.on_demand,
        restarts=not candidate,
        restart=_restart(service),
        stop_seconds=math.ceil(service.drain + service.stop_timeout),
        ready_seconds=asked.seconds if asked else 0,
        waits_until_idle=target.can.waits and idle(places, name) is not None,
        secret_files=service.secret_files,
        secret_folder=f"{places.run(name)}/{SECRET_FOLDER}",
        memory_bytes=resources.memory,
        cpu_percent=math.ceil(resources.cpus * 100) if resources.cpus else None,
        gpu=bool(resources.devices),
        starts_containers=service.starts_containers,
        low_port=front or (port is not None and port < _FIRST_UNPRIVILEGED_PORT),  # one more does not start it anew
        in_home=in_home(target.path),
        user_unit=target.user_units,
        front=layout.traffic if front else "",
        keeper=name == KEEPER and places.target.traffic is not None,
        group="" if candidate else places.platform.group(target.name_prefix, places.project.name),
    )


def _restart(service: Service) -> Restart:
    said = service.restart
    return Restart(
        always=said.on == "always",
        delay=f"{said.starts.delay:g}",
        starts=said.starts.limit,
        seconds=math.ceil(said.starts.window),
        retries=said.limit - 1 if said.limit else _RETRIES,
        declared=bool(said.limit or said.window),
    )
