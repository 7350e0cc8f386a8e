"""The program of a service runs on this host, and reads the types of tensors that its model holds."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from ..contract.failure import FAILED, Failure
from ..contract.layout import Layout
from ..contract.model_types import check_image, is_llama_server
from . import binaries, engines, processes
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument


_PROBE_SECONDS = 20.0


def binary(layout: Layout, release: str, service: ServiceDocument) -> str:
    """Where the `binary` of a service is on this host; empty for what has none."""
    named = service.get("binary") or ""
    return os.path.join(layout.release(release), named) if named else ""


def demand(layout: Layout, release: str, document: ReleaseDocument, service: ServiceDocument) -> None:
    """The `binary` of a service is a program for this host; llama-server runs here and reads the types of its model."""
    path = binary(layout, release, service)
    if not path:
        return
    if not set(document.get("engines", {})) <= set(engines.present(layout)) and path.startswith(layout.engines + "/"):
        raise Failure(
            FAILED,
            f"the engine that {service['name']} runs on is damaged on this host, or its Python has gone.",
            next_step="deploy up, which ships it again",
        )
    if not os.access(path, os.X_OK):
        raise Failure(FAILED, f"{path} is not an executable file on this host.", why="It is the service's `binary`.")
    binaries.check(service, document, path, os.uname().machine)
    if is_llama_server(path):  # what another program makes of --version is not known: it may begin to serve
        _runs(path, service["name"])


def demand_in_image(supervisor: Supervisor, document: ReleaseDocument, service: ServiceDocument) -> None:
    """The program in a container's image reads the types that the model holds; one of the release was looked at."""
    served = document["models"].get(service.get("model") or "")
    if supervisor.in_containers and served and not service.get("binary"):
        manifest = service["manifest"]["text"]
        image = json.loads(manifest)["Image"]
        check_image(service["name"], service["model"], served["tensor_types"], image, supervisor.labels(manifest))


def _runs(path: str, service: str) -> None:
    try:
        status, said = processes.version(path, _PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(FAILED, f"{service}: {path} --version does not run here: {error}") from None
    if status != 0:
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        raise Failure(
            FAILED,
            f"{service}: {path} does not run here ({how}: {said}).",
            why="Signal 4 means an instruction that this CPU lacks; 127 a missing library.",
            next_step="deploy native build --profile portable",
        )
