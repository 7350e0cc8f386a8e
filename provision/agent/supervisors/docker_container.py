"""A program as a container: what it is created from, and what the engine says of it."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import Optional
from urllib.parse import quote

from ...contract.failure import FAILED, Failure
from ...contract.layout import OF_HOST, OF_SECRETS, Layout
from .. import files, launch
from . import docker_engine as engine
from . import docker_ours
from .base import ABSENT, Activity, Observed


def inspect(program: str) -> Optional[engine.Json]:
    """What the engine knows of a container; None where there is none of that name."""
    return engine.find("GET", f"/containers/{quote(program)}/json")


def request(layout: Layout, program: str, manifest: str) -> engine.Json:
    """The body of the request that creates it: its manifest, and what only this host knows."""
    with open(manifest, encoding="utf-8") as stream:
        body: engine.Json = json.load(stream)
    if body["Image"] == OF_HOST:
        return docker_ours.completed(layout, body)
    current = launch.current(layout, program)
    folder = os.path.realpath(os.path.join(layout.launchers(program), current))
    secrets = launch.exported_secrets(folder)
    release = os.path.realpath(os.path.join(layout.launchers(program), current, "release"))
    data = os.path.join(layout.shared, "data")
    if not os.path.isdir(data):
        files.make_folder(data)
    # At the same places as on the host: links between them keep their meaning.
    binds = [
        *body["HostConfig"]["Binds"],
        f"{release}:{release}:ro",
        f"{layout.models}:{layout.models}:ro",
        *(f"{path}:/run/secrets/{name}:ro" for name, path in launch.secret_files(folder).items()),
    ]
    for name, parts in body.pop(OF_SECRETS, {}).items():
        secrets[name] = "".join(part if isinstance(part, str) else secrets[part["secret"]] for part in parts)
    devices = launch.devices(folder)
    secrets.update(devices)
    if "CUDA_VISIBLE_DEVICES" in devices:
        ids = devices["CUDA_VISIBLE_DEVICES"].split(",")
        asked = [{**each, "DeviceIDs": ids} for each in body["HostConfig"]["DeviceRequests"]]
        # The engine takes either how many, or which ones.
        body["HostConfig"]["DeviceRequests"] = [{key: each[key] for key in each if key != "Count"} for each in asked]
    body["Env"] = [*body["Env"], *(f"{name}={value}" for name, value in sorted(secrets.items()))]
    body["WorkingDir"] = release
    body["HostConfig"]["Binds"] = binds
    return body


def give_secret_files(layout: Layout, program: str) -> None:
    """Let the account that the container runs as, and nobody else, read the files of its secrets."""
    current = launch.current(layout, program)
    paths = launch.secret_files(os.path.join(layout.launchers(program), current)).values()
    if paths:
        uid = _uid(program)
        for path in paths:
            os.chown(path, uid, -1, follow_symlinks=False)


def _uid(program: str) -> int:
    """The number of the account that a container runs as: of a name, its own /etc/passwd knows it."""
    account = str((inspect(program) or {})["Config"]["User"]).partition(":")[0] or "0"
    if account.isdigit():
        return int(account)
    packed = engine.read("GET", f"/containers/{quote(program)}/archive?path=/etc/passwd", accept=(200, 404))
    try:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            stream = archive.extractfile(archive.getmembers()[0])
            lines = stream.read().decode("utf-8", "replace").splitlines() if stream else []
    except tarfile.TarError:
        lines = []
    for line in lines:
        name, _, uid = line.split(":")[:3] if line.count(":") > 2 else ("", "", "")
        if name == account and uid.isdigit():
            return int(uid)
    raise Failure(FAILED, f"the image of {program} has no account {account!r} in its /etc/passwd.")


def observed(found: Optional[engine.Json]) -> Observed:
    """A container as a program."""
    if found is None:
        return ABSENT
    state, restarts = found["State"], int(found.get("RestartCount") or 0)
    if state["Restarting"]:
        return Observed(Activity.EXITED, 0, _ending(state), restarts)
    if state["Running"]:
        return Observed(Activity.RUNNING, int(state["Pid"]), "", restarts)
    if state["Status"] == "created":
        return Observed(Activity.STOPPED, 0, "", restarts)
    return Observed(Activity.EXITED, 0, _ending(state), restarts)


def _ending(state: engine.Json) -> str:
    if state["OOMKilled"]:
        return "was killed because it used more memory than it may"
    return state["Error"] or f"exited with status {state['ExitCode']}"
