"""Machines that are lost: told apart, and replaced by others that serve, wherever it was cut off."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision import rollout
from provision.cli.main import main
from provision.errors import DeployError, Refused
from provision.project import load
from provision.providers.face import Loss, Machine, Order, State
from provision.providers.vast_records import machine_of
from provision.rollout.lost import Back, Endpoints, Failed, GivenBack, Lost, attend, explained
from provision.targets import Deployment, Interrupt
from provision.targets.labels import Label
from provision.targets.machines import Machines
from tests.deploy.world import SERVER
from tests.faults.hooks import until
from tests.providers.books import Told, agree, of_target
from tests.providers.conftest import CLOCK, KEY, Rental, offer
from tests.providers.laptop import DECLARED, ROOT, boot
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost
from tests.testbed.slots import Slot

Market = Callable[..., Rental]

pytestmark = pytest.mark.root

_RECORD = {"id": 7, "label": "x", "dph_base": 0.2, "dph_total": 0.21, "start_date": 1.0}
_STOPPED = {"actual_status": "stopped", "cur_state": "stopped", "intended_status": "stopped", "next_state": "stopped"}


@pytest.mark.parametrize(
    ("record", "state", "loss"),
    [
        ({"actual_status": "running"}, State.RUNNING, None),
        ({"actual_status": "running", "end_date": 1.0}, State.RUNNING, None),
        ({**_STOPPED, "is_bid": True, "min_bid": 0.205}, State.LOST, Loss.OUTBID),
        ({**_STOPPED, "is_bid": True}, State.LOST, Loss.OUTBID),
        ({**_STOPPED, "is_bid": True, "min_bid": 0.2}, State.STOPPED, None),
        (_STOPPED, State.STOPPED, None),
        ({**_STOPPED, "end_date": 1.0}, State.STOPPED, Loss.ENDED),
        ({**_STOPPED, "end_date": 2000.0}, State.STOPPED, None),  # whatever the clock here says
        ({"actual_status": "offline"}, State.DEAD, Loss.OFFLINE),
        ({"actual_status": "unknown"}, State.DEAD, Loss.OFFLINE),
        ({"actual_status": "exited"}, State.DEAD, Loss.BROKEN),
        ({"actual_status": "created", "status_msg": "Error: OCI runtime create failed"}, State.DEAD, Loss.BROKEN),
    ],
)
def test_what_befell_a_machine_is_told_apart(record: dict[str, Any], state: State, loss: Loss | None) -> None:
    found = machine_of({**_RECORD, **record}, 1000.0)
    assert found is not None
    assert (found.state, found.loss) == (state, loss)


def deployment(folder: Path, rental: Rental, on_event: Callable[[Any], None] = lambda _: None) -> Deployment:
    """As a verb has it, on a clock that goes fast."""
    loaded = load(folder, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="gpu")
    made = Deployment(loaded, "gpu", on_event=on_event)
    made.machines = Machines(loaded, "gpu", on_event, CLOCK)
    return made


@contextmanager
def deploying() -> Iterator[Interrupt]:
    yield Interrupt()


def look(folder: Path, rental: Rental, *kinds: type) -> list[Any]:
    """What a look tells: events of these kinds, where they are given. Else it is said what failed in it."""
    found = list(attend(deployment(folder, rental), deploying))
    failed = [(each.error.what, each.error.why) for each in found if isinstance(each, Failed)]
    assert not kinds or [type(each) for each in found] == [*kinds], failed
    return found


def served(found: list[Any]) -> list[int]:
    """The machines that are told as endpoints."""
    return [each.id for each in found[-1].serving]


def brought(folder: Path, rental: Rental) -> Machine:
    """The first machine of the target, rented and deployed to."""
    ((machine, _),) = deployment(folder, rental).machines.rent()
    rollout.up(deployment(folder, rental))
    return machine


def declare(folder: Path, on_loss: str) -> None:
    with (folder / "deploy.toml").open("a") as file:
        file.write(f'kind = "interruptible"\nbid = 0.2\non_loss = "{on_loss}"\n')


class Cut(BaseException):
    """The laptop's end, in the middle of a look."""


def books(folder: Path, rental: Rental, given: list[GivenBack] | None = None) -> None:
    """No machine is unknown, and the exact sum is told of those that were given back."""
    said = [Told(each.machine.id, each.cost, each.charged) for each in given or ()]
    agree(rental, of_target(deployment(folder, rental).machines), said)


@pytest.fixture
def project(tmp_path: Path, slot: Slot) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(SERVER, folder)
    (folder / "deploy.toml").write_text(DECLARED.format(identity=slot.identity, digest="0" * 64))
    return folder


@pytest.fixture
def hosts(make_host: MakeHost) -> list[TestHost]:
    return [make_host(Kind.SUPERVISORD), make_host(Kind.SUPERVISORD)]


@pytest.mark.parametrize(
    ("boots", "loss"),
    [
        pytest.param({"outbid_after": 1}, Loss.OUTBID, id="outbid"),
        pytest.param({"becomes": "offline"}, Loss.OFFLINE, id="offline", marks=pytest.mark.slow),
        pytest.param({"ended": True}, Loss.ENDED, id="ended", marks=pytest.mark.slow),
    ],
)
def test_a_lost_machine_is_given_back_once_another_serves_in_its_place(
    boots: dict[str, Any], loss: Loss, hosts: list[TestHost], project: Path, market: Market
) -> None:
    rental = market(None, *map(boot, hosts))
    declare(project, "rent again")
    old = brought(project, rental)
    assert served(look(project, rental)) == [old.id]
    rental.change(old.id, **boots)
    hosts[0].stop()

    lost, back, given, left = look(project, rental, Lost, Back, GivenBack, Endpoints)

    assert (lost.machine.id, lost.loss, lost.next) == (old.id, loss, "")
    assert back.instead_of == (old.id,)
    assert given.machine.id == old.id
    assert served([left]) == rental.alive == [back.machine.id]
    assert json.loads(hosts[1].exec(["curl", "-fsS", "http://127.0.0.1:8000/"]).stdout)["version"] == "1"
    # It ends when the lost one would have ended: what may be spent stays what was declared.
    assert back.machine.label.split(" ")[2] == old.label.split(" ")[2]
    look(project, rental, Endpoints)
    books(project, rental, [given])


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["ship", "prove"])
def test_a_machine_that_is_outbid_in_the_middle_of_a_deploy_is_named_and_replaced(
    phase: str, hosts: list[TestHost], project: Path, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    rental = market(None, *map(boot, hosts))
    declare(project, "rent again")
    ((old, _),) = deployment(project, rental).machines.rent()
    wanted = {"event": "phase", "phase": "ship"} if phase == "ship" else {"event": "step", "step": "start"}

    def lose(event: dict[str, Any]) -> None:
        if hosts[0]._running and wanted.items() <= event.items():
            rental.change(old.id, outbid_after=1)
            hosts[0].stop()

    with pytest.raises(DeployError) as failed:
        made = deployment(project, rental, lose)
        with explained(made):
            rollout.up(made)

    assert hosts[0]._running is None
    assert f"Machine {old.id} is lost: somebody bids more for it." in failed.value.why
    assert failed.value.next_step == "deploy machine watch --once --target gpu"
    found = look(project, rental, Lost, Back, GivenBack, Endpoints)
    assert rental.alive == served(found) != [old.id]
    books(project, rental, [found[2]])


def test_who_was_cut_off_in_the_middle_is_gone_on_for_by_whoever_looks_next(
    hosts: list[TestHost], project: Path, market: Market
) -> None:
    rental = market(None, *map(boot, hosts))
    declare(project, "rent again")
    old = brought(project, rental)
    rental.change(old.id, outbid_after=1)
    hosts[0].stop()

    def look_until(what: str) -> None:
        def tell(event: dict[str, Any]) -> None:
            if event.get("phase") == what:
                raise Cut

        with pytest.raises(Cut):
            list(attend(deployment(project, rental, tell), deploying))

    look_until("rent")  # given up, and nothing is rented yet
    assert rental.alive == [old.id]
    look_until("ship")  # another is there, and nothing is on it
    assert len(rental.alive) == 2

    found = look(project, rental, Back, GivenBack, Endpoints)

    assert rental.alive == served(found) == [found[0].machine.id]
    assert len(rental.known()["machines"]) == 2
    books(project, rental, [found[1]])


def test_one_that_lost_its_place_does_not_come_back_to_spend_what_another_may(
    hosts: list[TestHost], project: Path, market: Market
) -> None:
    rental = market(None, boot(hosts[0]), {"fatal": "OCI runtime create failed"}, {"fatal": "no space left on device"})
    declare(project, "rent again")
    old = brought(project, rental)
    rental.change(old.id, outbid_after=1)

    look(project, rental, Lost, Failed, Endpoints)  # and nothing could be rented in its place
    rental.change(old.id, outbid_after=None, returns=True)  # its price falls

    assert [each["stopped"] for each in rental.known()["machines"] if each["id"] == old.id] == [True]
    assert rental.alive == [old.id]


def test_one_that_came_back_before_anybody_looked_again_is_stopped_before_another_is_rented(
    hosts: list[TestHost], project: Path, market: Market
) -> None:
    rental = market(None, *map(boot, hosts))
    declare(project, "rent again")
    old = brought(project, rental)
    deployment(project, rental).machines.give_up(old)  # cut off there; and it runs

    def tell(event: dict[str, Any]) -> None:
        if event.get("phase") == "rent":
            raise Cut

    with pytest.raises(Cut):
        list(attend(deployment(project, rental, tell), deploying))

    assert [each["stopped"] for each in rental.known()["machines"]] == [True]
    back, given, _ = look(project, rental, Back, GivenBack, Endpoints)
    assert (back.instead_of, given.machine.id) == ((old.id,), old.id)
    books(project, rental, [given])


@pytest.mark.slow
def test_what_is_waited_for_is_an_endpoint_again_when_it_is_back(
    hosts: list[TestHost], project: Path, market: Market
) -> None:
    rental = market(None, boot(hosts[0]))
    declare(project, "wait")
    old = brought(project, rental)
    rental.change(old.id, outbid_after=1)
    hosts[0].stop()

    lost, left = look(project, rental, Lost, Endpoints)
    assert (lost.loss, lost.next) == (Loss.OUTBID, "")
    assert (left.serving, left.missing) == ([], 1)
    with pytest.raises(Refused, match="no machine") as refused:
        deployment(project, rental).hosts  # noqa: B018
    assert f"Machine {old.id} is lost: outbid." in refused.value.why

    hosts[0].start()  # its boot hook starts what served there
    hosts[0].exec(["sh", "-c", "rm /etc/ssh/ssh_host_*; ssh-keygen -A"])
    hosts[0].reboot()
    rental.change(old.id, outbid_after=None, stopped=False, inside=hosts[0].inside([]))
    rental.vast.machine(old.id)  # it boots, and prints its new key
    until(lambda: served(look(project, rental)) == [old.id], "it serves again")

    assert rental.alive == [old.id]
    (project / "known_hosts").unlink()  # as in CI, where nobody has looked yet: the key comes through the provider
    assert served(look(project, rental)) == [old.id]


def test_nothing_is_rented_while_the_account_has_no_credit_and_then_it_is_told(project: Path, market: Market) -> None:
    rental = market(None, {"start": 1})
    declare(project, "rent again")
    made = deployment(project, rental).machines
    number = made.provider.rent(made.offering.offers()[0], _order(made))
    rental.change(number, credit=0.0)

    lost, left = look(project, rental, Lost, Endpoints)

    assert (lost.loss, left.missing) == (Loss.NO_CREDIT, 1)
    assert lost.next.startswith("add credit")
    assert rental.alive == [number]
    assert rental.known()["calls"].count("rent") == 1


def test_what_cannot_be_replaced_is_told_and_tried_again_and_nothing_is_left_behind(
    project: Path, market: Market
) -> None:
    rental = market([offer(n) for n in range(1, 6)], {"start": 1}, {"fatal": "OCI runtime create failed"})
    declare(project, "rent again")
    made = deployment(project, rental).machines
    number = made.provider.rent(made.offering.offers()[0], _order(made))
    rental.change(number, becomes="offline")

    lost, failed, left = look(project, rental, Lost, Failed, Endpoints)
    assert "does not start: it does not recover" in str(failed.error)
    assert (lost.machine.id, left.missing, rental.alive) == (number, 1, [number])
    look(project, rental, Failed, Endpoints)
    assert rental.alive == [number]
    books(project, rental)


def test_in_the_place_of_one_whose_end_has_come_nothing_is_rented(project: Path, market: Market) -> None:
    rental = market(None, {"start": 1})
    declare(project, "rent again")
    made = deployment(project, rental).machines
    order = _order(made, 1.0)
    number = made.provider.rent(made.offering.offers()[0], order)
    rental.change(number, becomes="offline")

    lost, _ = look(project, rental, Lost, Endpoints)

    assert lost.next == "deploy machine reap"
    assert rental.known()["calls"].count("rent") == 1
    made.give_up(made.rented()[0])  # as by one who looked before its end
    found = look(project, rental, GivenBack, Endpoints)
    assert rental.alive == []
    books(project, rental, [found[0]])


def test_the_verb_says_what_is_lost_and_what_is_left(
    project: Path, market: Market, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rental = market(None, {"start": 1})
    made = deployment(project, rental).machines
    number = made.provider.rent(made.offering.offers()[0], _order(made))
    rental.change(number, becomes="offline")
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("VAST_URL", rental.url)

    assert main(["machine", "watch", "--once", "-C", str(project)]) == 3
    said = capsys.readouterr().out
    assert f"{number} (deploy/cres/gpu/1) is lost: offline: its host is offline; next: deploy machine destroy" in said
    assert "1 of 1 machines do not serve" in said
    assert main(["machine", "watch", "--once", "--json", "-C", str(project)]) == 3
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in events] == ["lost", "endpoints"]
    assert events[1] == {"event": "endpoints", "endpoints": [], "missing": 1}
    assert main(["machine", "list", "-C", str(project)]) == 0
    assert "dead (offline)" in capsys.readouterr().out


def test_a_schedule_in_ci_looks_after_machines_and_reaps_what_is_past_its_end(
    project: Path, market: Market, tmp_path: Path
) -> None:
    rental = market(None, {"start": 1})
    declare(project, "rent again")
    made = deployment(project, rental).machines
    lost, past = (made.provider.rent(made.offering.offers()[0], _order(made, ends)) for ends in (0.0, 1.0))
    made.provider.rename(past, str(Label("deploy/another/gpu/1", 16 * "1", 1.0)))
    rental.change(lost, becomes="offline")

    def step(command: str) -> tuple[int, str, str]:
        """What action.yml has its last step do; its exit status, log, and summary."""
        words = shlex.split(yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"][-1]["run"])[2:]
        ours = {"VAST_API_KEY": KEY, "VAST_URL": rental.url, "PYTHONPATH": str(ROOT), "DEPLOY_COMMAND": command}
        shown = tmp_path / f"summary-{len(command)}"
        environ = {**os.environ, **ours, "GITHUB_STEP_SUMMARY": str(shown)}
        done = subprocess.run(
            [sys.executable, *words], cwd=project, env=environ, capture_output=True, text=True, check=False
        )
        assert KEY not in done.stdout + done.stderr + shown.read_text()
        return done.returncode, done.stdout, shown.read_text()

    code, log, shown = step("machine reap --target gpu")
    assert (code, rental.alive) == (0, [lost]), log
    assert f"machine {past}: **destroyed** it has cost $" in shown

    declared = (project / "deploy.toml").read_text()
    (project / "deploy.toml").write_text(declared.replace('on_loss = "rent again"', 'on_loss = "wait"'))
    code, log, shown = step("machine watch --once --target gpu")
    assert code == 3
    assert f"::warning::machine {lost} is lost: offline\n" in log
    assert f"machine {lost} is **lost**: offline" in shown
    assert "**1 of the target's machines do not serve.**" in shown


def _order(made: Machines, ends: float = 0.0) -> Order:
    """What is in the first place of the target, and ends then; in an hour, if that is not said."""
    return Order(str(Label(made.places.label(1), 16 * "0", ends or time.time() + 3600)), "app", 1)
