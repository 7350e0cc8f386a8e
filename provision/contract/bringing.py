"""What a host is asked where something large comes to it: announced, brought by either side, adopted. Types alone."""

from __future__ import annotations

from typing import Dict, List, Literal, TypedDict

from .lent import Lender
from .release import EnvironmentDocument, PinnedWheel, Wheel


class _Incoming(TypedDict):
    op: Literal["incoming"]


class Incoming(_Incoming, total=False):
    """A release is about to arrive, or a model."""

    nonce: str
    sha256: str


class Discard(TypedDict):
    op: Literal["discard"]
    folder: str


class Came(TypedDict):
    """How something was shipped."""

    bytes: int
    seconds: float


class AdoptModel(TypedDict):
    op: Literal["adopt-model"]
    sha256: str
    name: str
    came: Came


class _FetchModel(TypedDict):
    op: Literal["fetch-model"]
    sha256: str
    name: str
    bytes: int
    url: str  # empty: other hosts alone have it
    authorization: str  # a header that is shown to the host of `url` alone; empty for none
    limit: int  # bytes a second, of all of it; 0 for none
    source: str  # who has it, as plans say it


class FetchModel(_FetchModel, total=False):
    """Fetch a model from where it is, and from other hosts."""

    lenders: List[Lender]  # that are known, of a host that lends what it has itself


class KeepModels(TypedDict):
    """Tell which models are there."""

    op: Literal["models"]
    verify: bool  # whether they are compared with their digests
    prune: bool  # whether those go that no release has


class IncomingEngine(TypedDict):
    op: Literal["incoming-engine"]
    engine: str
    wheels: Dict[str, Wheel]


class AdoptEngine(TypedDict):
    op: Literal["adopt-engine"]
    engine: str
    wheels: Dict[str, Wheel]
    program: str  # the text of what serves with it
    version: str


class ShipHaproxy(TypedDict):
    """A HAProxy is about to arrive, or has arrived."""

    op: Literal["incoming-haproxy", "adopt-haproxy"]
    haproxy: Dict[str, PinnedWheel]  # by kind of machine


class IncomingEnvironment(TypedDict):
    """Wheels for an environment are about to arrive."""

    op: Literal["incoming-environment"]
    uv: Dict[str, PinnedWheel]  # by kind of machine


class BuildEnvironment(TypedDict):
    """An environment is to be made; or, of `find-python`, what it would be made with."""

    op: Literal["build-environment", "find-python"]
    uv: Dict[str, PinnedWheel]
    environment: EnvironmentDocument
    lock: str  # the requirements
    shipped: bool  # whether all of its wheels have been shipped
    variables: Dict[str, str]  # for uv; kept nowhere
    secrets: List[str]  # which of them are told nowhere
