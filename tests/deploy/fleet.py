"""One front for many machines: a small host, those behind it, and a project that declares both."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision import rollout
from provision.project import load
from provision.targets import Deployment, HostOutcome
from tests.deploy.world import SERVER, toml, web
from tests.testbed import TestHost

PATH = "/workspace/fleet"
PORT = 8000


@dataclass
class Fleet:
    """`host` is the front's, so that a fleet has visitors as a world has."""

    folder: Path
    host: TestHost
    machines: list[TestHost]
    port: int = PORT
    image: str = ""  # of containers, where all of them are docker hosts
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(SERVER, self.folder / "server.py")
        pins = [f"{each.address} {each.host_key}\n" for each in (self.host, *self.machines)]
        (self.folder / "known_hosts").write_text("".join(pins))

    def declare(
        self,
        version: str = "1",
        hold: str = "60s",
        front: dict[str, Any] | None = None,
        services: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Write deploy.toml: the edge runs nothing of its own, and leads to the others."""
        declared = {"web": web(PORT, version, **more), **(services or {})}
        project = {"name": "fleet", **({"image": self.image} if self.image else {})}
        sections: dict[str, Any] = {"project": project}
        sections |= {f"services.{name}": service for name, service in declared.items()}
        for name, hosts in (("edge", [self.host]), ("gpu", self.machines)):
            sections[f"targets.{name}"] = {
                "platform": "docker" if self.image else "supervisord",
                "hosts": [f"{each.user}@{each.address}" for each in hosts],
                "identity": str(self.host.identity),
                "path": PATH,
                **({"services": []} if name == "edge" else {}),
            }
            sections[f"targets.{name}.traffic"] = {"hold": hold} if name == "edge" else {}
        sections["targets.gpu.rollout"] = {"canary": 1, "batch": 1}
        sections["targets.gpu.front"] = {"target": "edge", **(front or {})}
        text = ""
        for section, values in sections.items():
            text += f"[{section}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items()) + "\n"
        (self.folder / "deploy.toml").write_text(text)

    def deployment(self, target: str = "gpu", **more: Any) -> Deployment:
        """As a verb has it."""
        self.events.clear()
        return Deployment(load(self.folder, environ={}, target=target), target, on_event=self.events.append, **more)

    def up(self, target: str = "gpu", **more: Any) -> list[HostOutcome]:
        return rollout.up(self.deployment(target), **more)

    def peers(self) -> dict[str, bool]:
        """Whether each machine is given requests, by its address, as the front's state has it."""
        return {each["address"]: each["takes"] for each in self.places().values()}

    def places(self) -> dict[str, Any]:
        """The machines that the front knows, by the place that each has there."""
        (status,) = rollout.status(self.deployment("edge"))
        return dict(status.project["state"].get("peers", {}))

    def kill(self, host: TestHost, *names: str) -> None:
        """End processes of a host by their programs' names, all at once, with no way to say goodbye."""
        for name in names:
            for pid in host.exec(["pgrep", "-x", name], check=False).stdout.split():
                host.exec(["kill", "-9", pid], check=False)
