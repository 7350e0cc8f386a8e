"""A project in a folder, a real host, and what is deployed from one to the other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision import rollout
from provision.project import load
from provision.targets import Deployment, HostOutcome, Interrupt
from tests.testbed import TestHost

# A service that tells which release it is, what it was given, and can be made to fail in every way.
SERVER = Path(__file__).with_name("server.py")


def toml(value: object) -> str:
    """A TOML value, on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def web(port: int, version: str = "1", **more: Any) -> dict[str, Any]:
    """A web service on `port`."""
    service: dict[str, Any] = {
        "command": ["python3", "server.py", "${port}"],
        "port": port,
        "env": {"VERSION": version},
        "check": {"http": "/health", "timeout": "15s", "interval": "50ms"},
    }
    return {**service, **more}


@dataclass
class World:
    """One project folder and one host (`path` and ports of its own, so that tests can share a host)."""

    folder: Path
    host: TestHost
    platform: str
    path: str
    port: int
    name: str
    user: str = ""
    target: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    project: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(SERVER, self.folder / "server.py")
        (self.folder / "known_hosts").write_text(f"{self.host.address} {self.host.host_key}\n")

    # --- declaring -------------------------------------------------------------------------------------------------

    def declare(self, services: Mapping[str, Mapping[str, Any]], env: str = "", **more: Any) -> None:
        """Write deploy.toml and .env."""
        target = {
            "platform": self.platform,
            "hosts": [f"{self.user or self.host.user}@{self.host.address}"],
            "identity": str(self.host.identity),
            "path": self.path,
            **self.target,
        }
        sections: dict[str, Any] = {"project": {"name": self.name, **self.project}}
        sections |= {f"services.{name}": service for name, service in services.items()}
        sections |= {"targets.here": target, **more}
        text = ""
        for section, values in sections.items():
            text += f"[{section}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items()) + "\n"
        (self.folder / "deploy.toml").write_text(text)
        (self.folder / ".env").write_text(env)

    def web(self, version: str = "1", **more: Any) -> None:
        """Declare one web service."""
        self.declare({"web": web(self.port, version, **more)})

    def deployment(self, **more: Any) -> Deployment:
        self.events.clear()
        loaded = load(self.folder, environ={}, target="here")
        return Deployment(loaded, "here", on_event=self.events.append, **more)

    def program(self, service: str, lane: str = "") -> str:
        """What the supervisor calls a service."""
        lane = f".{lane}" if lane else ""
        if self.platform == "systemd":
            return f"{self.name}-{service}{lane}.service"
        if self.platform == "docker":
            return f"{self.name}-{service}{lane}"
        return f"{self.target.get('name_prefix', '')}{service}{lane}"

    # --- acting ----------------------------------------------------------------------------------------------------

    def up(self, channel: str = "stable", interrupt: Interrupt | None = None, **more: Any) -> HostOutcome:
        said = {key: more.pop(key) for key in ("again", "done") if key in more}
        return rollout.up(self.deployment(**more), channel, interrupt, **said)[0]

    def up_after_repair(self) -> str:
        """What serves after a next `up` of a good release, without any cleaning by hand."""
        self.web("1")
        self.up()
        return self.version

    def promote(self) -> HostOutcome:
        return rollout.promote(self.deployment())[0]

    def rollback(self, to: str = "") -> HostOutcome:
        return rollout.rollback(self.deployment(), to)[0]

    def down(self, channel: str = "") -> HostOutcome:
        return rollout.down(self.deployment(), channel)[0]

    def status(self) -> rollout.HostStatus:
        return rollout.status(self.deployment())[0]

    # --- seeing ----------------------------------------------------------------------------------------------------

    def get(self, path: str = "/", port: int | None = None) -> dict[str, Any]:
        """What the service on the host answers."""
        ran = self.host.exec(["curl", "-fsS", "-m", "15", f"http://127.0.0.1:{port or self.port}{path}"])
        return dict(json.loads(ran.stdout))

    def answers(self, port: int | None = None) -> bool:
        ran = self.host.exec(["curl", "-fsS", "-m", "5", f"http://127.0.0.1:{port or self.port}/health"], check=False)
        return ran.returncode == 0

    @property
    def version(self) -> str:
        """What serves now."""
        return str(self.get()["version"])

    @property
    def stable(self) -> str:
        """Where the stable link points."""
        ran = self.host.exec(["readlink", f"{self.path}/stable"], check=False)
        return ran.stdout.strip().rpartition("/")[2]

    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.host.read(f"{self.path}/.deploy/state.json")))

    def exists(self, path: str) -> bool:
        return self.host.exec(["test", "-e", f"{self.path}/{path}"], check=False).returncode == 0

    def pid(self, service: str, lane: str = "") -> int:
        return int(self.status().project["view"]["programs"][self.program(service, lane)]["pid"])

    def do(self, outcome: HostOutcome) -> dict[str, str]:
        """Service -> what was to be done with it, stable ones alone."""
        return {step.service: step.do for step in outcome.plan.steps if step.lane == "stable"}

    def checks(self) -> list[str]:
        return [event["check"] for event in self.events if event["event"] == "check" and event["passed"]]

    @contextmanager
    def held(self, script: str, path: str, user: str = "root") -> Iterator[None]:
        """While a process on the host runs `script`, which says a word about `path` once it has it."""
        command = self.host.inside(["sh", "-ec", script, "sh", path], user=user)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            try:
                yield
            finally:
                process.kill()

    @contextmanager
    def cli(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """`deploy …` in the project's folder, as a process of its own."""
        import sys

        process = subprocess.Popen(
            [sys.executable, "-m", "provision.cli", *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
