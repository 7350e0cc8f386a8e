"""One service as a task of Nomad's docker driver, with its check, its secrets and what it may use."""

from __future__ import annotations

import json
import math
from typing import Any

from provision.errors import UnencodableValue
from provision.manifests import containers
from provision.manifests.containers import Containers
from provision.manifests.probes import probe
from provision.manifests.value import FromSecret, Value, check_process_string
from provision.project.parts import Restart

Json = dict[str, Any]

SECRETS = "/secrets"  # NOMAD_SECRETS_DIR in a container: memory, and the task's own
_MEMORY_MIB = 1024  # of a service that says none: Nomad has to be told, and ends what is above it
_NANOSECONDS = 10**9


def seconds(count: float) -> int:
    """A time as the API has it."""
    return round(count * _NANOSECONDS)


def task(places: Containers, name: str, job: str) -> Json:
    """Service `name` as a task of `job` and of its group, which is called like it.

    Raises:
        UnencodableValue: a value means nothing in a container, or Nomad has no way to hold it.
    """
    service = places.project.services[name]
    containers.refuse_docker(places, name, "a task")
    first, *others = (_config(word) for word in containers.command(places, name))
    return {
        "Name": name,
        "Driver": "docker",
        "User": f"{places.project.user_id}:{places.project.user_id}",
        "Config": {
            "image": containers.rendered_image(places.project, name),
            "entrypoint": [first],
            "args": others,
            "init": True,
            "readonly_rootfs": True,
            "cap_drop": ["all"],
            "security_opt": ["no-new-privileges"],
            "mount": [{"type": "tmpfs", "target": "/tmp", "tmpfs_options": {"size": 1 << 30}}],  # noqa: S108
        },
        "Env": {variable.name: _env(variable.value) for variable in containers.env(places, name)},
        "Templates": _templates(places, name, f"nomad/jobs/{job}/{job}/{name}"),
        "Resources": _resources(places, name),
        "VolumeMounts": [
            {
                "Volume": f"{volume.of_service(name)}-{key}",
                "Destination": places.text(volume.path, f"services.{name}.volumes.{key}.path", name),
            }
            for key, volume in sorted(service.volumes.items())
        ],
        "KillTimeout": seconds(service.drain + service.stop_timeout),
        "Lifecycle": _lifecycle(places, name),
        "Services": _services(places, name),
        **(
            {"RestartPolicy": restarts(service.restart)}
            if service.restart.model_fields_set and not service.batch
            else {}
        ),
    }


def restarts(said: Restart) -> Json:
    """When a task is started again; where nothing is said, as a unit of systemd is."""
    return {
        "Attempts": said.starts.limit,
        "Interval": seconds(said.starts.window),
        "Delay": seconds(said.starts.delay),
        "Mode": "fail",
    }


def _config(value: Value) -> str:
    """A word of a driver's configuration, which Nomad reads as a template of HCL: `$${` is `${`."""
    check_process_string(value.subject, value.text)
    return value.text.replace("${", "$${").replace("%{", "%%{")


def _env(value: Value) -> str:
    """A variable's value. Nomad puts something of its own in the place of what it knows, and has no quotes for that."""
    check_process_string(value.subject, value.text)
    if "${" in value.text:
        raise UnencodableValue(value.subject, 'Nomad would put something else in the place of "${"; make it a secret')
    return value.text


def _templates(places: Containers, name: str, variable: str) -> list[Json]:
    """Secrets, from a Variable of Nomad that its access rules give to this task alone; without it the task waits."""
    service = places.project.services[name]
    lines = [f"{secret}={{{{ .{secret}.Value | toJSON }}}}" for secret in service.secrets]
    for composed in containers.composed(places, name):
        words = " ".join(_operand(part) for part in composed.value.parts)
        lines.append(f"{composed.name}={{{{ print {words} | toJSON }}}}")
    texts = [{"EmbeddedTmpl": "\n".join(lines), "DestPath": "secrets/deploy.env", "Envvars": True}] if lines else []
    texts += [
        {"EmbeddedTmpl": f"{{{{ .{secret}.Value }}}}", "DestPath": f"secrets/{secret}", "Perms": "0444"}
        for secret in service.secret_files
    ]
    return [
        {**text, "EmbeddedTmpl": f'{{{{ with nomadVar "{variable}" }}}}{text["EmbeddedTmpl"]}{{{{ end }}}}'}
        for text in texts
    ]


def _operand(part: object) -> str:
    """A part of a value as Go's templates write it. JSON's strings are Go's, where nothing is a pair of surrogates."""
    return f".{part.name}.Value" if isinstance(part, FromSecret) else json.dumps(part, ensure_ascii=False)


def _resources(places: Containers, name: str) -> Json:
    declared = places.project.services[name].resources
    return {
        **({"Cores": math.ceil(declared.cpus)} if declared.cpus else {"CPU": 100}),
        "MemoryMB": math.ceil(declared.memory / 2**20) if declared.memory else _MEMORY_MIB,
        "Devices": [{"Name": "nvidia/gpu", "Count": declared.devices}] if declared.devices else [],
    }


def _lifecycle(places: Containers, name: str) -> Json | None:
    """What runs to its end comes before the others, or after those that it waits for."""
    service = places.project.services[name]
    if not service.batch or service.on_demand:
        return None
    return {"Hook": "poststart" if service.after else "prestart", "Sidecar": False}


def _services(places: Containers, name: str) -> list[Json]:
    """The service in Nomad's catalog, and its check, which the machine's own agent asks."""
    service = places.project.services[name]
    if service.port is None or service.batch:
        return []
    asked, _ = probe(places, name)
    registered = {"Provider": "nomad", "PortLabel": str(service.port), "AddressMode": "alloc"}
    # Programs are asked of Consul's services alone; of these, whether the port takes connections.
    path = asked.path.text if asked and asked.path else ""
    check: Json = {
        "Type": "http" if path else "tcp",
        **({"Path": path} if path else {}),
        "AddressMode": "alloc",
        "Interval": seconds(asked.readiness.period if asked else 5),
        "Timeout": seconds(asked.readiness.attempt_seconds if asked else 5),
    }
    return [{"Name": f"{places.project.name}-{name}", **registered, "Checks": [check]}]
