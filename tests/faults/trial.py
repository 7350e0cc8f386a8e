"""Two releases on a real host, transactions between them that are killed, and what must be true afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from provision import rollout
from tests.deploy.world import World, web
from tests.testbed.tracing import MUTATING

# With every way to make a process: the calls between two commands that a worker runs.
EVERY_CALL = MUTATING + ",?fork,?vfork,?clone,?clone3"
_ON_HOST = "/root/on_host.py"
_TOKEN = 'it\'s a "secret"'


@dataclass(frozen=True)
class Kill:
    """SIGKILL at the call number `when` among `calls`, of those alone that concern `paths` where any are given."""

    calls: str = EVERY_CALL
    when: int = 1
    paths: tuple[str, ...] = ()

    def request(self, place: dict[str, str]) -> dict[str, Any]:
        return {"calls": self.calls, "when": self.when, "paths": [path.format(**place) for path in self.paths]}


def rollback_to(release: str, platform: str) -> dict[str, Any]:
    """What a worker is asked, to bring stable to a release that is there."""
    return {
        "kind": "rollback",
        "channel": "stable",
        "release": release,
        "generation": None,
        "steps": None,
        "secrets": {},
        "platform": platform,
        "supervisor": {},
        "logins": {},
        "gpus": False,
        "keep": 3,
    }


@dataclass
class Trial:
    """A host that holds version 1 and version 2 of a project, and goes from one to the other.

    `model` is the same in both; `web` is proven beside the old one; `task` is switched in place; `extra` is in
    version 2 alone; `last` comes after all others, and fails where the file `fail-VERSION` lies on the host.
    """

    world: World
    releases: dict[str, str] = field(default_factory=dict)  # release -> version
    model_pid: int = 0

    def prepare(self) -> None:
        """Bring both versions to the host, the usual way."""
        self.world.host.write(_ON_HOST, Path(__file__).with_name("on_host.py").read_bytes())
        for version in "21":
            self.declare(version)
            self.releases[self.world.up().plan.release] = version
        self.model_pid = self.look()["answers"][str(self.world.port + 1)][2]

    def declare(self, version: str, **more: Any) -> None:
        place = self.world.name

        def env(service: str, version: str = version) -> dict[str, str]:
            return {"VERSION": version, "SERVICE": service, "PLACE": place}

        fast = {"http": "/health", "timeout": "20s", "interval": "20ms", "passes": 1}
        serve = ["sh", "-c", f'test -e {self._failing(version)} && exit 7; exec python3 server.py "$1"', "sh"]
        port = self.world.port
        services: dict[str, dict[str, Any]] = {
            "model": web(port + 1, env=env("model", "0"), paths=[], check=fast),
            "web": web(port, env=env("web"), check=fast, secrets=["TOKEN"]),
            "task": web(port + 2, env=env("task"), check=fast, switch="in-place"),
            "last": web(
                port + 3,
                command=[*serve, "${port}"],
                env=env("last"),
                check=fast,
                switch="in-place",
                after=["web", "task"],
            ),
        }
        if version == "2":
            services["extra"] = web(port + 4, env=env("extra"), check=fast)
        services["web"] |= more
        did = f"{self.world.path}/shared/did"
        once = {"command": ["sh", "-c", f"echo up >>{did}"], "undo": ["sh", "-c", f"echo down >>{did}"]}
        sections = {} if self.world.platform == "docker" else {"once.migrate": once}  # which containers have not
        self.world.declare(services, env=f"TOKEN='{_TOKEN}'\n".replace("it's", "it\\'s"), **sections)

    # --- acting ----------------------------------------------------------------------------------------------------

    def fail(self, version: str, *, really: bool = True) -> None:
        """Let that version fail at its last service, from now on or no more."""
        file = self._failing(version)
        self.world.host.exec(["touch", file] if really else ["rm", "-f", file])

    def _failing(self, version: str) -> str:
        """The file that lets a version fail, where a container sees it as well."""
        shared = "/shared/data" if self.world.platform == "docker" else ""
        return f"{self.world.path}{shared}/fail-{version}"

    def kill(
        self,
        to: str,
        kill: dict[str, Any],
        recovery: dict[str, Any] | None = None,
        *,
        recover: bool = True,
        agent: str = "",
        asked: Mapping[str, Any] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Go to a version, be killed, recover (killed once where asked for), recover again; all that was seen.

        Args:
            recover: whether to; without, the host is left as the kill left it.
            agent: the folder of the agent that is killed, where it is not the newest.
            asked: what the transaction is asked besides going there, or instead.
        """
        transaction = {**self._transaction(to), **asked}
        request = {**self._request(), "transaction": transaction, "kill": kill, "recover": recover}
        if recovery is not None:
            request["recovery"] = recovery
        if agent:
            request["agent"] = agent
        return self._run("try", request)

    def go(self, to: str) -> None:
        """Be at a version, whole."""
        if self.version != to:
            self.assert_whole(self.kill(to, {"after": 60.0})["after"], to)

    def did(self) -> list[str]:
        """What the command that runs once has done so far, and what undoes it."""
        return self.world.host.exec(["cat", f"{self.world.path}/shared/did"]).stdout.split()

    def mend(self) -> None:
        """What whoever reads `deploy status` is told to do."""
        if self.world.platform == "docker":  # an engine that comes back has ended its containers
            self.declare(self.version)
            self.world.up()
        else:
            rollout.unlock(self.world.deployment(), yes=True)

    def look(self) -> dict[str, Any]:
        return self._run("look", self._request())

    @property
    def version(self) -> str:
        """The version that stable points to."""
        return self.releases[self.world.stable]

    @property
    def other(self) -> str:
        return {"1": "2", "2": "1"}[self.version]

    def place(self) -> dict[str, str]:
        """Names for the paths of a `Kill`."""
        state = self.world.state()
        folders = {"systemd": "/etc/systemd/system", "supervisord": "/etc/supervisor/conf.d"}
        return {
            "root": self.world.path,
            "folder": folders.get(self.world.platform, f"{self.world.path}/.deploy/containers"),
            "private": f"{self.world.path}/.deploy",
            "web": f"{self.world.path}/.deploy/run/{self.world.program('web')}",
            "candidate": f"{self.world.path}/.deploy/run/{self.world.program('web', 'candidate')}",
            "candidate_manifest": self.manifest("web", "candidate"),
            "manifest": self.manifest("extra"),
            "next": f"{state['sequence'] + 1:08d}",
        }

    def manifest(self, service: str, lane: str = "") -> str:
        program = self.world.program(service, lane)
        if self.world.platform == "docker":
            return f"{program}.json"
        return program if self.world.platform == "systemd" else f"{self.world.name}.{program}.conf"

    def _request(self) -> dict[str, Any]:
        world = self.world
        return {
            "root": world.path,
            "header": {"who": "fault test", "version": "", "project": world.name, "take_over": ""},
            "name": world.name,
            "platform": world.platform,
            "prefix": f"{world.name}-",
            "ports": [world.port, world.port + 1, world.port + 20000],
        }

    def _transaction(self, to: str) -> dict[str, Any]:
        release = next(release for release, version in self.releases.items() if version == to)
        return rollback_to(release, self.world.platform)

    def _run(self, verb: str, request: dict[str, Any]) -> dict[str, Any]:
        ran = self.world.host.exec(["python3", "-I", _ON_HOST, verb], stdin=json.dumps(request), timeout=120)
        return dict(json.loads(ran.stdout))

    # --- judging ---------------------------------------------------------------------------------------------------

    def assert_safe(self, seen: dict[str, Any], proven: set[str]) -> None:
        """In the middle, too: stable is a version that was proven, and what nobody touched still runs."""
        assert self.releases[seen["stable"]] in proven
        assert seen["answers"][str(self.world.port + 1)][2:] == [self.model_pid]

    def assert_whole(self, seen: dict[str, Any], version: str) -> None:
        """Exactly this version serves; link, state, history and supervisor agree, and nothing else is left."""
        world = self.world
        services = ["model", "web", "task", "last", *(["extra"] if version == "2" else [])]
        programs = sorted(world.program(service) for service in services)
        state = seen["state"]
        found = {
            "stable": self.releases[seen["stable"]],
            "state": self.releases[state["channels"]["stable"]],
            "history": (seen["history"]["sequence"], seen["history"]["channels"]),
            "journal": seen["journal"],
            "web": seen["answers"][str(world.port)][:2],
            "model": seen["answers"][str(world.port + 1)][2:],
            "candidate": seen["answers"][str(world.port + 20000)],
            "running": seen["running"],
            "state programs": sorted(state["programs"]),
            "known": seen["known"],
            "manifests": seen["manifests"],
            "launches": seen["launches"],
            "litter": seen["litter"],
        }
        meant = {
            "stable": version,
            "state": version,
            "history": (state["sequence"], state["channels"]),
            "journal": None,
            "web": [version, _TOKEN],
            "model": [self.model_pid],
            "candidate": [],
            "running": sorted(f"{service} {'0' if service == 'model' else version}" for service in services),
            "state programs": programs,
            "known": programs,
            "manifests": sorted(self.manifest(service) for service in services),
            "launches": {name: sorted(["current", program["launch"]]) for name, program in state["programs"].items()},
            "litter": [],
        }
        wrong = {key: {"found": found[key], "meant": meant[key]} for key in meant if found[key] != meant[key]}
        assert not wrong, json.dumps(wrong, indent=1)
