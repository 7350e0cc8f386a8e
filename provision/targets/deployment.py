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
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from provision import errors
from provision.contract.slots import FIRST, services_in
from provision.hosts import SANDBOX, Ahead, ConnectEvent, HostConnection, HostSpec, connect, declared_hosts
from provision.platforms import Deployed, deployed
from provision.project.fault import dotted
from provision.project.platforms import OVER_SSH
from provision.targets import sandbox
from provision.targets.conversation import Conversation, OnEvent
from provision.targets.questions import Questions

if TYPE_CHECKING:
    from provision.contract.release import OnceDocument, PrepareDocument
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
        self._asking = threading.Lock()
        self._labels: dict[tuple[str, str], dict[str, str]] = {}
        self._channel = ""
        self.again: tuple[str, ...] = ()
        self.done: tuple[str, ...] = ()
        self._pins = False
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

    def follow(self, channel: str) -> None:
        """Say that the release is for `channel`, before it is built: images are then what their tags stand for.

        Who only looks does not say so, and needs no registry.
        """
        self._channel = channel

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
            channel: as `follow` takes it.
            pins: whether deploy.lock is made anew where it is older than what it is made from.
        """
        self.follow(channel)
        self._pins = pins

        def build() -> None:
            importlib.import_module("provision.hosts.handshake")  # first what makes the network work meanwhile
            # Whoever needs the release asks again, and gets the error.
            with contextlib.suppress(errors.DeployError):
                self.release  # noqa: B018

        threading.Thread(target=build, daemon=True, name="build the release").start()

    @cached_property
    def _release(self) -> Release:
        from provision.release import Hashing, build

        def hashing(event: Hashing) -> None:
            self.on_event(
                {
                    "event": "progress",
                    "host": "",
                    "phase": "hash",
                    "file": event.path.name,
                    "done": event.done,
                    "total": event.total,
                    "unit": "bytes",
                }
            )

        project = self.loaded.project
        if self._channel and not self.target.can.on_host:
            from provision.targets.following import followed

            project, self.images = followed(project, self.target, self._channel)
        self._pin()
        try:
            release = build(project, self.target_name, self.loaded.root, on_event=hashing)
        except errors.UnencodableValue as refusal:
            raise self._refused(refusal) from None
        exposed = (f"{dotted(each.path)}: {each.message} See: deploy check" for each in self.loaded.suspects)
        for text in (*exposed, *release.warnings):
            self.on_event({"event": "warning", "host": "", "text": text})
        for each in release.libraries:
            names = ", ".join(PurePosixPath(file).name for file in each.files)
            brings = f"{each.binary} brings the libraries beside it: {names}"
            self.on_event({"event": "message", "host": "", "phase": "ship", "text": brings})
        return release

    def _pin(self) -> None:
        """Make deploy.lock where it is stale, for a deploy; who only looks is told."""
        python, root = self.loaded.project.python, self.loaded.root
        if python is None or python.source == "host" or not self.target.can.on_host:
            return
        from provision.release import lock

        if self._pins:
            lock.renew(python, root, self.for_uv, self.on_event)
        elif stale := lock.read(python, root).stale:
            text = f"{stale}: deploy up makes it anew first, and its environment is then another"
            self.on_event({"event": "warning", "host": "", "text": text})

    def _refused(self, refusal: errors.UnencodableValue) -> errors.DeclarationError:
        """Every value that the target's files cannot hold, with its place."""
        from provision.manifests.refusals import refusals
        from provision.project.located import declaration_error

        loaded = self.loaded
        found = refusals(loaded.project, [self.target], loaded.root, loaded.secrets)
        return declaration_error(found or [refusal], loaded.declaration)

    @cached_property
    def logins(self) -> dict[str, str]:
        """By registry, what lets a host's engine pull from it: for one transaction, and never kept there.

        Raises:
            UsageError: the credentials at hand are not usable.
        """
        if not self.pulled:
            return {}
        from provision.images.registry.logins import logins

        return logins(self.pulled)

    @property
    def pulled(self) -> list[str]:
        """The images that the release's containers are made of."""
        services = self.release.document["lanes"]["stable"]["services"]
        return [image for service in services if (image := self.platform.image(service["manifest"]["text"]))]

    def labels(self, image: str, machine: str) -> dict[str, str]:
        """What an image says of itself, asked of its registry, once for all hosts of a kind.

        Raises:
            RegistryFailed, Refused: the registry does not say.
        """
        from provision.images.registry.labels import labels
        from provision.images.registry.reference import parse
        from provision.images.registry.repository import connect

        with self._asking:
            if (image, machine) not in self._labels:
                reference = parse(image)
                repository = connect(reference, write=False)
                self._labels[image, machine] = labels(repository, repository.get(reference.digest), machine)
            return self._labels[image, machine]

    @cached_property
    def secrets(self) -> dict[str, str]:
        """Today's values of the secrets that this target's services name; of those that were not asked for, none.

        Raises:
            DeclarationError: one is nothing that its service can be given.
        """
        from provision.manifests.secret_values import secret_refusals

        services = services_in(self.release.document, FIRST)
        names = {name for service in services for name in service["secrets"]}
        found = [*secret_refusals(self.loaded.project, self.loaded.secrets)]
        if found:
            from provision.project.located import declaration_error

            raise declaration_error(found, self.loaded.declaration)
        return {name: str(self.loaded.secrets[name]) for name in names if name in self.loaded.secrets}

    @property
    def prepare_secrets(self) -> dict[str, str]:
        """Today's values of the secrets that the prepare step is given, and of the variables made of them."""
        return self._given(self.release.document["prepare"])

    @property
    def once_secrets(self) -> dict[str, dict[str, str]]:
        """The same of each command that runs once a release."""
        return {name: self._given(step) for name, step in self.release.document.get("once", {}).items()}

    def _given(self, step: PrepareDocument | OnceDocument | None) -> dict[str, str]:
        if not step:
            return {}
        made = step.get("env_of_secrets", {})
        values = {name: str(self.loaded.secrets[name]) for name in step["secrets"] if name not in made}
        for name, parts in made.items():
            values[name] = "".join(part if isinstance(part, str) else values[part["secret"]] for part in parts)
        return values

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
