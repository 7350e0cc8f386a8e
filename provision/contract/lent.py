"""What hosts are told, and tell one another, so that a model that one of them has reaches the others. Types alone.

Two hosts speak over TLS, a JSON line each: `Hello` first, then any number of `Ask`, each answered by `Have` or, for a
piece, by `Piece` and its bytes.
"""

from __future__ import annotations

from typing import List, Literal, Tuple, TypedDict

LEAST = 16 << 20  # bytes: a smaller file is there before others are asked
LONGEST_LINE = 8 << 20  # bytes: that of a model of a terabyte


class Lender(TypedDict):
    """A host that lends what it has of a model, for as long as a transfer lasts."""

    name: str  # as users know it
    addresses: List[str]
    port: int
    mapped: List[Tuple[str, int]]  # addresses that lead to that port from one of their own, as a provider's do
    certificate: str  # sha256 of it


class LendModel(TypedDict):
    """Lend what is here of a model, and what comes, until the conversation ends."""

    op: Literal["lend-model"]
    sha256: str
    name: str
    bytes: int
    limit: int  # bytes a second, of all that is sent; 0 for none
    host: str  # as users know this host
    addresses: List[str]  # of this host, as it is reached from afar
    mapped: List[Tuple[str, int]]  # likewise, where `port` is reached as another
    port: int  # to listen at; 0: any that is free
    secret: str  # of this transfer; who shows it is one of its hosts
    certificate: str  # of this host for this transfer, and its key: PEM
    key: str


class LendOver(TypedDict):
    """Lend nothing any more."""

    op: Literal["lend-over"]


class Hello(TypedDict):
    secret: str
    lender: Lender  # who asks, who may be asked in turn


class Ask(TypedDict, total=False):
    have: int  # how many pieces are known of the one that is asked
    piece: int


class Have(TypedDict):
    pieces: List[Tuple[int, str]]  # those after the ones that are known, with their sha256 where that is known
    coming: List[int]  # those that it fetches from the source now
    arrived: int  # bytes


class Piece(TypedDict):
    bytes: int  # that follow; 0: it has none to send now
    sha256: str  # as it came there; empty where that is not known
