"""What a host tells while it works on a request, and how it says that it failed. Types alone.

The toolkit sends a header (which agent, which project path), then requests, a JSON line each. The agent answers each
with any number of events; the last is `result` (see `answers`) or `error`.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Literal, Optional, Tuple, TypedDict, Union

from .holder import Holder

Facts = Dict[str, Any]  # of a check: what was measured, or tried; each kind has its own
Attempts = List[Tuple[str, int]]  # each different answer with how often it came in a row


class Step(TypedDict):
    """Something is about to be done."""

    event: Literal["step"]
    step: str
    program: str  # empty where it is about none
    detail: str


class Warned(TypedDict):
    event: Literal["warning"]
    text: str


class Progress(TypedDict):
    event: Literal["progress"]
    phase: str
    file: str
    done: int  # bytes
    total: int


class Checked(TypedDict):
    event: Literal["check"]
    program: str
    check: str
    passed: bool
    seconds: float
    attempts: Attempts
    facts: Facts


class Output(TypedDict):
    """A line that a program of the project's wrote."""

    event: Literal["output"]
    source: str
    text: str


class Begun(TypedDict):
    """A transaction has its name."""

    event: Literal["transaction"]
    transaction: str


class Recovered(TypedDict):
    """An interrupted transaction was ended."""

    event: Literal["recovered"]
    outcome: Optional[str]


class Pruned(TypedDict):
    event: Literal["pruned"]
    releases: List[str]


class Alive(TypedDict):
    """The request is being worked on; says nothing else, and comes as often as the header asks."""

    event: Literal["alive"]


class NeedAgent(TypedDict):
    """The host lacks the agent: send `size` bytes of zip."""

    event: Literal["need-agent"]


Event = Union[Step, Warned, Progress, Checked, Output, Begun, Recovered, Pruned]


class Newer(TypedDict):
    where: str
    format: int
    reads: int
    version: str


class Untrusted(TypedDict):
    path: str
    why: str


class Held(TypedDict):
    """What requests for a program waited for while another took its place, in seconds; and how many did."""

    drain: float
    stop: float
    load: float
    proof: float
    requests: int  # that waited to the end
    beyond: int  # answered with 503, because as many waited already as may
    late: int  # because they had waited as long as one may


class Details(TypedDict, total=False):
    """Further facts of a failure, for whoever reports it."""

    program: str  # whose fault it is
    log: List[str]  # the last lines that it wrote
    facts: Facts
    seconds: float
    waited: Dict[str, float]  # program -> seconds in which nobody answered at its port
    held: Dict[str, Held]  # program -> what requests for it waited for, where they waited in front of it
    holder: Holder
    newer: Newer
    untrusted: Untrusted


class _Error(TypedDict):
    event: Literal["error"]
    kind: str
    what: str
    why: str
    next: str


class ErrorMessage(_Error, Details):
    """`failure.Failure`, as it travels."""


Emit = Callable[[Event], None]
