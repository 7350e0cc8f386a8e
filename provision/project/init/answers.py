"""What a first `deploy.toml` is written from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from provision.project.init.apps import App
from provision.project.init.packages import Packages
from provision.project.init.sources import Source
from provision.project.platforms import DEFAULT, PLATFORMS


@dataclass(frozen=True)
class Answers:
    """What `deploy init` asks, or finds by itself.

    Attributes:
        model: a GGUF file, relative to the project.
        worker: a module that works on a queue.
        packages: what names the packages that the project needs.
        ships: the host has no index, so they are collected here and shipped.
        host: where to deploy, as `hosts` in a target has it.
        traffic: HAProxy can be had there.
        server: the llama-server that the host's image brings.
        rights: the key of the target that lets one who is not root have services there: "sudo", "user_units" or none.
        image: what containers are made of, by digest; for the platform docker.
    """

    name: str
    app: App | None = None
    model: str | None = None
    worker: Source | None = None
    packages: Packages | None = None
    ships: bool = False
    host: str = "root@${VAST_HOST}:${VAST_PORT}"
    identity: str = "${VAST_SSH_KEY}"
    platform: str = DEFAULT
    rights: str = ""
    path: str | None = None
    image: str | None = None
    server: str | None = None
    traffic: bool = True

    @property
    def is_fronted(self) -> bool:
        """Whether something can stand before its services: one takes the port that it is told."""
        told = self.app and any("${port}" in text for text in (*self.app.command, *self.app.env.values()))
        return self.traffic and PLATFORMS[self.platform].on_host and bool(self.model or told)

    @property
    def notes(self) -> Iterator[str]:
        """What has to be added before it runs, or runs well."""
        if not self.app:
            if not self.model:
                yield "nothing was found that starts here: say what does, as the command of services.web"
            return
        if self.app.needs and not self.packages:
            yield f'add requirements.txt with {self.app.needs}, and [python] requirements = "requirements.txt"'
        elif self.app.needs and self.packages and self.app.needs not in self.packages.names:
            yield f"add {self.app.needs} to {self.packages.file}: it starts the {self.app.kind}"
