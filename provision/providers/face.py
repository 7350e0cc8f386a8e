"""What every provider can do, in words that are no provider's own. Money in dollars, sizes in bytes, times in seconds.

Whoever calls decides what is rented and what is given back; a provider only carries it out, and says honestly when it
does not know whether something happened (`Unclear`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from provision.contract.budget import Call
from provision.errors import DeployError, Refused

Kind = Literal["on-demand", "interruptible"]


class ProviderFailed(DeployError):
    """The provider's API did not answer, or said no. What `what` names was not done."""


class Unclear(ProviderFailed):
    """There was no answer, or one that does not say whether it was done."""


class Gone(ProviderFailed):
    """The offer was taken by somebody else, or is no more."""


class NotRented(Refused):
    """The provider refuses to rent to this account: its credit, its limits, its price."""


class Unfit(ProviderFailed):
    """That very machine is no good; another one may be.

    Attributes:
        is_unused: nothing was ever deployed to it.
        its_fault: it would be no better when it is rented again.
    """

    is_unused = False
    its_fault = True


class State(StrEnum):
    """What a machine does, as far as whoever rented it cares."""

    STARTING = "starting"  # its image is fetched, or it boots
    RUNNING = "running"
    STOPPED = "stopped"  # by us, or by a guard; its disk is paid for
    LOST = "lost"  # outbid, or the provider stopped it: it may come back
    DEAD = "dead"  # it does not recover


class Loss(StrEnum):
    """Why a machine is lost, where nobody on our side wanted that."""

    OUTBID = "outbid"  # somebody bids more; it may come back
    OFFLINE = "offline"  # its host is away; it may come back
    ENDED = "ended"  # its host rents it out no longer
    NO_CREDIT = "no credit"  # the account's; machines are stopped, and after a while destroyed
    BROKEN = "broken"  # it does not recover


@dataclass(frozen=True)
class Needs:
    """What a machine has to have."""

    gpu: tuple[str, ...] = ()  # names, as the provider writes them; any of them
    gpus: int = 1
    vram: int = 0  # of each GPU
    memory: int = 0
    disk: int = 10_000_000_000
    down: int = 0  # bits per second
    up: int = 0
    reliability: float = 0.0  # 0 to 1
    cuda: float = 0.0
    capability: float = 0.0  # of the GPU, such as 8.9
    features: frozenset[str] = frozenset()  # of the processor, as /proc/cpuinfo names them
    ports: int = 0  # that have to be reachable from outside, ssh's own included
    kind: Kind = "on-demand"
    avoid: frozenset[int] = frozenset()  # machines that failed before


@dataclass(frozen=True)
class Offer:
    """One machine that can be rented now, for about a minute."""

    id: int
    machine: int  # the same for each offer of that machine
    gpu: str
    gpus: int
    vram: int  # of each GPU
    memory: int
    disk: int
    down: int
    reliability: float
    per_hour: float  # with the disk that was asked for
    lowest_bid: float | None
    where: str
    ends: float | None  # seconds that it can be rented for at most; None: not known
    cuda: float = 0.0  # the newest version that its driver takes; 0: not known


@dataclass(frozen=True)
class Order:
    """What is rented."""

    label: str
    image: str
    disk: int
    ports: tuple[int, ...] = ()
    start: str = ""  # a shell script, run by root each time the machine starts
    bid: float | None = None  # per hour; None: on demand
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """One that is rented."""

    id: int
    machine: int
    label: str
    state: State
    said: str  # the provider's own words of it
    gpu: str
    per_hour: float
    is_bid: bool
    began: float  # seconds since 1970
    address: tuple[str, int] | None  # where ssh answers, once that is known
    ports: Mapping[int, tuple[str, int]]  # port in the machine -> where that is reached
    loss: Loss | None = None  # as far as the machine itself tells; an account without credit shows in each the same
    stopped_per_hour: float = 0.0  # for its disk
    per_byte_in: float = 0.0
    per_byte_out: float = 0.0

    def cost(self, now: float) -> float:
        """What it has cost since it was rented, at its price of now; traffic is not in it."""
        return max(now - self.began, 0) / 3600 * self.per_hour


class Own(NamedTuple):
    """What a machine may have done to itself, with a key that opens that machine alone."""

    key: str  # the variable that has it there
    stop: Call
    destroy: Call


class Provider(Protocol):
    """Each raises `ProviderFailed` where the provider does not do it, and `UsageError` where the key is not taken."""

    name: str

    def now(self) -> float:
        """Seconds since 1970, by the provider's clock as far as it has told: the one that its money goes by."""

    def guard(self, seconds: float) -> str:
        """A shell script that ends the machine which runs it after so many seconds, laptop or none.

        It uses a key that opens that machine alone, and tries on where the provider does not answer. In a folder for
        root alone (`agent.alone.budget`) it keeps when the machine ends, over restarts; and starts what is put there.
        """

    def own(self, number: int) -> Own:
        """How a machine stops and destroys itself."""

    def credit(self) -> float | None:
        """Dollars that are left; None where the provider does not say."""

    def offers(self, needs: Needs) -> Sequence[Offer]:
        """What can be rented now, cheapest first."""

    def rent(self, offer: Offer, order: Order) -> int:
        """Rent it once; the machine's id.

        Raises:
            Gone: somebody else has it.
            NotRented: nothing was rented, and another offer would not help.
            Unclear: it may have been rented all the same. Whoever calls looks its label up.
        """

    def machines(self) -> Sequence[Machine]:
        """All that this account has rented, whoever rented it."""

    def machine(self, number: int) -> Machine | None:
        """One of them; None: it is no more."""

    def log(self, number: int, lines: int) -> str:
        """The end of what it has printed since its start, as the provider keeps it; empty where it is not there yet."""

    def admit(self, number: int, public_key: str) -> None:
        """Let whoever has the key log in by ssh."""

    def rename(self, number: int, label: str) -> None:
        """Give it another label."""

    def start(self, number: int) -> None:
        """Let one that is stopped run again. Whether it does is seen later: its GPU may be somebody else's by now."""

    def stop(self, number: int) -> None:
        """Have it stopped and stay so, also one that is lost: it does not run again when its price falls."""

    def paid(self, label: str, since: float) -> Mapping[int, float]:
        """What machines were charged for since then whose labels begin so, those that are no more included."""

    def destroy(self, number: int) -> None:
        """Give it back with its disk. One that is no more is no failure."""
