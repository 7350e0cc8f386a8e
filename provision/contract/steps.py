"""What a transaction does to each program: kept, started, replaced, removed or stopped; how, and why."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Tuple

if TYPE_CHECKING:
    from .requests import PlannedStep


class Do(str, Enum):
    """What happens to a program."""

    KEEP = "keep"
    START = "start"
    RESTART = "restart"
    INSTALL = "install"  # on demand: described, not started
    REMOVE = "remove"
    STOP = "stop"  # on purpose; as it is described, and at rest

    def __str__(self) -> str:
        return self.value


class How(str, Enum):
    """How a program that runs is replaced."""

    NOT = ""  # it is not
    BESIDE = "beside"
    IN_PLACE = "in-place"

    def __str__(self) -> str:
        return self.value


class Step(NamedTuple):
    """What happens to one program, how, and why."""

    program: str
    service: str
    lane: str
    slot: str
    do: Do
    how: How = How.NOT
    why: str = ""
    devices: Tuple[str, ...] = ()  # the GPUs that it has then, by uuid
    trial: Tuple[str, ...] = ()  # those that its second copy has while that is proven beside it

    @property
    def changes(self) -> bool:
        """Whether a program is described anew."""
        return self.do not in (Do.KEEP, Do.REMOVE, Do.STOP)

    def as_dict(self) -> PlannedStep:
        told: PlannedStep = {
            "program": self.program,
            "service": self.service,
            "lane": self.lane,
            "do": self.do.value,
            "how": self.how.value,
            "why": self.why,
        }
        if self.devices:
            told["devices"] = list(self.devices)
        return told
