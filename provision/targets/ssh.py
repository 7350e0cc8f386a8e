"""One project on one target, and what is done on each of its hosts: connect, look, plan, ship, transact."""

from __future__ import annotations

import contextlib
import getpass
import importlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision import errors, plan
from provision.hosts import SANDBOX, Ahead, ConnectEvent, HostConnection, HostSpec, connect, declared_hosts
from provision.targets import sandbox
from provision.targets.conversation import Conversation, Event, Interrupt, OnEvent
from provision.targets.ship import Shipment, ship_files, ship_models

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject
    from provision.release import Release

_SSH_PLATFORMS = ("supervisord", "systemd", "docker")


@dataclass(frozen=True)
class HostOutcome:
    """What became of one host."""

    host: str
    outcome: str  # committed, unchanged, planned
    plan: plan.Plan
    seconds: float = 0.0
    round_trips: dict[str, dict[str, int]] = field(default_factory=dict)


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
        self._ask = ask
        self._ahead = ahead
        self._passwords: dict[str, str] = {}
        self._asking = threading.Lock()
        self._building = threading.Lock()
        if self.target.platform not in _SSH_PLATFORMS:
            raise errors.UsageError(
                f"targets.{target}: platform {self.target.platform} can't be deployed to yet",
                next_step=f"use one of: {', '.join(_SSH_PLATFORMS)}",
            )

    @cached_property
    def hosts(self) -> list[HostSpec]:
        """The target's machines, in the order in which they are declared."""
        target = self.target
        if [entry.text for entry in target.hosts] == [SANDBOX]:
            return [sandbox.spec(self.loaded.root)]
        return declared_hosts(
            [entry.text for entry in target.hosts],
            self.loaded.root,
            identity=target.identity.text if target.identity else None,
            known_hosts=target.known_hosts,
            sudo=target.sudo,
        )

    @property
    def release(self) -> Release:
        """What is deployed, built once, whichever thread asks first."""
        with self._building:
            return self._release

    def build_ahead(self) -> None:
        """Build the release while hosts are being connected to: those mostly wait for the network."""

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

        try:
            release = build(self.loaded.project, self.target_name, self.loaded.root, on_event=hashing)
        except errors.UnencodableValue as refusal:
            raise self._refused(refusal) from None
        for text in release.warnings:
            self.on_event({"event": "warning", "host": "", "text": text})
        return release

    def _refused(self, refusal: errors.UnencodableValue) -> errors.DeclarationError:
        """Every value that the target's files cannot hold, with its place."""
        from provision.manifests.refusals import refusals
        from provision.project.located import declaration_error

        loaded = self.loaded
        found = refusals(loaded.project, [self.target], loaded.root, loaded.secrets)
        return declaration_error(found or [refusal], loaded.file)

    @cached_property
    def logins(self) -> dict[str, str]:
        """By registry, what lets a host's engine pull from it: for one transaction, and never kept there.

        Raises:
            UsageError: the credentials at hand are not usable.
        """
        if str(self.target.platform) != "docker":
            return {}
        from provision.images.registry.logins import logins

        services = self.release.document["lanes"]["stable"]["services"]
        return logins(json.loads(service["manifest"]["text"])["Image"] for service in services)

    @cached_property
    def secrets(self) -> dict[str, str]:
        """Today's values of the secrets that this target's services name.

        Raises:
            DeclarationError: one is nothing that its service can be given.
        """
        from provision.manifests.secret_values import secret_refusals

        services = self.release.document["lanes"]["stable"]["services"]
        names = {name for service in services for name in service["secrets"]}
        found = [*secret_refusals(self.loaded.project, self.loaded.secrets)]
        if found:
            from provision.project.located import declaration_error

            raise declaration_error(found, self.loaded.file)
        return {name: str(self.loaded.secrets[name]) for name in names}

    @property
    def supervisor(self) -> dict[str, Any]:
        """How the agent finds the supervisor."""
        return {"config": self.target.supervisor_config or "", "user_units": self.target.user_units}

    @property
    def wants_gpus(self) -> bool:
        """Whether GPU memory decides anything."""
        services = self.loaded.project.services.values()
        return any(service.resources.vram or service.resources.gpus for service in services)

    @contextlib.contextmanager
    def session(self, spec: HostSpec, *, install: bool = False) -> Iterator[HostSession]:
        """A host, connected, with the agent running on it.

        Args:
            install: keep the agent there; for what changes the host.
        """
        began = time.monotonic()
        with self.phase(spec.name, "connect"):
            connection = self._connect(spec)
        with connection, self._converse(connection, spec, install=install) as conversation:
            yield HostSession(self, spec, connection, conversation, began)

    @contextlib.contextmanager
    def connection(self, spec: HostSpec) -> Iterator[HostConnection]:
        """A host, connected, without an agent."""
        with self._connect(spec) as connection:
            yield connection

    @contextlib.contextmanager
    def phase(self, host: str, name: str) -> Iterator[None]:
        """Tell that a phase begins and, if it comes to its end, that it ended."""
        began = time.monotonic()
        self.on_event({"event": "phase", "host": host, "phase": name, "state": "begin"})
        yield
        seconds = round(time.monotonic() - began, 3)
        self.on_event({"event": "phase", "host": host, "phase": name, "state": "end", "seconds": seconds})

    def _connect(self, spec: HostSpec) -> HostConnection:
        ahead = self._ahead.take(spec) if self._ahead else None
        return ahead or connect(spec, on_event=self._connecting, ask_passphrase=self._passphrase)

    def _converse(self, connection: HostConnection, spec: HostSpec, *, install: bool) -> Conversation:
        return Conversation(
            connection,
            self.target.path,
            who=self.who,
            python=self.target.python,
            install=install,
            sudo_password=self._sudo_password(connection, spec) if spec.sudo else None,
            on_event=self.on_event,
        )

    def _sudo_password(self, connection: HostConnection, spec: HostSpec) -> str:
        """What sudo asks for on this host; empty where it asks for nothing."""
        if connection.run(["sudo", "-n", "true"], timeout=20).rc == 0:
            return ""
        if self._ask is None:
            raise errors.Refused(
                "sudo asks for a password, and nobody is there to type it.",
                host=spec.name,
                next_step="run this in a terminal, or allow the login user NOPASSWD in sudoers",
            )
        with self._asking:
            if spec.name not in self._passwords:
                self._passwords[spec.name] = self._ask(f"sudo password on {spec.name}: ")
            return self._passwords[spec.name]

    def _passphrase(self, identity: Path) -> str:
        with self._asking:
            if str(identity) not in self._passwords:
                if self._ask is None:
                    raise errors.UsageError(f"{identity} needs a passphrase", next_step=f"ssh-add {identity}")
                self._passwords[str(identity)] = self._ask(f"passphrase of {identity}: ")
            return self._passwords[str(identity)]

    def _connecting(self, event: ConnectEvent) -> None:
        if event.what == "retrying":
            self.on_event({"event": "warning", "host": event.host, "text": f"trying again: {event.detail}"})


class HostSession:
    """What a deployment does on one connected host."""

    def __init__(
        self,
        deployment: Deployment,
        spec: HostSpec,
        connection: HostConnection,
        conversation: Conversation,
        began: float,
    ) -> None:
        self.deployment = deployment
        self.spec = spec
        self.connection = connection
        self.conversation = conversation
        self._began = began

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase on this host; its round trips are counted under its name."""
        with self.deployment.phase(self.spec.name, name), self.connection.round_trips.phase(name):
            yield

    def facts(self, *, claim: bool = False, **more: Any) -> Event:
        """What the host is and has, in one call.

        Args:
            claim: keep others from deploying this project while this session lives.
            more: what is wanted besides the project (`host`, `gpus`), and of which channels the documents.
        """
        deployment = self.deployment
        with self.phase("facts"):
            return self.conversation.ask(
                "facts",
                claim=claim,
                platform=str(deployment.target.platform),
                supervisor=deployment.supervisor,
                **{"gpus": deployment.wants_gpus, **more},
            )

    def plan_up(self, channel: str, *, claim: bool = False, show_files: bool = False) -> plan.Plan:
        """Plan to bring the deployment's release to `channel`."""
        release = self.deployment.release
        other = "canary" if channel == "stable" else "stable"
        facts = self.facts(
            claim=claim,
            nonce=_nonce(release),
            documents=[other],
            have=[release.id],
            files_of=channel if show_files else None,
        )["project"]
        paths = {file.path: file.sha256 or file.target for file in release.files} | release.document["links"]
        return plan.plan(
            "up",
            channel,
            facts,
            document=release.document,
            release=release.id,
            secrets=self.deployment.secrets,
            paths=paths if show_files else None,
        )

    def plan_move(self, kind: str, *, release: str = "", channel: str = "stable", claim: bool = False) -> plan.Plan:
        """Plan a promotion, a rollback or a removal: releases that are on the host already."""
        wanted = {"promote": ["canary"], "rollback": [release or "previous", "canary"]}.get(kind, ["stable", "canary"])
        facts = self.facts(claim=claim, documents=wanted)["project"]
        if release:
            release = _full(release, facts["releases"], self.spec.name)
        return plan.plan(kind, channel, facts, release=release)

    def apply(self, plan_: plan.Plan, interrupt: Interrupt | None = None) -> HostOutcome:
        """Ship what the plan needs, and carry it out.

        Raises:
            PutBack, Degraded, Refused, Interrupted: how it ended, if not well.
        """
        if plan_.unchanged:
            return self._outcome("unchanged", plan_)
        release = self.deployment.release if plan_.kind == "up" else None
        seal: dict[str, Any] | None = None
        if release is not None:
            shipment = Shipment(self, release, _nonce(release), plan_, interrupt)
            ship_models(shipment)
            if plan_.ship:
                ship_files(shipment)
                seal = shipment.seal_request()
        answer = self._transact(plan_, seal, interrupt)
        if not answer.get("sealed", True) and release is not None:
            shipment.send_again(answer["entries"])
            answer = self._transact(plan_, shipment.seal_request(), interrupt)
            if not answer.get("sealed", True):
                raise errors.DeployError(
                    "what arrives on the host differs from what was sent, twice.",
                    host=self.spec.name,
                    why="Files change here while they are shipped, or the host's disk is damaged.",
                    next_step="deploy up again when nothing writes into the project",
                )
        return self._outcome(str(answer["outcome"]), replace(plan_, generation=int(answer["generation"])))

    def _transact(self, plan_: plan.Plan, seal: dict[str, Any] | None, interrupt: Interrupt | None) -> Event:
        deployment = self.deployment
        secrets = {name: {"value": deployment.secrets[name]} for name in plan_.secrets}
        with self.phase("transaction"):
            return self.conversation.ask(
                "transaction",
                interrupt=interrupt,
                kind=plan_.kind,
                channel=plan_.channel,
                release=plan_.release,
                generation=plan_.generation,
                # An interrupted transaction is ended first, which may change what has to be done.
                steps=None if plan_.interrupted else [step.as_dict() for step in plan_.steps],
                secrets=secrets,
                platform=str(deployment.target.platform),
                supervisor=deployment.supervisor,
                # Whatever else may be done finds its images on the host.
                logins=deployment.logins if plan_.kind == "up" else {},
                gpus=deployment.wants_gpus,
                keep=deployment.target.keep,
                **({"seal": seal} if seal else {}),
            )

    def _outcome(self, outcome: str, plan_: plan.Plan) -> HostOutcome:
        seconds = round(time.monotonic() - self._began, 3)
        trips = self.connection.round_trips.by_phase()
        result = HostOutcome(self.spec.name, outcome, plan_, seconds, trips)
        self.deployment.on_event(
            {
                "event": "result",
                "host": self.spec.name,
                "outcome": outcome,
                "kind": plan_.kind,
                "channel": plan_.channel,
                "release": plan_.release,
                "generation": plan_.generation,
                "seconds": seconds,
                "round_trips": trips,
            }
        )
        return result


def _nonce(release: Release) -> str:
    """Named by content: an upload that was cut is resumed by whoever ships the same release next."""
    return release.id[:16]


def _full(release: str, known: list[str], host: str) -> str:
    """The one release whose id begins with `release`."""
    matches = [name for name in known if name.startswith(release)]
    if len(matches) != 1:
        what = "is on no release" if not matches else "means more than one release"
        raise errors.UsageError(f"{release!r} {what} of this host.", host=host, next_step="deploy history")
    return matches[0]
