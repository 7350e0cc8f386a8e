"""The guard of a rented machine: what it decides, whatever is killed, whatever the provider answers."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.agent import rented
from provision.agent.alone import budget, program
from provision.agent.alone.activity import computes, deploys, has_work
from provision.agent.alone.budget import Act, Guard, decide
from provision.contract.layout import BUDGET_GUARD
from provision.project.renting import Budget
from provision.providers.face import Machine, Needs, Order, State
from provision.providers.vast import Vast
from provision.targets.guarding import terms as terms_of
from provision.targets.labels import Label
from tests.faults.hooks import until
from tests.providers.conftest import SPEED, Rental
from tests.providers.guarded import Guarded, terms

_AWAY = 1.5  # seconds, of 1.7 cents
_A_MOMENT = 0.01  # dollars: two clocks are read one after the other
_TEXT = program("alone/budget", "alone/activity", "trust", call="main()")


@pytest.mark.parametrize(
    ("declared", "now", "spent", "unused", "act"),
    [
        ({}, 0, 0, 1e9, Act("", "")),
        ({"ends": 100.0}, 99, 0, 0, Act("", "")),
        ({"ends": 100.0}, 100, 0, 0, Act("destroy", "its end has come")),
        # What two minutes cost is left for a provider that does not answer at once.
        ({}, 0, 12.47, 0, Act("", "")),
        ({}, 0, 12.48, 0, Act("destroy", "it has cost $12.48 of its $12.50")),
        ({"hours": [(0.0, 10.0), (20.0, 30.0)]}, 25, 0, 0, Act("", "")),
        ({"hours": [(0.0, 10.0), (20.0, 30.0)]}, 10, 0, 0, Act("stop", "it is not wanted at this hour")),
        ({"hours": []}, 10, 0, 0, Act("stop", "it is not wanted at this hour")),
        ({"hours": [], "ends": 5.0}, 10, 0, 0, Act("destroy", "its end has come")),
        ({"idle": 1800.0}, 0, 0, 1799, Act("", "")),
        ({"idle": 1800.0}, 0, 0, 1800, Act("stop", "nobody has used it for 30 minutes")),
        (
            {"idle": 1800.0, "when_idle": "destroy"},
            0,
            0,
            1800,
            Act("destroy", "nobody has used it for 30 minutes"),
        ),
    ],
)
def test_what_a_guard_decides(declared: dict[str, Any], now: float, spent: float, unused: float, act: Act) -> None:
    assert decide(terms(**declared), now, spent, unused) == act


def test_a_last_backup_is_made_before_a_machine_is_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made, go = tmp_path / "made", tmp_path / "go"
    text = f"import os, sys, time\nopen({str(made)!r}, 'a').write(sys.argv[1])\n"
    (tmp_path / "backup.py").write_text(f"{text}while not os.path.exists({str(go)!r}): time.sleep(0.05)\n")
    known = terms(ends=10_000.0, backup=str(tmp_path / "backup.py"))
    guard = Guard({}, known, "", 0.0)
    assert guard.tick(known, 9_000.0).what == ""
    assert not made.exists()

    assert guard.tick(known, 9_500.0).what == ""
    until(lambda: made.exists() and made.read_text() == "now", "a backup is made")

    # For its end nothing waits; for one that nobody uses there is time.
    assert not guard._keeps(known, 10_000.0)
    idle = terms(idle=60.0, when_idle="destroy", backup=known["backup"])
    guard.unused = 60.0
    assert guard._keeps(idle, 0.0)
    go.touch()
    until(lambda: not guard._keeps(idle, 0.0), "it is made")
    assert made.read_text() == "now"


def test_a_guard_is_told_times_to_go_whatever_clock_is_right() -> None:
    noon = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC).timestamp()  # a Friday
    declared = Budget.model_validate(
        {"per_hour": 0.6, "total": 25, "until": "3d", "idle": "30m", "hours": "Mon-Fri 08:00-20:00 Europe/Berlin"}
    )
    machine = Machine(
        id=7000,
        machine=1,
        label="",
        state=State.RUNNING,
        said="",
        gpu="",
        per_hour=0.5,
        is_bid=False,
        began=noon - 1800,
        address=None,
        ports={},
    )
    label = Label("deploy/cres/gpu/1", "n", noon + 3 * 86400, 12.5)

    told = terms_of(
        machine, label, Vast("https://x.test", "account-key").own(7000), declared, now=noon, ports=[80], path="/w"
    )

    assert (told["seconds"], told["share"], told["spent"]) == (3 * 86400, 12.5, 0.25)
    # Until Friday at 18:00 UTC, then from Monday at 6:00 until its end.
    assert told["hours"] == [(0, 6 * 3600), (66 * 3600, 72 * 3600)]
    assert told["destroy"] == {"method": "DELETE", "url": "https://x.test/api/v0/instances/7000/", "body": "{}"}
    assert told["stop"]["body"] == '{"state": "stopped"}'
    assert "account-key" not in json.dumps(told)


@pytest.mark.parametrize(
    ("watched", "says"),
    [
        ({}, ""),
        ({"spent": 10.0}, "this rented machine has cost $10.00 of its $12.50, at which it is destroyed; next: "),
        ({"ends": 1600.0}, "this rented machine ends in 10 minutes; next: deploy machine renew"),
        ({"ends": 0.0}, "this rented machine ends in 0 minutes; next: "),
        (
            {"doing": "destroy", "why": "its end has come", "said": "401: no"},
            "the guard of this rented machine is about to destroy it: its end has come; the provider says 401: no",
        ),
    ],
)
def test_whoever_looks_is_told_what_becomes_of_the_machine(
    watched: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rented, "BUDGET_GUARD", str(tmp_path))
    assert rented._of_budget(1000.0) == ""
    known = {"share": 12.5, "spent": 1.0, "ends": 1e6, "doing": "", "why": "", "said": ""}
    (tmp_path / "watched.json").write_text(json.dumps({**known, **watched}))
    found = rented._of_budget(1000.0)
    assert found.startswith(says)
    assert bool(found) == bool(says)


@pytest.fixture
def guarded(market: Callable[..., Rental], tmp_path: Path) -> Iterator[Guarded]:
    """Its looks are many a second, and so are its tries."""
    rental = market(None, {"start": 1})
    vast = rental.vast
    number = vast.rent(vast.offers(Needs())[0], Order("deploy/cres/gpu/1 x", "x", 1))
    folder = tmp_path / "guard"
    script = vast.guard(1e9).replace("sleep 1", "sleep 0.1").replace(BUDGET_GUARD, str(folder))
    script = script.replace("/var/log/deploy-guard", str(tmp_path / "log"))
    text = _TEXT
    for name, slow, quick in (("_TICK", "1.0", "0.05"), ("_AGAIN", "30.0", "0.1"), ("_SELDOM", "15.0", "0.1")):
        assert f"\n{name} = {slow}" in text
        text = text.replace(f"\n{name} = {slow}", f"\n{name} = {quick}")
    folder.mkdir()
    (folder / "guard.py").write_text(text)
    own = {"CONTAINER_API_KEY": f"instance-{number}", "CONTAINER_ID": str(number)}
    environ = {"PATH": os.environ["PATH"], **own}
    shell = subprocess.Popen(["sh", "-c", f"{script}wait"], env=environ, start_new_session=True)
    yield Guarded(folder, rental, number, shell)
    os.killpg(shell.pid, 9)
    shell.wait()


@pytest.mark.parametrize("killed", ["who acts", "who waits", "both", "the shell and who acts"])
def test_a_guard_of_which_something_was_killed_ends_the_machine_all_the_same(killed: str, guarded: Guarded) -> None:
    guarded.told()
    until(lambda: bool(guarded.holder("acts") and guarded.holder("waits")), "two guards")
    until(lambda: "at" in guarded.watched(), "the first look")
    before = guarded.uncounted()
    acts, waits = guarded.holder("acts"), guarded.holder("waits")
    if "shell" in killed:
        until(lambda: len(_children(guarded.shell.pid)) == 1, "the loop")
        os.kill(_children(guarded.shell.pid)[0], 9)
    program_ = guarded.folder / "guard.py"
    if killed == "both":  # and for a while nothing can be started that counts
        program_.rename(guarded.folder / "away")
    if killed in ("who waits", "both"):
        os.kill(waits, 9)
    if killed != "who waits":
        os.kill(acts, 9)
    if killed == "both":
        time.sleep(_AWAY)
        (guarded.folder / "away").rename(program_)
    until(lambda: {guarded.holder("acts"), guarded.holder("waits")}.isdisjoint({0}), "two guards again")

    guarded.told(ends=0.0, nonce="later")
    until(lambda: guarded.rental.alive == [], "the machine's end")
    # Each second is counted in which nothing ran that could count, and none twice.
    assert guarded.uncounted() == pytest.approx(before, abs=_A_MOMENT)
    assert guarded.watched()["spent"] <= guarded.rental.known()["machines"][0]["cost"] + _A_MOMENT


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_guard_whose_key_is_refused_says_so_and_tries_on(guarded: Guarded) -> None:
    guarded.rental.fail(destroy=["401"] * 1000)
    guarded.told(ends=0.0)
    until(lambda: guarded.watched().get("said", "").startswith("401: "), "that the key is refused")
    assert guarded.watched()["doing"] == "destroy"

    before = guarded.uncounted()
    guarded.rental.fail(destroy=["500", "drop", "429"])
    until(lambda: guarded.rental.alive == [], "the machine's end")
    assert guarded.uncounted() == pytest.approx(before, abs=_A_MOMENT)


def test_a_guard_that_can_t_run_leaves_the_end_to_the_shell_loop(guarded: Guarded) -> None:
    (guarded.folder / "guard.py").write_text("raise SystemExit(1)")
    (guarded.folder / "ends").write_text("1\n")
    until(lambda: guarded.rental.alive == [], "the machine's end")


def test_a_machine_is_gone_before_it_costs_more_than_its_share(guarded: Guarded, tmp_path: Path) -> None:
    # Of its price two minutes are left for the provider to answer in, and one second of it to be used.
    (machine,) = guarded.rental.known()["machines"]
    a_second = machine["price"] * SPEED / 3600
    share = machine["cost"] + 121 * a_second
    guarded.told(share=share)
    until(lambda: guarded.rental.alive == [], "the machine's end")

    (machine,) = guarded.rental.known()["machines"]
    assert share - 120 * a_second <= guarded.watched()["spent"] <= machine["cost"] + _A_MOMENT < share
    log = (tmp_path / "log").read_text()
    assert "destroy: it has cost $" in log


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Bytes that a machine has received and sent, as its kernel says."""
    counted = [0, 0]
    monkeypatch.setattr(budget, "traffic", lambda: tuple(counted))
    monkeypatch.chdir(tmp_path)
    return counted


def test_traffic_is_money_and_four_fifths_of_the_share_are_said(
    carried: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    declared = terms(share=10.0, per_byte_in=1e-9, per_byte_out=2e-9)
    carried[:] = [3_000_000_000, 0]
    guard = Guard({}, declared, "1", 0.0)

    assert guard.tick(declared, 0.0).what == ""
    assert guard.spent == pytest.approx(3.0, abs=0.01)
    carried[1] = 2_500_000_000
    guard.tick(declared, 0.0)
    assert guard.spent == pytest.approx(8.0, abs=0.01)
    assert capsys.readouterr().err.endswith(" it has cost $8.00 of its $10.00\n")
    guard.tick(declared, 0.0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seen", "spent"),
    [
        # Nobody knows what it did meanwhile: it cost what it costs.
        ({"start": "2", "received": 5_000_000_000}, 2.2),
        ({"start": "1", "received": 5_000_000_000}, 7.2),  # counted from nothing since it started again
        ({"start": "1", "doing": "stop"}, 7.0),  # it stopped itself, and its disk was kept
        ({"start": "2", "doing": "stop", "received": 5_000_000_000}, 2.2),  # it was about to
    ],
)
def test_what_a_machine_cost_while_nobody_guarded_it_is_known(
    seen: dict[str, Any], spent: float, carried: list[int]
) -> None:
    declared = terms(per_byte_in=1e-9)
    carried[:] = [6_000_000_000, 0]
    guard = Guard({"spent": 1.0, "at": 0.0, "nonce": "n", **seen}, declared, "2", 3600.0 / 3)
    guard.tick(declared, 1200.0)
    assert guard.spent == pytest.approx(spent, abs=0.01)


def test_a_machine_that_is_asked_for_goes_on_and_stops_once_nobody_does(guarded: Guarded) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        asking = threading.Event()

        def ask() -> None:
            while not asking.is_set():
                with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as one:
                    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    one.recv(100)
                asking.wait(0.05)

        asks = threading.Thread(target=ask)
        asks.start()
        try:
            guarded.told(idle=1.5, ports=[port])
            until(lambda: "at" in guarded.watched(), "the first look")
            began = guarded.watched()["at"]
            until(lambda: guarded.watched()["at"] > began + 2, "more than it may be idle for")
            assert not guarded.is_stopped
        finally:
            asking.set()
            asks.join()
        until(lambda: guarded.is_stopped, "that it stops itself")
        assert guarded.watched()["why"].startswith("nobody has used it")


@pytest.mark.parametrize(("hours", "stops"), [([], True), ([(0.0, 1e12)], False)])
def test_a_machine_stops_itself_outside_its_hours(hours: list[Any], stops: bool, guarded: Guarded) -> None:
    guarded.told(hours=hours)
    until(lambda: "at" in guarded.watched(), "the first look")
    until(lambda: guarded.is_stopped or not stops, "that it stops itself")
    assert guarded.is_stopped == stops
    assert guarded.rental.alive == [guarded.number]


def test_who_deploys_keeps_a_machine(tmp_path: Path) -> None:
    locks = tmp_path / "cres.previews" / "pr-1" / ".deploy" / "locks"
    locks.mkdir(parents=True)
    (locks / "lock").touch()
    os.mkfifo(locks / "pipe")  # what never answers is not waited for

    assert not deploys(str(tmp_path / "cres"))
    with (locks / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert deploys(str(tmp_path / "cres"))
    assert not deploys(str(tmp_path / "cres"))


@pytest.mark.parametrize(("told", "found"), [("0\n0", False), ("0\n3", True), ("[N/A]", False)])
def test_a_gpu_that_computes_keeps_a_machine(
    told: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program_ = tmp_path / "nvidia-smi"
    program_.write_text(f"#!/bin/sh\nprintf '{told}\\n'\n")
    program_.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert computes() == found


@pytest.mark.root
@pytest.mark.parametrize(
    ("command", "found"), [(["true"], True), (["false"], False), (["no-such-program"], True), ([], False)]
)
def test_a_command_of_the_project_s_tells_of_work(command: list[str], found: bool, tmp_path: Path) -> None:
    (tmp_path / "releases" / "1").mkdir(parents=True)
    assert not has_work(command, str(tmp_path))
    (tmp_path / "stable").symlink_to("releases/1")
    assert has_work(command, str(tmp_path)) == found
