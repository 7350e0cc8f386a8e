"""One project on one target: what is deployed, and how its hosts are reached."""

from __future__ import annotations

import contextlib
import getpass
import importlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from provision import errors
from provision.hosts import SANDBOX, Ahead, ConnectEvent, HostConnection, HostSpec, connect, declared_hosts
from provision.platforms import Deployed, deployed
from provision.project.platforms import OVER_SSH
from provision.targets import sandbox
from provision.targets.conversation import Conversation, OnEvent
from provision.targets.pulled import Pulled
from provision.targets.questions import Questions
from provision.targets.secrets import of_services

if TYPE_CHECKING:
    from provision.contract.requests import SupervisorOptions
    from provision.project.loaded import LoadedProject
    from provision.project.schema import Once
    from provision.release import Release
    from provision.targets.fleet import Fleet
    from provision.targets.machines import Machines
    from provision.targets.signing import Signing


class Deployment:
    """One loaded project on one target.

    Args:
        on_event: called with each event, from any thread.
        who: who is named as the holder of locks and in the history; `user@machine` by default.
        ask: asks a person for a secret (a passphrase, sudo's password); None where nobody is there.
        ahead: a connection that was begun already; used if the target means its host.
    """

    def __init__(
        self,
        loaded: LoadedProject,
        target: str,
        *,
        on_event: OnEvent = lambda _: None,
        who: str | None = None,
        ask: Callable[[str], str] | None = None,
        ahead: Ahead | None = None,
    ) -> None:
        self.loaded = loaded
        self.target_name = target
        self.target = loaded.project.targets[target]
        self.on_event = on_event
        self.who = who or f"{getpass.getuser()}@{socket.gethostname()}"
        self._questions = Questions(ask)
        self._ahead = ahead
        self._building = threading.Lock()
        self._channel = ""
        self.again: tuple[str, ...] = ()
        self.done: tuple[str, ...] = ()
        self._pins = False
        self._pulled: Pulled | None = None
        self.expired: set[str] = set()  # previews that hosts told of, and that are wanted no more
        self.images: dict[str, str] = {}  # name and tag that are followed -> the digest that is deployed for it
        if not self.target.can.over_ssh:
            raise errors.UsageError(
                f"targets.{target}: platform {self.target.platform} has no hosts, which this is about.",
                next_step=f"name a target whose platform is one of: {', '.join(OVER_SSH)}",
            )

    def of(self, loaded: LoadedProject) -> Deployment:
        """Another form of the project, on the same hosts, told and asked for in the same way."""
        other = Deployment(loaded, self.target_name, on_event=self.on_event, who=self.who)
        other._questions = self._questions  # what a person has typed counts for both
        other.hosts = self.hosts
        return other

    @cached_property
    def platform(self) -> Deployed:
        """What runs the programs there. It knows manifests, so it comes with the release."""
        return deployed(self.target.platform)

    @cached_property
    def hosts(self) -> list[HostSpec]:
        """The target's machines, in the order in which they are declared."""
        target = self.target
        if target.provider:
            return self.machines.specs()
        if [entry.text for entry in target.hosts] == [SANDBOX]:
            return [sandbox.spec(self.loaded.root, self.on_event)]
        return declared_hosts(
            [entry.text for entry in target.hosts],
            self.loaded.root,
            identity=target.identity.text if target.identity else None,
            known_hosts=target.known_hosts,
            sudo=target.sudo,
        )

    @cached_property
    def machines(self) -> Machines:
        """Those that are rented for the target.

        Raises:
            UsageError: it rents none, or there is no key of an account.
        """
        from provision.targets.machines import Machines

        return Machines(self.loaded, self.target_name, self.on_event, connect=self.connect)

    @property
    def before(self) -> Deployment | None:
        """The hosts whose front leads to these machines; None where none does."""
        if self.target.front is None:
            return None
        other = Deployment(self.loaded, self.target.front.target, on_event=self.on_event, who=self.who)
        other._questions = self._questions
        return other

    @cached_property
    def fleet(self) -> Fleet:
        """The hosts of this run, as far as they bring one another what is large."""
        from provision.targets.fleet import Fleet

        return Fleet(self)

    def say_once(self, again: Sequence[str], done: Sequence[str]) -> None:
        """Say which commands that run once a release are to run again, and which are known to be done.

        Raises:
            UsageError: there is no such command.
        """
        known = self.runs_once
        for name in (*again, *done):
            if name not in known:
                raise errors.UsageError(
                    f"there is no once.{name} for target {self.target_name}.",
                    why=f"What runs once there: {', '.join(known)}." if known else "Nothing runs once there.",
                    next_step="deploy plan says what would run" if known else f"add [once.{name}] with a command",
                )
            if name in again and name in done:
                raise errors.UsageError(f"once.{name} can't be done and to be run again.")
        self.again, self.done = tuple(again), tuple(done)

    @property
    def runs_once(self) -> Mapping[str, Once]:
        """What runs there once for each release."""
        return self.loaded.project.once if self.target.once else {}

    @property
    def runner(self) -> HostSpec:
        """The host that runs what runs once a release: the first, whichever are deployed to."""
        return self.hosts[0]

    @property
    def release(self) -> Release:
        """What is deployed, built once, whichever thread asks first."""
        with self._building:
            return self._release

    @cached_property
    def signing(self) -> Signing | None:
        """Whose evidence counts here, and who signs it; None where the project has no evidence.pub.

        Raises:
            UsageError: a key cannot be read.
        """
        if not (self.loaded.root / "evidence.pub").exists():
            return None
        from provision.targets.signing import Signing

        return Signing.beside(self.loaded.root)

    def build_ahead(self, channel: str = "", *, pins: bool = False) -> None:
        """Build the release while hosts are being connected to: those mostly wait for the network.

        Args:
            channel: that the release is for: images are then what their tags stand for. Who only looks names none, and
                needs no registry.
            pins: whether deploy.lock is made anew where it is older than what it is made from.
        """
        self._channel = channel
        self._pins = pins

        def build() -> None:
            importlib.import_module("provision.hosts.handshake")  # first what makes the network work meanwhile
            # Whoever needs the release asks again, and gets the error.
            with contextlib.suppress(errors.DeployError):
                self.release  # noqa: B018

        threading.Thread(target=build, daemon=True, name="build the release").start()

    @cached_property
    def _release(self) -> Release:
        from provision.targets.making import make

        release, self.images = make(
            self.loaded, self.target_name, self._channel, pins=self._pins, on_event=self.on_event
        )
        return release

    @property
    def pulled(self) -> Pulled:
        """The images that the release's containers are made of."""
        release = self.release
        with self._building:
            if self._pulled is None:
                self._pulled = Pulled(release, self.platform)
            return self._pulled

    @cached_property
    def secrets(self) -> dict[str, str]:
        """Today's values of the secrets that this target's services name. Raises as `secrets.of_services`."""
        return of_services(self.loaded, self.release.document)

    @property
    def for_uv(self) -> dict[str, str]:
        """What uv is given for this project's environment, besides its surroundings."""
        from provision.release.environment import for_uv

        python = self.loaded.project.python
        return for_uv(python, self.loaded.root, self.loaded.secrets) if python else {}

    @property
    def supervisor(self) -> SupervisorOptions:
        """How the agent finds the supervisor."""
        target = self.target
        return {
            "config": target.supervisor_config or "",
            "user_units": target.user_units,
            "take_over": list(target.take_over),
        }

    @property
    def wants_gpus(self) -> bool:
        """Whether it decides anything which GPUs there are."""
        services = self.loaded.project.services.values()
        return any(service.resources.devices for service in services)

    @contextlib.contextmanager
    def phase(self, host: str, name: str) -> Iterator[None]:
        """Tell that a phase begins and, if it comes to its end, that it ended."""
        began = time.monotonic()
        self.on_event({"event": "phase", "host": host, "phase": name, "state": "begin"})
        yield
        seconds = round(time.monotonic() - began, 3)
        self.on_event({"event": "phase", "host": host, "phase": name, "state": "end", "seconds": seconds})

    def connect(self, spec: HostSpec) -> HostConnection:
        """A host, connected, without an agent."""
        ahead = self._ahead.take(spec) if self._ahead else None
        return ahead or connect(spec, on_event=self._connecting, ask_passphrase=self._questions.passphrase)

    def converse(
        self, connection: HostConnection, spec: HostSpec, *, install: bool, take_over: str = ""
    ) -> Conversation:
        """The agent, running on a connected host; `install` keeps it there.

        Args:
            take_over: the project whose place this one takes.
        """
        return Conversation(
            connection,
            self.target.path,
            who=self.who,
            project=self.loaded.project.name,
            take_over=take_over,
            python=self.target.python,
            install=install,
            sudo_password=self._questions.sudo_password(connection, spec.name) if spec.sudo else None,
            on_event=self._hear if self.target.provider else self.on_event,
        )

    def _hear(self, event: dict[str, Any]) -> None:
        self.machines.learn(event)
        self.on_event(event)

    def _connecting(self, event: ConnectEvent) -> None:
        if event.what == "retrying":
            self.on_event({"event": "warning", "host": event.host, "text": f"trying again: {event.detail}"})
