"""Commands that are ended in the middle, by real signals: what the next command finds, and what is left to be paid."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.hooks import until
from tests.providers.books import agree, of_laptop, told
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
_QUICK = {("rent", 0, "hold", "INT")}
CASES = [
    pytest.param(*case, marks=[] if case in _QUICK else pytest.mark.slow)
    for call in CALLS
    for how in ("hold", "hold after")
    for name in ("INT", "KILL")
    for case in [(*call, how, name)]
]


def held(laptop: Laptop, endpoint: str, before: int, how: str, *words: str) -> subprocess.Popen[str]:
    """`deploy machine rent`, or another verb, that waits for the answer to one of its calls."""
    laptop.rental.fail(**{endpoint: [*[None] * before, how]})
    process = laptop.begin("machine", *(words or ["rent"]))
    # As long as it runs it is on its way there, however busy this machine is.
    until(lambda: laptop.rental.known()["held"] == [endpoint] or process.poll() is not None, "it asks, or ends", 300)
    assert process.poll() is None, process.communicate()
    return process


def interrupt_order(laptop: Laptop, process: subprocess.Popen[str]) -> None:
    """Ctrl-C while an order is held; it takes effect once somebody has looked for it in vain."""
    laptop.rental.fail(list=[None, "hold"])
    process.send_signal(signal.SIGINT)
    until(lambda: "list" in laptop.rental.known()["held"], "a second look")
    laptop.rental.release("rent")


def give_all_back(laptop: Laptop) -> None:
    """Nothing is left, and what was spent is told exactly: of what is given back now, and of what was before."""
    given = told(laptop.events("machine", "destroy", "--all", "--yes"))
    assert laptop.rental.alive == []
    agree(laptop.rental, of_laptop(laptop), given)


@pytest.mark.parametrize(("endpoint", "before", "how", "name"), CASES)
def test_rent_ends_at_any_call_and_nothing_is_unknown(
    endpoint: str, before: int, how: str, name: str, laptop: Laptop
) -> None:
    process = held(laptop, endpoint, before, how)

    if (endpoint, how, name) == ("rent", "hold", "INT"):
        interrupt_order(laptop, process)
        laptop.rental.release("list")
        _, said = process.communicate(timeout=120)
    else:
        process.send_signal(getattr(signal, f"SIG{name}"))
        _, said = process.communicate(timeout=120)
        laptop.rental.release(endpoint)

    if name == "INT":
        assert process.returncode == 130, said
        assert laptop.rental.alive == []
    (rented,) = laptop.events("machine", "rent")[-1:]
    assert laptop.rental.alive == laptop.rented() == [rented["id"]]
    give_all_back(laptop)


@pytest.mark.slow
def test_ctrl_c_twice_lets_go_and_says_how_to_look(laptop: Laptop) -> None:
    process = held(laptop, "rent", 0, "hold")
    interrupt_order(laptop, process)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    laptop.rental.release("list")

    assert process.returncode == 130
    assert "looking for 75 s whether the order took effect (Ctrl-C: let go)" in said
    assert "next: deploy machine list" in said
    assert laptop.rented() == laptop.rental.alive == [7000]
    give_all_back(laptop)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["INT", "KILL"])
@pytest.mark.parametrize("how", ["hold", "hold after"])
def test_giving_back_ends_at_any_moment_and_the_next_command_knows_what_is_left(
    how: str, name: str, laptop: Laptop
) -> None:
    laptop.events("machine", "rent")
    rented = laptop.rented()
    process = held(laptop, "destroy", 0, how, "destroy", "--all", "--yes")

    process.send_signal(getattr(signal, f"SIG{name}"))
    process.communicate(timeout=120)
    known = laptop.rented()
    assert known == laptop.rental.alive == ([] if how == "hold after" else rented)
    laptop.rental.release("destroy")

    give_all_back(laptop)


# What `deploy up` tells of itself once everything is rented, as far as it is told before anything can be committed.
STAGES = [
    {"event": "phase", "phase": "connect", "state": "begin"},
    {"event": "phase", "phase": "ship", "state": "begin"},
    {"event": "phase", "phase": "transaction", "state": "begin"},
    {"event": "step", "step": "start"},
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["INT", "KILL"])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: "-".join(stage.values()))
def test_up_ends_at_any_stage_and_the_next_one_goes_on_with_the_machine(
    stage: dict[str, str], name: str, laptop: Laptop, host: TestHost, request: pytest.FixtureRequest
) -> None:
    host.exec(["rm", "-f", "/tmp/go"])
    waiting = 'command = ["sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done; exec python3 server.py $0", "${port}"]'
    laptop.change('command = ["python3", "server.py", "${port}"]', waiting)
    laptop.change('VERSION = "1"', f'VERSION = "{request.node.name}"')
    process = laptop.begin("up", "--json")
    assert process.stdout
    for line in process.stdout:
        if stage.items() <= json.loads(line).items():
            break

    process.send_signal(getattr(signal, f"SIG{name}"))
    said = "".join(process.communicate(timeout=120))

    (machine,) = laptop.rental.alive
    if name == "INT":
        assert process.returncode == 130, said
        assert f"deploy machine destroy {machine} gives it back" in said
    host.exec(["touch", "/tmp/go"])
    laptop.events("up")  # where the laptop was killed, the host may have finished by now
    answer = json.loads(host.exec(["curl", "-fsS", "http://127.0.0.1:8000/"]).stdout)
    assert answer["version"] == request.node.name
    assert laptop.rental.alive == laptop.rented() == [machine]
    give_all_back(laptop)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hold", "hold after"])
def test_two_people_who_rent_at_once_go_on_with_one_machine(
    how: str, laptop: Laptop, host: TestHost, tmp_path: Path
) -> None:
    slower = held(laptop, "rent", 0, how)
    other = Laptop.make(tmp_path / "other", laptop.rental, host)
    rented = [each["id"] for each in other.events("machine", "rent") if each["event"] == "result"]

    laptop.rental.release("rent")
    _, said = slower.communicate(timeout=120)

    assert slower.returncode == 0, said
    assert laptop.rental.alive == laptop.rented() == other.rented() == rented == [7000]
    assert (laptop.folder / "known_hosts").read_text() == (other.folder / "known_hosts").read_text()
    other.events("up")
    give_all_back(other)
    agree(laptop.rental, of_laptop(laptop))


@pytest.mark.slow
def test_ctrl_c_of_one_of_two_leaves_the_other_s_machine_alone(laptop: Laptop, host: TestHost, tmp_path: Path) -> None:
    slower = held(laptop, "rent", 0, "hold")
    other = Laptop.make(tmp_path / "other", laptop.rental, host)
    other.events("machine", "rent")

    interrupt_order(laptop, slower)
    laptop.rental.release("list")
    _, said = slower.communicate(timeout=120)

    assert slower.returncode == 130, said
    assert laptop.rental.alive == other.rented() == [7000]
    give_all_back(other)
    agree(laptop.rental, of_laptop(laptop))
