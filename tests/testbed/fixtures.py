"""The test bed as pytest fixtures; tests/conftest.py hands them to every test."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from tests.testbed.host import TestHost
from tests.testbed.kinds import Kind
from tests.testbed.problems import missing_requirement
from tests.testbed.slots import Slot, take_slot

_PLACES = itertools.count()
# A multiple of ten, below 10000: a canary adds 10000 to a port, a candidate 20000.
_FIRST_PORT, _PORTS_EACH = 3000, 10


class MakeHost(Protocol):
    """What the fixture `make_host` gives."""

    def __call__(
        self, kind: Kind, *, workspace_size: int = 0, sudo: bool = False, linger: bool = False
    ) -> TestHost: ...


@dataclass(frozen=True)
class Place:
    """A project's own name, path and ports, so that tests can share a host."""

    number: int

    @property
    def name(self) -> str:
        return f"place{self.number}"

    @property
    def path(self) -> str:
        return f"/workspace/{self.name}"

    def port(self, index: int = 0) -> int:
        """One of its ten ports."""
        assert index < _PORTS_EACH, "a place has ten ports"
        return _FIRST_PORT + _PORTS_EACH * (self.number % 650) + index


@pytest.fixture(scope="session")
def slot() -> Iterator[Slot]:
    """This process's part of the test bed; everything in it ends with the session, Ctrl-C included."""
    problem = missing_requirement()
    if problem is not None:
        if os.environ.get("DEPLOY_TESTS_UNPRIVILEGED") == "1":
            pytest.skip(str(problem))
        pytest.fail(str(problem), pytrace=False)
    slot = take_slot()
    yield slot
    slot.release()


@pytest.fixture(scope="session")
def supervisord_host(slot: Slot) -> Iterator[TestHost]:
    """A running host as rented ones are, shared by all tests: take a `place` on it, and leave it running."""
    host = TestHost(Kind.SUPERVISORD, slot)
    yield host
    host.destroy()


@pytest.fixture(scope="session")
def systemd_host(slot: Slot) -> Iterator[TestHost]:
    """A running systemd machine with `ann` lingering, shared by all tests: take a `place` on it."""
    host = TestHost(Kind.SYSTEMD, slot, linger=True)
    yield host
    host.destroy()


@pytest.fixture
def make_host(slot: Slot) -> Iterator[MakeHost]:
    """Fresh hosts for one test: `make_host(Kind.BARE, workspace_size=64 << 20)`."""
    with contextlib.ExitStack() as stack:

        def make(kind: Kind, *, workspace_size: int = 0, sudo: bool = False, linger: bool = False) -> TestHost:
            host = TestHost(kind, slot, workspace_size=workspace_size, sudo=sudo, linger=linger)
            stack.callback(host.destroy)
            return host

        yield make


@pytest.fixture
def place() -> Place:
    """A project path and ports that no other test uses."""
    return Place(next(_PLACES))
