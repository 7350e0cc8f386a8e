"""Commands that are ended in the middle, by real signals: what the next command finds, and what is left to be paid."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.hooks import until
from tests.providers.conftest import Rental
from tests.providers.laptop import Laptop, boot
from tests.testbed import Kind, TestHost
from tests.testbed.slots import Slot

Market = Callable[..., Rental]
pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def host(slot: Slot) -> Iterator[TestHost]:
    host = TestHost(Kind.SUPERVISORD, slot)
    yield host
    host.destroy()


@pytest.fixture
def laptop(tmp_path: Path, market: Market, host: TestHost) -> Laptop:
    return Laptop.make(tmp_path / "laptop", market(None, boot(host)), host)


# Each call of `deploy machine rent` from nothing on, in its order, and how many of that kind come before it.
CALLS = [
    ("list", 0),
    ("search", 0),
    ("list", 1),
    ("rent", 0),
    ("list", 2),
    ("show", 0),
    ("keys", 0),
    ("admit", 0),
    ("log", 0),
]
_QUICK = {("rent", 0, "hold", "INT"), ("rent", 0, "hold after", "KILL")}
CASES = [
    pytest.param(*case, marks=[] if case in _QUICK else pytest.mark.slow)
    for call in CALLS
    for how in ("hold", "hold after")
    for name in ("INT", "KILL")
    for case in [(*call, how, name)]
]


def held(laptop: Laptop, endpoint: str, before: int, how: str) -> subprocess.Popen[str]:
    """`deploy machine rent` that waits for the answer to one of its calls."""
    laptop.rental.fail(**{endpoint: [*[None] * before, how]})
    process = laptop.begin("machine", "rent")
    until(lambda: laptop.rental.known()["held"] == endpoint, f"{endpoint} is asked", 60)
    return process


@pytest.mark.parametrize(("endpoint", "before", "how", "name"), CASES)
def test_rent_ends_at_any_call_and_nothing_is_unknown(
    endpoint: str, before: int, how: str, name: str, laptop: Laptop
) -> None:
    process = held(laptop, endpoint, before, how)
    asked = len(laptop.rental.known()["calls"])

    process.send_signal(getattr(signal, f"SIG{name}"))
    if name == "INT":
        # What was asked for takes effect only once the laptop has looked for it, and found nothing.
        until(lambda: process.poll() is not None or laptop.rental.known()["calls"][asked:].count("list") > 1, "a look")
    else:
        process.wait()
    laptop.rental.release()
    _, said = process.communicate(timeout=120)
    until(lambda: laptop.rental.known()["held"] == "", "it takes effect")

    if name == "INT":
        assert process.returncode == 130, said
        assert laptop.rental.alive == []
    (rented,) = laptop.events("machine", "rent")[-1:]
    assert laptop.rental.alive == laptop.rented() == [rented["id"]]
    laptop.events("machine", "destroy", "--all", "--yes")
    assert laptop.rental.alive == []
