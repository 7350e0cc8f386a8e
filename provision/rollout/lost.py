"""Machines that are lost: which, why, what is left, and others in their places.

All that has to be known for that stands in the machines' labels, with the provider: a machine that is given up loses
its place to the one that is rented for it, and is given back when that one serves. So whoever looks next goes on,
wherever the last one was cut off; and two who look at once rent one machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from provision.errors import DeployError, HostKeyChanged, Refused, UsageError
from provision.providers.face import Loss, Machine, State
from provision.rollout.behind import follow
from provision.rollout.moves import up
from provision.rollout.watch import watched
from provision.targets import Deployment, Interrupt
from provision.targets.labels import Label
from provision.targets.places import place_number

Deploying = Callable[[], AbstractContextManager[Interrupt]]

_WORDS = {
    Loss.OUTBID: "somebody bids more for it",
    Loss.OFFLINE: "its host is offline",
    Loss.ENDED: "its host rents it out no longer",
    Loss.NO_CREDIT: "the account has no credit left",
    Loss.BROKEN: "it does not recover",
}


@dataclass(frozen=True)
class Lost:
    """A machine that is lost, and what becomes of that."""

    machine: Machine
    loss: Loss
    next: str

    @property
    def why(self) -> str:
        """What befell it, in words."""
        return _WORDS[self.loss]


@dataclass(frozen=True)
class GivenBack:
    """One that was given back, as its end has come or another serves in its place.

    Attributes:
        cost: dollars at most, by its price and its time.
        charged: by the provider until now; None where that does not say.
    """

    machine: Machine
    cost: float
    charged: float | None


@dataclass(frozen=True)
class Back:
    """A machine whose key is pinned where it is reached now; one that is there instead of others was deployed to."""

    machine: Machine
    instead_of: tuple[int, ...]


@dataclass(frozen=True)
class Endpoints:
    """What can be reached now: of machines whose services are proven and run."""

    serving: Sequence[Machine]
    wanted: int

    @property
    def missing(self) -> int:
        """How many machines of the target serve nothing."""
        return self.wanted - len(self.serving)


@dataclass(frozen=True)
class Failed:
    """One that could not be brought to serve; the next look tries again."""

    error: DeployError


def attend(deployment: Deployment, deploying: Deploying) -> Iterator[Lost | GivenBack | Back | Failed | Endpoints]:
    """Look once at the target's machines, and do for those that are lost what the budget's `on_loss` says.

    Args:
        deploying: around each deploy; what it gives puts that back.

    Raises:
        ProviderFailed: the provider does not say what is rented.
    """
    machines, budget = deployment.machines, deployment.target.budget
    on_loss = budget.on_loss if budget else None
    rented = machines.rented()
    losses = machines.losses(rented)
    no_credit = Loss.NO_CREDIT in losses.values()
    for machine in rented:
        if loss := losses.get(machine.id):
            yield Lost(machine, loss, _next(machine, loss, on_loss, machines.provider.now()))
            if on_loss == "rent again" and not no_credit and not _is_over(machine, machines.provider.now()):
                machines.give_up(machine)
    if losses:
        yield from _told(deployment)
    if not no_credit:
        yield from _replaced(deployment, deploying)
    found = endpoints(deployment)
    yield from _told(deployment, found)
    yield found


def _told(deployment: Deployment, found: Endpoints | None = None) -> Iterator[Failed]:
    """Tell the front that leads to them which machines there are, and which of them serve."""
    if deployment.target.front is None:
        return
    machines = deployment.machines
    rented = machines.rented()
    there = [machines.spec(each) for each in rented if each.address and each.id not in machines.losses(rented)]
    try:
        follow(deployment, there, [machines.spec(each) for each in found.serving] if found else ())
    except DeployError as error:
        yield Failed(error)


def _replaced(deployment: Deployment, deploying: Deploying) -> Iterator[GivenBack | Back | Failed]:
    machines = deployment.machines
    for number, old in sorted(machines.given_up().items()):
        try:
            for machine in old:
                machines.keep_down(machine)
            if not all(_is_over(each, machines.provider.now()) for each in old):
                yield Back(_brought(deployment, number, max(map(_end, old)), deploying), tuple(each.id for each in old))
            for machine in old:
                yield _given_back(deployment, machine)
        except DeployError as error:
            yield Failed(error)
    for machine in machines.seen():
        if machine.state is State.RUNNING and not machines.is_ready(machine):  # back, and perhaps elsewhere
            try:
                for found, _ in machines.rent(ends={place_number(machine): _end(machine)}):
                    yield Back(found, ())
            except DeployError as error:
                yield Failed(error)


def _brought(deployment: Deployment, number: int, ends: float, deploying: Deploying) -> Machine:
    """What is in that place, rented if nothing is, deployed to and proven."""
    machines = deployment.machines
    ((machine, _),) = machines.rent(ends={number: ends})
    deployment.hosts = machines.specs()
    with deploying() as interrupt:
        up(deployment, interrupt=interrupt, hosts=[machines.spec(machine).name])
    return machine


def _given_back(deployment: Deployment, machine: Machine) -> GivenBack:
    cost = machine.cost(deployment.machines.provider.now())
    deployment.machines.give_back(machine)
    return GivenBack(machine, cost, deployment.machines.charged(machine))


def endpoints(deployment: Deployment) -> Endpoints:
    """Which machines of the target can be relied on now: all of their services are proven, and run.

    One that shows another key than the pinned one is asked for it through the provider, as at its start.
    """
    machines = deployment.machines
    running = {machines.spec(each).name: each for each in machines.seen() if machines.is_ready(each)}
    states: dict[str, str] = {}
    left = running
    for _ in range(2):
        deployment.hosts = [machines.spec(each) for each in left.values()]
        with watched(deployment) as watch:
            results = watch.results() if left else []
        states |= {each.spec.name: each.value.state for each in results if each.error is None}
        moved = [each.spec.name for each in results if isinstance(each.error, HostKeyChanged)]
        left = {name: running[name] for name in moved if _pinned(deployment, running[name])}
    return Endpoints(
        [each for name, each in running.items() if states.get(name) == "serving"], deployment.target.machines
    )


def _pinned(deployment: Deployment, machine: Machine) -> bool:
    try:
        deployment.machines.pin(machine)
    except DeployError:
        return False
    return True


@contextlib.contextmanager
def explained(deployment: Deployment) -> Iterator[None]:
    """Where what is done within fails because a machine is lost, say so, and what to do then."""
    try:
        yield
    except (Refused, UsageError):
        raise
    except DeployError as error:
        if deployment.target.provider:
            with contextlib.suppress(DeployError):
                _explain(deployment, error)
        raise


def _explain(deployment: Deployment, error: DeployError) -> None:
    machines = deployment.machines
    if isinstance(error, HostKeyChanged):
        error.next_step = f"deploy machine pin --target {deployment.target_name}"
        return
    rented = machines.rented()
    losses = machines.losses(rented)
    told = [f"Machine {each.id} is lost: {_WORDS[losses[each.id]]}." for each in rented if each.id in losses]
    if len(rented) < deployment.target.machines:
        told.append(f"{len(rented)} of {deployment.target.machines} machines are there.")
    if told:
        error.why = " ".join(filter(None, (error.why, *told)))
        error.next_step = f"deploy machine watch --once --target {deployment.target_name}"


def _next(machine: Machine, loss: Loss, on_loss: str | None, now: float) -> str:
    if loss is Loss.NO_CREDIT:
        return "add credit on the provider's page; machines without it are destroyed after a while"
    if _is_over(machine, now):
        return "deploy machine reap"
    if on_loss == "rent again":
        return ""
    returns = loss in (Loss.OUTBID, Loss.OFFLINE)
    if on_loss == "wait" and returns:
        return ""
    return f"deploy machine destroy {machine.id}, then: deploy up"


def _end(machine: Machine) -> float:
    label = Label.read(machine.label)
    return label.ends if label else 0.0


def _is_over(machine: Machine, now: float) -> bool:
    """Whether its end has come: nothing is rented in its place."""
    return _end(machine) <= now
