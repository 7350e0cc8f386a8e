"""Looks at how hosts stand and what was deployed to them, once or again and again; nothing is changed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from provision import errors
from provision.contract.records import Failed, HistoryEntry
from provision.hosts import HostSpec, run_on_hosts
from provision.rollout.behind import Places
from provision.rollout.hosts import chosen, values
from provision.rollout.standing import HostStatus, Unreached
from provision.targets import Deployment, HostConversation, open_session

Found = TypeVar("Found")
Found_co = TypeVar("Found_co", covariant=True)

_ANEW_SECONDS = 600.0  # after which who looks on and on connects anew: an agent judges once what can be trusted


def status(deployment: Deployment, hosts: Sequence[str] | None = None) -> list[HostStatus]:
    """How each host stands; of one whose folder can't be trusted, what its supervisor tells.

    Raises:
        DeployError: one does not say.
    """
    with watched(deployment, hosts) as watch:
        return values(watch.results())


@contextlib.contextmanager
def watched(deployment: Deployment, hosts: Sequence[str] | None = None) -> Iterator[Watch[HostStatus]]:
    """Hosts that are looked at again and again, each over one connection: how each stands."""
    several = len(deployment.hosts) > 1

    def ask(session: HostConversation, *, first: bool) -> HostStatus:
        project = session.facts({"outside": True, "standing": True}, told=first)["project"]
        front = places.of(session.spec.name)
        return HostStatus(session.spec.name, project, deployment.loaded.project.name, front, several)

    places = Places(deployment)
    with contextlib.closing(places), contextlib.closing(Watch(deployment, chosen(deployment, hosts), ask)) as watch:
        yield watch


class Ask(Protocol[Found_co]):
    """What a host is asked at each look."""

    def __call__(self, session: HostConversation, *, first: bool) -> Found_co: ...


class Watch(Generic[Found]):
    """Looks at hosts; what is open is closed with it."""

    def __init__(self, deployment: Deployment, specs: Sequence[HostSpec], ask: Ask[Found]) -> None:
        self._deployment = deployment
        self._specs = specs
        self._ask = ask
        self._open: dict[str, tuple[float, contextlib.ExitStack, HostConversation]] = {}

    def look(self) -> list[Found | Unreached]:
        """What each says now, or why it does not.

        Raises:
            DeployError: of the only host, that it does not say although it was reached.
        """
        found: list[Found | Unreached] = []
        for result in self.results():
            error = result.error
            if isinstance(error, errors.Unreachable) or (len(self._specs) > 1 and _is_of_a_host(error)):
                found.append(Unreached(result.spec.name, error))
            elif error is not None:
                raise error
            else:
                found.append(result.value)
        return found

    def results(self) -> list[Any]:
        """What each says now, as `run_on_hosts` has it."""
        return run_on_hosts(self._specs, self.one)

    def one(self, spec: HostSpec) -> Found:
        """What one of them says now; for who asks each in its own time.

        Raises:
            DeployError: it does not say.
        """
        try:
            known = self._open.get(spec.name)
            session = self._session(spec)
            return self._ask(session, first=self._open.get(spec.name) is not known)
        except BaseException:
            self._close(spec.name)
            raise

    def _session(self, spec: HostSpec) -> HostConversation:
        began, _, session = self._open.get(spec.name, (0.0, None, None))
        if session is not None and time.monotonic() - began < _ANEW_SECONDS:
            return session
        self._close(spec.name)
        stack = contextlib.ExitStack()
        session = stack.enter_context(open_session(self._deployment, spec))
        self._open[spec.name] = time.monotonic(), stack, session
        return session

    def _close(self, host: str) -> None:
        if opened := self._open.pop(host, None):
            with contextlib.suppress(errors.DeployError, OSError):
                opened[1].close()

    def close(self) -> None:
        for host in list(self._open):
            self._close(host)


def _is_of_a_host(error: object) -> bool:
    """Whether that failed on a host, and is no fault of ours or of the project."""
    return isinstance(error, errors.DeployError) and not isinstance(error, errors.DeclarationError)


class HostEntry(HistoryEntry):
    """A committed transaction of one host."""

    host: str


class HostFailed(Failed):
    """One that did not commit."""

    host: str


def history(deployment: Deployment, hosts: Sequence[str] | None = None) -> list[HostEntry | HostFailed]:
    """Transactions of each host, oldest first, those that did not commit among them; each entry names its host."""

    def look(spec: HostSpec) -> list[HostEntry | HostFailed]:
        with open_session(deployment, spec) as session:
            project = session.facts({"standing": True})["project"]
        committed: list[HostEntry | HostFailed] = [{"host": spec.name, **entry} for entry in project["history"]]
        failed: list[HostEntry | HostFailed] = [{"host": spec.name, **entry} for entry in project.get("failed", ())]
        return sorted([*committed, *failed], key=lambda entry: entry["time"])

    return [entry for entries in values(run_on_hosts(chosen(deployment, hosts), look)) for entry in entries]
