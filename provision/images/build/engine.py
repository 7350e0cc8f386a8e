"""The Docker Engine, through its SDK: builds a staged context, saves and loads images."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from provision.errors import DeployError, UsageError
from provision.packages import install

OnEvent = Callable[[dict[str, object]], None]

_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_BY_SSH = "ssh does not get there, or there is no `docker` (it is started there as `docker system dial-stdio`)."
_SECONDS = 600  # of silence: loading and saving big images says nothing for a while


def connect(url: str = "") -> docker.DockerClient:
    """The engine at `url` (`unix://…`, `ssh://user@host`), else the one that $DOCKER_HOST names, else this machine's.

    Raises:
        UsageError: none answers.
    """
    where = url or os.environ.get("DOCKER_HOST", "") or "unix:///var/run/docker.sock"
    try:
        # The ssh program has the user's configuration, agent and known hosts.
        client = docker.DockerClient(base_url=where, timeout=_SECONDS, use_ssh_client=where.startswith("ssh://"))
        client.ping()
    except DockerException as error:
        raise UsageError(
            f"no Docker Engine answers at {where}.",
            why=_BY_SSH if where.startswith("ssh://") else str(error).rpartition(": ")[2].strip(")'\""),
            next_step=f"{_first(where)}, name another with --builder or DOCKER_HOST, or build with --builder buildah",
        ) from None
    return client


def _first(where: str) -> str:
    """What is to be done where an engine was expected."""
    here = where.startswith("unix://") and not any(map(shutil.which, ("docker", "dockerd")))
    return f"{install('dockerd')} and start it" if here else "start it"


class DockerBuilder:
    """Builds with an engine; its cache plays no part, because contexts hold everything there is."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client

    @property
    def version(self) -> str:
        return f"Docker Engine {self.client.version()['Version']}"

    def build(
        self, context: Path, archive: Path, *, args: Mapping[str, str], platform: str, epoch: int, on_event: OnEvent
    ) -> list[str]:
        """Build `context` into `archive`, as `docker save` writes it; the layers that are the base's.

        Raises:
            DeployError: the builder's own words.
        """
        del epoch  # the archive is written anew, without the times that the engine wrote
        layers: list[str] = []
        if base := args.get("BASE"):
            layers = self._base(base, platform, on_event)
        image = self._build(context, args, platform, on_event)
        try:
            with archive.open("wb") as out:
                for part in self.client.api.get_image(image):
                    out.write(part)
        except DockerException as error:
            raise DeployError("the engine did not hand out what it built.", why=str(error)) from None
        finally:
            self.client.api.remove_image(image, force=True)
        return layers

    def load(self, archive: Path) -> None:
        """Let the engine have the image in `archive`.

        Raises:
            DeployError: it does not take it.
        """
        try:
            with archive.open("rb") as content:
                for said in self.client.api.load_image(content):  # type: ignore[no-untyped-call]
                    if "error" in said:
                        raise DeployError("the engine did not take the image.", why=said["error"])
        except DockerException as error:
            raise DeployError("the engine did not take the image.", why=str(error)) from None

    def _base(self, base: str, platform: str, on_event: OnEvent) -> list[str]:
        try:
            try:
                image = self.client.images.get(base)
            except ImageNotFound:
                on_event({"event": "message", "phase": "build", "text": f"pulling {base}"})
                image = self.client.images.pull(base, platform=platform)
        except DockerException as error:
            raise DeployError(
                f"the base {base} could not be had.",
                why=_said(error),
                next_step="deploy image lock, where the registry no longer has it; or --base NAME=IMAGE",
            ) from None
        return list(image.attrs["RootFS"]["Layers"])

    def _build(self, context: Path, args: Mapping[str, str], platform: str, on_event: OnEvent) -> str:
        # Beside the context and not in /tmp, which may be memory: CUDA's libraries alone are 600 MB.
        with tempfile.TemporaryFile(dir=context.parent) as sent:
            _pack(context, sent)
            return self._send(sent, args, platform, on_event)

    def _send(self, context: IO[bytes], args: Mapping[str, str], platform: str, on_event: OnEvent) -> str:
        lines: list[str] = []
        image = ""
        try:
            for said in self.client.api.build(
                fileobj=context,
                custom_context=True,
                buildargs=dict(args),
                platform=platform,
                network_mode="none",
                rm=True,
                forcerm=True,
                nocache=True,
                decode=True,
            ):
                text = str(said.get("stream") or said.get("status") or "").strip()
                lines += [text] if text else []
                if step := _STEP.match(text):
                    on_event({"event": "progress", "phase": "build", "unit": "steps"} | _counts(step))
                if "error" in said:
                    raise DeployError("the build failed.", why=str(said["error"]), log=lines[-12:])
                image = (said.get("aux") or {}).get("ID") or image
        except DockerException as error:
            raise DeployError("the build failed.", why=_said(error), log=lines[-12:]) from None
        if not image:
            raise DeployError("the build ended without an image.", log=lines[-12:])
        return image


def _counts(step: re.Match[str]) -> dict[str, object]:
    return {"done": int(step[1]), "total": int(step[2])}


def _said(error: DockerException) -> str:
    return str(error.explanation) if isinstance(error, APIError) and error.explanation else str(error)


def _pack(context: Path, out: IO[bytes]) -> None:
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(context, ".", filter=_root_owned)
    out.seek(0)


def _root_owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, "", ""
    return entry
