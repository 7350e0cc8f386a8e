"""A service as a container of a host's own Docker Engine: the body of its "create" request.

They share the host's network (`provision.contract.containers`). The agent adds what only the host knows: secrets, and
the folders of the release and of the models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from provision.contract.containers import CONFINED
from provision.contract.layout import OF_SECRETS, PROJECT_LABEL, Layout
from provision.contract.release import Manifest
from provision.errors import UnencodableValue
from provision.manifests.containers import engine, image, refuse_docker
from provision.manifests.places import LaneOnTarget
from provision.manifests.value import AtStart, FromSecret, Value, Variable, check_process_string
from provision.project.parts import Restart
from provision.project.service import Lane

_NANO = 10**9


def manifest(places: LaneOnTarget, name: str) -> Manifest:
    """What the agent asks the engine for.

    Raises:
        UnencodableValue: no image is declared by digest, or a value is known only when the program starts.
    """
    service = places.project.services[name]
    refuse_docker(places, name, "a confined container")
    variables = [
        Variable(variable, places.value(template, f"services.{name}.env.{variable}", name))
        for variable, template in sorted(service.env.items())
    ]
    body: dict[str, Any] = {
        "Image": image(places, name),
        "Entrypoint": [_text(places.value(word, f"services.{name}.command", name)) for word in service.command],
        "Env": [f"{each.name}={_text(each.value)}" for each in variables if not each.value.secrets]
        + [f"{each.name}={each.value.text}" for each in places.secret_files(name)],
        "Labels": {PROJECT_LABEL: places.target.path},
        "StopTimeout": math.ceil(service.drain + service.stop_timeout),
        "HostConfig": _host(places, name),
    }
    composed = {each.name: _parts(each.value) for each in variables if each.value.secrets}
    if composed:
        body[OF_SECRETS] = composed
    if service.user:
        body["User"] = f"{service.user}:{service.group}" if service.group else service.user
    return written(places, name, body)


def written(places: LaneOnTarget, name: str, body: Mapping[str, Any]) -> Manifest:
    """The file that says it."""
    text = json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return Manifest(name=f"{places.program(name)}.json", text=text)


def _host(places: LaneOnTarget, name: str) -> dict[str, Any]:
    service = places.project.services[name]
    resources = service.resources
    restarts = places.lane is not Lane.CANDIDATE and not service.on_demand
    host: dict[str, Any] = {
        **CONFINED,
        "Binds": list(_binds(places, name)),
        "Init": True,
        "RestartPolicy": restart_policy(service.restart) if restarts else {"Name": "no"},
    }
    if resources.memory:
        host |= {"Memory": resources.memory, "MemorySwap": resources.memory}
    if resources.cpus:
        host["NanoCpus"] = int(resources.cpus * _NANO)
    if given := engine(service):
        host["Binds"].append(f"{given.socket}:{given.socket}")
        host["GroupAdd"] = [str(given.group)]
    if resources.devices:
        # Which ones the host says, where it gives them out.
        host["DeviceRequests"] = [{"Driver": "nvidia", "Count": resources.devices, "Capabilities": [["gpu"]]}]
    return host


def restart_policy(said: Restart) -> dict[str, Any]:
    """As an engine takes it, which counts how often it starts a container anew."""
    if said.on == "failure" or (said.limit and said.on is None):
        if said.limit == 1:
            return {"Name": "no"}
        return {"Name": "on-failure", **({"MaximumRetryCount": said.limit - 1} if said.limit else {})}
    return {"Name": "unless-stopped"}


def _binds(places: LaneOnTarget, name: str) -> Iterator[str]:
    """What it may write to: `shared/data`, and its volumes; those of the project's folder are the host's own there."""
    data = f"{Layout(places.target.path).shared}/data"
    yield f"{data}:{data}"
    for key, volume in sorted(places.project.services[name].volumes.items()):
        path = places.text(volume.path, f"services.{name}.volumes.{key}.path", name)
        if path != data and not path.startswith(f"{data}/"):
            own = path.startswith(f"{places.target.path}/")
            yield f"{path if own else f'{places.program(volume.of_service(name))}.{key}'}:{path}"


def _parts(value: Value) -> list[str | dict[str, str]]:
    """A value as the host puts it together: texts, and secrets by name."""
    _text(replace(value, parts=tuple(part for part in value.parts if not isinstance(part, FromSecret))))
    return [{"secret": part.name} if isinstance(part, FromSecret) else str(part) for part in value.parts]


def _text(value: Value) -> str:
    if AtStart.CPUS in value.parts:
        reason = "${cpus} is counted by a launcher; for a container say it: threads = 4, or resources = { cpus = 4 }"
        raise UnencodableValue(value.subject, reason)
    check_process_string(value.subject, value.text)
    return value.text
