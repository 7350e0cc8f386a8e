"""The other end of a target's front: the hosts that lead to its machines, told who may be asked and who may not.

They are told before a machine is changed and after it is proven, each time by one short transaction of their own. Who
can't be reached is no reason to change a machine that others rely on: so nothing begins without them. What they could
not be told afterwards is said, with exit status 3: the machine has the new release, and the front does not lead to it.
A machine is led to for the services that it is to run: one that was stopped on purpose would hold its requests.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision import errors
from provision.contract import peers as contract
from provision.contract.answers import Introduced, Traffic, Transacted
from provision.contract.on_purpose import KINDS, STOP
from provision.contract.slots import STABLE
from provision.contract.steps import Do
from provision.targets.host import open_session
from provision.targets.transact import apply

if TYPE_CHECKING:
    from provision.contract.peers import ChangePeers, MachineDocument, PeerDocument
    from provision.hosts import HostSpec
    from provision.plan import Plan
    from provision.targets.conversation import Interrupt
    from provision.targets.deployment import Deployment
    from provision.targets.host import HostConversation
    from provision.targets.outcomes import HostOutcome


@dataclass(frozen=True)
class Behind:
    """What one host of the front knows of the machines behind it."""

    host: str
    peers: dict[str, PeerDocument]  # by place; of this target alone

    def takes(self, machine: str) -> bool | None:
        """Whether a machine is given requests; None where it is not known."""
        return next((each["takes"] for each in self.peers.values() if each["host"] == machine), None)


def known(session: HostConversation, target: str) -> Behind:
    """What a host of the front says of the machines of a target."""
    peers = session.facts({}, told=False)["project"]["state"].get("peers", {})
    return Behind(session.spec.name, {name: each for name, each in peers.items() if contract.is_of(name, target)})


class Front:
    """Open conversations with the hosts that lead to a deployment's machines; one at a time speaks.

    Args:
        deployment: of the machines.
        before: of the hosts that lead to them.
    """

    def __init__(self, deployment: Deployment, before: Deployment) -> None:
        self._deployment = deployment
        self._before = before
        self._sessions: list[HostConversation] = []
        self._shown = ""  # the certificates of all of them
        self._lock = threading.Lock()

    @property
    def _ports(self) -> dict[str, int]:
        """The services that it leads to these machines for, and their ports there."""
        from provision.project.fronted import services_behind  # which needs what is heavy to load

        project, target = self._deployment.loaded.project, self._deployment.target_name
        led = services_behind(project.targets, project.services, self._before.target)
        services = {name: project.services[name] for name, of in led.items() if of == target}
        return {name: each.port for name, each in services.items() if each.port is not None}

    @property
    def name(self) -> str:
        """The target that it is."""
        return self._before.target_name

    @contextlib.contextmanager
    def opened(self) -> Iterator[Front]:
        """Connected with all of them.

        Raises:
            Refused: one can't be reached, or has no front. Nothing has begun.
        """
        with contextlib.ExitStack() as stack:
            try:
                for spec in self._before.hosts:
                    self._sessions.append(stack.enter_context(open_session(self._before, spec, install=True)))
                project = self._deployment.loaded.project.name
                name = contract.tls_name(project, contract.FRONT)
                self._shown = "".join(_introduced(each, name, "") for each in self._sessions)
                self.tell()
            except errors.Refused as error:
                error.next_step = f"deploy up --target {self.name}, then this again"
                raise
            except errors.Unreachable as error:
                raise errors.Refused(
                    f"targets.{self.name}, which leads to these machines, can't be reached; nothing was begun.",
                    why=str(error),
                    next_step=f"deploy status --target {self.name}",
                ) from error
            try:
                yield self
            finally:
                self._sessions = []

    def behind(self) -> list[Behind]:
        """What each of them knows."""
        with self._lock:
            return [known(session, self._deployment.target_name) for session in self._sessions]

    @property
    def drain(self) -> float:
        """How long what these machines have begun may take to end."""
        from provision.manifests.lanes import DRAIN  # with much that the way there does not wait for

        services = self._deployment.loaded.project.services
        return max((services[name].drain or DRAIN for name in self._ports), default=0.0)

    def in_flight(self, machines: Collection[str]) -> int:
        """How many requests have begun there, and not ended."""
        found = 0
        with self._lock:
            for session in self._sessions:
                peers = known(session, self._deployment.target_name).peers
                places = {name for name, each in peers.items() if each["host"] in machines}
                answer = session.conversation.ask({"op": "traffic", "minutes": 1, "points": 0}, Traffic)
                lanes = [lane for service in answer["services"].values() for lane in service["lanes"].values()]
                programs = [program for lane in lanes for program in lane["programs"]]
                found += sum(each["in_flight"] for each in programs if each["program"] in places)
        return found

    def introduce(self, session: HostConversation) -> MachineDocument:
        """Let a machine admit the front, and nobody else; what the front is to know of it."""
        deployment = self._deployment
        name = contract.tls_name(deployment.loaded.project.name, deployment.target_name)
        certificate = _introduced(session, name, self._shown)
        address, reached = _reached(deployment, session.spec, self._ports)
        return {"host": session.spec.name, "address": address, "ports": reached, "certificate": certificate}

    def lead_to(self, session: HostConversation, machine: MachineDocument, stops: Collection[str] = ()) -> None:
        """Let requests come to a machine for what it is to run, and for nothing else.

        Args:
            stops: programs that are about to be stopped.
        """
        programs = session.facts({}, told=False)["project"]["state"]["programs"]
        to_run = {
            each["service"]
            for name, each in programs.items()
            if each["lane"] == STABLE and not each["on_demand"] and not each.get("stopped") and name not in stops
        }
        ports = {name: port for name, port in machine["ports"].items() if name in to_run}
        if ports:
            self.tell(enter=[{**machine, "ports": ports}])
        else:
            self.tell(rest=[machine["host"]])

    def tell(
        self,
        *,
        enter: Sequence[MachineDocument] = (),
        drain: Iterable[str] = (),
        rest: Iterable[str] = (),
        leave: Iterable[str] = (),
        only: Iterable[str] | None = None,
    ) -> None:
        """Who may be asked from now on; as `contract.requests.ChangePeers` has it."""
        request: ChangePeers = {
            "op": "peers",
            "target": self._deployment.target_name,
            "services": list(self._ports),
            "enter": list(enter),
            "drain": list(drain),
            "rest": list(rest),
            "leave": list(leave),
        }
        if only is not None:
            request["only"] = list(only)
        with self._lock:
            for session in self._sessions:
                session.conversation.ask(request, Transacted)


@contextlib.contextmanager
def front_of(deployment: Deployment) -> Iterator[Front | None]:
    """The front that leads to a deployment's machines, connected; None where none does."""
    before = deployment.before
    if before is None:
        yield None
        return
    with Front(deployment, before).opened() as front:
        yield front


def apply_behind(
    front: Front | None,
    session: HostConversation,
    plan: Plan,
    interrupt: Interrupt | None = None,
    *,
    evidence: Sequence[str] = (),
) -> HostOutcome:
    """Carry a plan out on one machine, with the front that leads to it told before and after.

    Raises:
        SomeHostsFailed: it is carried out, and the front could not be told.
    """
    if front is None or (plan.channel != STABLE and plan.kind in ("up", "down", *KINDS) and plan.channel):
        return apply(session, plan, interrupt, evidence=evidence)
    host = session.spec.name
    machine = front.introduce(session)
    knew = False
    if not plan.unchanged:
        knew = any(each.takes(host) is not None for each in front.behind())
        if plan.kind == STOP:
            front.lead_to(session, machine, [step.program for step in plan.steps if step.do is Do.STOP])
        else:
            front.tell(rest=[host] if plan.kind == "down" else [], drain=[host])
    try:
        outcome = apply(session, plan, interrupt, evidence=evidence)
    except (errors.PutBack, errors.Refused, errors.Interrupted):
        if knew:
            _tell_of_what_was_before(front, session, machine)
        raise
    try:
        if plan.kind == "down":
            front.tell(leave=[host])
        else:
            front.lead_to(session, machine)
    except errors.DeployError as error:
        raise errors.SomeHostsFailed(
            f"it is done, and targets.{front.name}, which leads to this machine, could not be told.",
            host=host,
            why=str(error),
            next_step=f"deploy status --target {front.name}, then this again",
        ) from error
    return outcome


def _tell_of_what_was_before(front: Front, session: HostConversation, machine: MachineDocument) -> None:
    """It serves again. What failed is to be told, and so this is a warning where it fails, too."""
    try:
        front.lead_to(session, machine)
    except errors.DeployError as error:
        text = f"targets.{front.name} gives this machine nothing new, and could not be told: {error}"
        session.deployment.on_event({"event": "warning", "host": session.spec.name, "text": text})


def _introduced(session: HostConversation, name: str, admits: str) -> str:
    return session.conversation.ask({"op": "introduce", "name": name, "admits": admits}, Introduced)["certificate"]


def _reached(deployment: Deployment, spec: HostSpec, ports: dict[str, int]) -> tuple[str, dict[str, int]]:
    """Where a machine's ports are reached from outside, by an address.

    Raises:
        Refused: one is not.
    """
    found = {name: (spec.address, port) for name, port in ports.items()}
    if deployment.target.provider:
        found = {}
        for name, port in ports.items():
            at = deployment.machines.reached(spec, port)
            if at is None:
                raise errors.Refused(
                    f"port {port} of {name} is not reached from outside this machine.",
                    host=spec.name,
                    next_step=f"add {port} to targets.{deployment.target_name}.needs.ports; deploy machine show",
                )
            found[name] = at
    addresses = {address for address, _ in found.values()} or {spec.address}
    try:
        (address,) = {socket.getaddrinfo(each, None, type=socket.SOCK_STREAM)[0][4][0] for each in addresses}
    except (OSError, ValueError) as error:
        what = f"{', '.join(sorted(addresses))} is no one address that the front could lead to."
        raise errors.Refused(what, host=spec.name, why=str(error), next_step="write the address in hosts") from error
    return str(address), {name: port for name, (_, port) in found.items()}
