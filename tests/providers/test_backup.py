"""What a machine writes is in a store before it is lost, unreadable there, and on the one that takes its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.contract.backup import FOLDER, PROGRAM, Seen, trouble
from provision.errors import DeployError, UsageError
from provision.project import load
from provision.targets import Deployment
from provision.targets.machines import Machines
from tests.faults.hooks import until
from tests.providers import test_lost as lost
from tests.providers.conftest import CLOCK, KEY, Rental
from tests.providers.laptop import boot
from tests.providers.store import declared, opened
from tests.testbed import TestHost
from tests.testbed.slots import Slot

Market = Callable[..., Rental]

pytestmark = pytest.mark.root

hosts, project = lost.hosts, lost.project  # fixtures
_PASSPHRASE = "what nobody guesses, written down"
_DATA = "/workspace/cres/shared/data"
_TEXT = "what users have written"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory, slot: Slot) -> Iterator[dict[str, str]]:
    """An S3 store that hosts reach, with a bucket, and the keys that open it."""
    with opened(tmp_path_factory.mktemp("store"), slot.gateway) as found:
        yield found


@pytest.fixture
def store(bucket: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same, with a folder for this test."""
    return {**bucket, "BACKUP_PASSPHRASE": _PASSPHRASE, "FOLDER": tmp_path.name.replace("_", "-")}


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, store: dict[str, str]) -> Callable[..., Deployment]:
    """One that knows the keys of the store."""

    def make(folder: Path, rental: Rental, on_event: Callable[[Any], None] = lambda _: None) -> Deployment:
        environ = {"VAST_API_KEY": KEY, "VAST_URL": rental.url, **store}
        loaded = load(folder, environ=environ, target="gpu")
        made = Deployment(loaded, "gpu", on_event=on_event)
        made.machines = Machines(loaded, "gpu", on_event, CLOCK, made.connect)
        return made

    monkeypatch.setattr(lost, "deployment", make)
    return make


def run_rclone(host: TestHost, *words: str) -> str:
    config = json.loads(host.read(f"{FOLDER}/config.json"))
    return host.exec([f"{FOLDER}/rclone", "--config", "", *words, config["store"]], env=config["variables"]).stdout


def ask(host: TestHost, word: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(host.exec(["python3", "-I", PROGRAM, word]).stdout)
    return said


def write(host: TestHost, name: str, text: str) -> None:
    """As a service does whose account is ann's."""
    host.exec(["sh", "-c", f"mkdir -p {_DATA}/of-ann && chown ann: {_DATA}/of-ann && chmod 750 {_DATA}/of-ann"])
    host.write(f"{_DATA}/of-ann/{name}", text, mode=0o640, owner="ann")


def _break(host: TestHost) -> None:
    """A key of the store that opens nothing any more."""
    config = json.loads(host.read(f"{FOLDER}/config.json"))
    host.write(f"{FOLDER}/config.right", json.dumps(config), mode=0o600)
    config["variables"]["RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY"] = "another"
    host.write(f"{FOLDER}/config.json", json.dumps(config), mode=0o600)


def _mend(host: TestHost) -> None:
    host.exec(["mv", f"{FOLDER}/config.right", f"{FOLDER}/config.json"])


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({}, ""),
        ({"tried": 9000.0, "every": 900.0, "at": 9000.0}, ""),
        ({"tried": 9000.0, "every": 900.0, "at": 3600.0, "fault": "no room"}, "the last backup failed: no room; "),
        ({"tried": 9000.0, "every": 900.0, "fault": "no room"}, "no room; no other one is whole"),
        ({"tried": -20000.0, "every": 900.0, "at": -20000.0}, "no backup is made any more; the last one that is whole"),
        ({"tried": -20000.0, "every": 86400.0, "at": -20000.0}, ""),
    ],
)
def test_what_is_wrong_with_backups_is_said(seen: Seen, said: str) -> None:
    found = trouble(seen, 9060.0)
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.slow
def test_what_a_lost_machine_wrote_is_on_the_one_that_takes_its_place(
    hosts: list[TestHost],
    project: Path,
    market: Market,
    store: dict[str, str],
    deployment: Callable[..., Deployment],
) -> None:
    rental = market(None, *map(boot, hosts))
    lost.declare(project, "rent again")
    declared(project, store["STORE"], store["FOLDER"])
    old = lost.brought(project, rental)
    write(hosts[0], "notes.txt", _TEXT)
    write(hosts[0], "gone.txt", "removed later")
    hosts[0].exec(["ln", "-s", "/etc/shadow", f"{_DATA}/of-ann/link"])
    first = deployment(project, rental).machines.back_up(old)
    assert first is not None
    hosts[0].exec(["rm", f"{_DATA}/of-ann/gone.txt"])
    assert ask(hosts[0], "now")["files"] == first["files"] - 1

    # In the store is neither a name nor a word of it, and no key is among any process's words or in the order.
    listed = run_rclone(hosts[0], "lsf", "-R", "--files-only")
    assert len(listed.splitlines()) == 2
    assert "notes" not in listed and "ann" not in listed
    assert _TEXT not in run_rclone(hosts[0], "cat")
    said = json.dumps(rental.known()["orders"])
    assert not any(value in said for value in (_PASSPHRASE, store["BACKUP_SECRET_ACCESS_KEY"], KEY))
    assert hosts[0].exec(["stat", "-c", "%a %U", FOLDER, f"{FOLDER}/config.json"]).stdout == "700 root\n600 root\n"

    rental.change(old.id, outbid_after=1)
    found = lost.look(project, rental)

    new = found[1].machine
    assert lost.served(found) == rental.alive == [new.id]
    assert hosts[1].read(f"{_DATA}/of-ann/notes.txt").decode() == _TEXT
    shown = hosts[1].exec(["stat", "-c", "%a %U", f"{_DATA}/of-ann", f"{_DATA}/of-ann/notes.txt"]).stdout
    assert shown == "750 ann\n640 ann\n"
    assert hosts[1].exec(["ls", "-A", f"{_DATA}/of-ann"]).stdout == "notes.txt\n"

    # Who comes back when its place is taken writes nothing there.
    write(hosts[0], "notes.txt", "of who was lost")
    assert "another machine is in this one's place" in ask(hosts[0], "now")["fault"]
    write(hosts[1], "more.txt", "more")
    assert ask(hosts[1], "now")["files"] == 2
    assert "of who was lost" not in hosts[1].read(f"{_DATA}/of-ann/notes.txt").decode()


@pytest.mark.slow
def test_what_the_passphrase_does_not_open_is_no_empty_store(
    hosts: list[TestHost],
    project: Path,
    market: Market,
    store: dict[str, str],
    deployment: Callable[..., Deployment],
) -> None:
    rental = market(None, *map(boot, hosts))
    declared(project, store["STORE"], store["FOLDER"])
    old = lost.brought(project, rental)
    write(hosts[0], "notes.txt", _TEXT)
    assert ask(hosts[0], "now")["files"] == 1
    rental.vast.destroy(old.id)
    (project / "known_hosts").unlink()
    before = run_rclone(hosts[0], "lsf", "-R")

    store["BACKUP_PASSPHRASE"] = "another one, as long as that"
    with pytest.raises(DeployError, match=r"the backup of .* is not in order") as refused:
        list(deployment(project, rental).machines.rent())

    assert refused.value.why == "there is a backup that this passphrase does not open"
    assert rental.alive == []
    assert run_rclone(hosts[0], "lsf", "-R") == before
    store["BACKUP_SECRET_ACCESS_KEY"] = "wrong"
    with pytest.raises(DeployError, match="is not in order"):
        list(deployment(project, rental).machines.rent())
    assert rental.alive == []
    assert len(rental.known()["machines"]) == 3


@pytest.mark.slow
def test_a_machine_backs_up_by_itself_and_never_before_it_has_what_was_there(
    hosts: list[TestHost],
    project: Path,
    market: Market,
    store: dict[str, str],
    deployment: Callable[..., Deployment],
) -> None:
    rental = market(None, *map(boot, hosts))
    declared(project, store["STORE"], store["FOLDER"])
    lost.brought(project, rental)
    write(hosts[0], "notes.txt", _TEXT)
    loop = rental.known()["orders"][0]["onstart"]
    assert f"python3 -I {PROGRAM}" in loop

    hosts[0].exec(["sh", "-c", loop.replace("sleep 60", "sleep 0.2")], env={"CONTAINER_API_KEY": "x"})
    until(lambda: len(run_rclone(hosts[0], "lsf", "-R", "--files-only").splitlines()) == 2, "it is kept")

    (machine,) = deployment(project, rental).machines.rented()
    until(lambda: deployment(project, rental).machines.backups([machine]) == {machine.id: ""}, "it says so")
    warned: list[Any] = []
    _break(hosts[0])
    assert "rclone" in ask(hosts[0], "now")["fault"]
    (wrong,) = deployment(project, rental).machines.backups([machine]).values()
    assert re.match(r"the last backup failed: rclone .*; the last one that is whole is \d minutes old", wrong)
    rollout.status(deployment(project, rental, warned.append))
    assert f"of this rented machine {wrong}; next: deploy machine backup" in [each.get("text") for each in warned]
    _mend(hosts[0])
    assert ask(hosts[0], "now")["files"] == 1
    assert deployment(project, rental).machines.backups([machine]) == {machine.id: ""}

    hosts[0].exec(["rm", f"{FOLDER}/ready"])
    assert "was not brought back here yet" in ask(hosts[0], "now")["fault"]
    hosts[0].exec(["rm", f"{FOLDER}/begun"])
    assert "which of them counts?" in ask(hosts[0], "restore")["fault"]
    assert hosts[0].read(f"{_DATA}/of-ann/notes.txt").decode() == _TEXT


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"BACKUP_PASSPHRASE": ""}, "there is no BACKUP_PASSPHRASE"),
        ({"BACKUP_PASSPHRASE": "short"}, "fewer than 16 characters"),
    ],
)
def test_what_is_missing_for_a_backup_is_said_before_anything_is_paid(
    changed: dict[str, str],
    said: str,
    project: Path,
    market: Market,
) -> None:
    rental = market()
    declared(project, "http://192.0.2.1", "x")
    keys = {"BACKUP_ACCESS_KEY_ID": "a", "BACKUP_SECRET_ACCESS_KEY": "b", "BACKUP_PASSPHRASE": _PASSPHRASE, **changed}
    loaded = load(project, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url, **keys}, target="gpu")

    with pytest.raises(UsageError, match=said):
        list(Machines(loaded, "gpu", lambda _: None, CLOCK).rent())

    assert "rent" not in rental.known()["calls"]
