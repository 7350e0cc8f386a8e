"""A release reaches the users of three hosts by steps: host by host, each judged by itself, and nobody is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.in_turn import SICK, Fleet, in_turn
from tests.deploy.world import World
from tests.faults.hooks import until
from tests.images.make import KEY, private_pem, public_pem
from tests.testbed import TestHost
from tests.testbed.fixtures import MakeHost, Place
from tests.testbed.kinds import Kind


@pytest.fixture
def fleet(supervisord_host: TestHost, make_host: MakeHost, place: Place, tmp_path: Path) -> Iterator[Fleet]:
    hosts = [supervisord_host, make_host(Kind.SUPERVISORD), make_host(Kind.SUPERVISORD)]
    first = World(tmp_path / "project", hosts[0], "supervisord", place.path, place.port(), place.name)
    first.target = {"name_prefix": f"{place.name}-"}
    fleet = in_turn(first, hosts)
    yield fleet
    fleet.deploy("down")


@pytest.mark.slow
def test_the_canary_host_judges_it_first_then_the_others_and_nobody_notices(fleet: Fleet) -> None:
    fleet.web("1")
    fleet.deploy("up")
    fleet.web("2", "30%", "100%")
    a, b, c = fleet.names
    assert f"that begins once {a} promoted it" in fleet.deploy("plan")

    with fleet.users() as met:
        said = fleet.deploy("up")
        assert f"{b}: nobody comes to it yet: its steps begin once {a} promoted it" in said
        assert fleet.ends() == {a: "promoted", b: "promoted", c: "promoted"}

    assert fleet.versions == ["2", "2", "2"]
    assert [(each["errors"], each["failed"]) for each in met] == [(0, [])] * 3
    begun = [world.state()["rollout"]["began"] for world in fleet.each]
    assert begun == sorted(begun)
    assert "unchanged" in fleet.deploy("up")


@pytest.mark.slow
def test_one_that_fails_on_a_later_host_leaves_stable_there_and_what_serves_elsewhere(fleet: Fleet) -> None:
    fleet.web("1")
    fleet.deploy("up")
    a, b, c = fleet.names
    fleet.each[1].host.exec(["touch", SICK])
    fleet.web("2", "50%", env={"VERSION": "2", "ERRORS": "0.9", "ERRORS_AT": SICK})

    with fleet.users():
        fleet.deploy("up")
        told = fleet.deploy("rollout", "watch", code=3)
    assert f"{a}: promoted" in told
    assert f"{b}: aborted: step 1 of 1" in told
    assert f"{c}: aborted: it was aborted on {b}, before its turn came here." in told
    assert f"deploy rollback --host {a}" in told
    assert fleet.versions == ["2", "1", "1"]
    assert "of the canary's requests failed" in fleet.deploy("history", "--host", b)
    assert fleet.ends(code=3) == {a: "promoted", b: "aborted", c: "aborted"}

    fleet.web("3", env={"VERSION": "3"})  # what was mended reaches all of them
    with fleet.users() as met:
        fleet.deploy("up")
        assert set(fleet.ends().values()) == {"promoted"}
    assert fleet.versions == ["3", "3", "3"]
    assert [each["failed"] for each in met] == [[]] * 3


@pytest.mark.slow
def test_one_that_fails_on_the_canary_host_reaches_nobody_else(fleet: Fleet) -> None:
    fleet.web("1")
    fleet.deploy("up")
    a, b, c = fleet.names
    fleet.web("2", "50%", env={"VERSION": "2", "ERRORS": "0.9"})

    with fleet.users() as met:
        fleet.deploy("up")
        assert fleet.ends(code=1) == {a: "aborted", b: "aborted", c: "aborted"}
    assert fleet.versions == ["1", "1", "1"]
    assert [set(each["versions"]) for each in met[1:]] == [{"1"}, {"1"}]
    assert [each["errors"] for each in met[1:]] == [0, 0]


@pytest.mark.slow
def test_with_the_laptop_gone_each_host_ends_its_part_and_the_next_verb_goes_on(fleet: Fleet) -> None:
    fleet.web("1")
    fleet.deploy("up")
    fleet.web("2", "50%")
    a, b, _ = fleet.names
    fleet.deploy("up")
    assert f"waits for {a}, {b}" in fleet.deploy("status")
    with fleet.users():  # only now, or the canary host might have its verdict before the last host has the release
        until(lambda: fleet.statuses[0] == "promoted", "the canary host has its verdict", 60)
        assert fleet.statuses[1:] == ["waiting", "waiting"]

        fleet.deploy("up")  # of anybody who has the same release
        until(lambda: fleet.statuses[1] == "promoted", "the second host has its verdict", 60)
        assert fleet.statuses[2] == "waiting"
        assert "its turn has come" in fleet.deploy("rollout", "resume")
        until(lambda: fleet.statuses[2] == "promoted", "the third host has its verdict", 60)
    assert fleet.versions == ["2", "2", "2"]


@pytest.mark.slow
def test_where_evidence_is_required_each_host_passes_and_who_has_the_key_promotes_all(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (fleet.world.folder / "evidence.pub").write_bytes(public_pem(KEY))
    fleet.world.target["require"] = "evidence"
    monkeypatch.setenv("DEPLOY_EVIDENCE_KEY", private_pem(KEY))
    monkeypatch.setenv("HOME", str(tmp_path))
    fleet.web("1")
    fleet.deploy("up", "--channel", "canary")
    fleet.deploy("promote")

    fleet.web("2", "50%")
    with fleet.users() as met:
        fleet.deploy("up")
        assert set(fleet.ends().values()) == {"passed"}
        assert fleet.statuses == ["passed"] * 3
        fleet.deploy("rollout", "promote")
    assert (fleet.versions, fleet.statuses) == (["2"] * 3, ["promoted"] * 3)
    assert [(each["errors"], each["failed"]) for each in met] == [(0, [])] * 3


@pytest.mark.slow
def test_somebody_says_what_becomes_of_it_on_all_hosts_or_on_one(fleet: Fleet) -> None:
    fleet.web("1")
    fleet.deploy("up")
    a, _, c = fleet.names
    fleet.web("2", "10%", each="10m")
    fleet.deploy("up")

    fleet.deploy("rollout", "pause")
    assert fleet.statuses == ["paused"] * 3
    fleet.deploy("rollout", "resume")
    assert fleet.statuses == ["running", "waiting", "waiting"]
    assert "its turn has come" not in fleet.deploy("rollout", "resume")
    fleet.deploy("rollout", "resume", "--host", c)
    assert fleet.statuses == ["running", "waiting", "running"]

    fleet.web("3", "10%", each="10m")
    refused = fleet.deploy("up", code=4)
    assert "a rollout of release" in refused
    assert [len(set(world.state()["channels"].values())) for world in fleet.each] == [2, 2, 2]

    fleet.deploy("rollout", "promote", "--host", a)
    assert fleet.statuses == ["promoted", "waiting", "running"]
    fleet.deploy("promote")
    assert (fleet.versions, fleet.statuses) == (["2"] * 3, ["promoted"] * 3)
    assert "no rollout is under way here" in fleet.deploy("rollout", "pause", code=4)

    fleet.deploy("up")
    fleet.deploy("rollout", "abort")
    assert (fleet.versions, fleet.statuses) == (["2"] * 3, ["aborted"] * 3)
