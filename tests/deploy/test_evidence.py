"""Evidence on hosts: recorded there, signed here, demanded before anything becomes stable."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import PutBack, Refused
from tests.deploy.world import World, web
from tests.images.make import KEY, STRANGER, private_pem, public_pem

pytestmark = [pytest.mark.root, pytest.mark.parametrize("platform", ["supervisord"], indirect=True)]


@pytest.fixture(autouse=True)
def key(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The project has its public key, this machine the other half, and the target requires evidence."""
    (world.folder / "evidence.pub").write_bytes(public_pem(KEY))
    world.target["require"] = "evidence"
    monkeypatch.setenv("DEPLOY_EVIDENCE_KEY", private_pem(KEY))
    monkeypatch.setenv("DEPLOY_SEEN", str(tmp_path / "seen.json"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def verified(world: World, channel: str = "canary") -> rollout.Verified:
    deployment = world.deployment()
    (found,) = rollout.verify(deployment, deployment.hosts, channel)
    return found


def files(world: World, ending: str) -> list[str]:
    listed = world.host.exec(["ls", f"{world.path}/.deploy/evidence"], check=False).stdout.split()
    return [f"{world.path}/.deploy/evidence/{name}" for name in listed if name.endswith(ending)]


def test_what_a_canary_proved_is_signed_and_lets_it_become_stable(world: World) -> None:
    world.web("1")
    with pytest.raises(Refused, match="there is no evidence for this digest"):
        world.up()
    assert not world.exists("stable")

    canary = world.up("canary")
    outcome = world.promote()

    found = verified(world, "stable")
    by_channel = {
        item.evidence.on_host.channel: item for item in found.found if item.evidence and item.evidence.on_host
    }
    first = by_channel["canary"].evidence
    assert first is not None
    assert outcome.plan.release == canary.plan.release == first.digest[7:]
    assert first.on_host is not None
    assert first.on_host.target == "here"
    assert first.on_host.hardware["memory"] > 0
    assert [(check.name, check.passed) for check in first.checks] == [("web http /health", True), ("web runs", True)]
    assert first.on_host.began <= first.at
    assert [entry.get("evidence") for entry in rollout.history(world.deployment())] == [
        None,
        [by_channel["canary"].artifact],
    ]


@pytest.mark.slow
def test_the_same_release_needs_no_canary_where_another_host_proved_it(world: World) -> None:
    """`up` after the canary, as a fleet does it: the evidence is about the release, wherever it came from."""
    world.web("1")
    release = world.up("canary").plan.release
    assert rollout.plan(world.deployment())[0].plan.refused is None

    assert world.up().plan.release == release

    world.web("2")
    refused = rollout.plan(world.deployment())[0].plan.refused
    assert refused is not None
    assert "no evidence" in refused.why


def test_a_canary_that_failed_is_evidence_too_and_tells_no_secret(world: World) -> None:
    """The service fails, and answers with its environment."""
    sick = {"VERSION": "1", "FAIL": "sick"}
    check = {"http": "/", "timeout": "1s", "interval": "50ms"}
    world.declare({"web": web(world.port, env=sick, secrets=["A_PW"], check=check)}, env="A_PW=hunter2-hunter2\n")
    with pytest.raises(PutBack):
        world.up("canary")

    (path,) = files(world, ".record")
    told = world.host.read(path).decode()
    (failed,) = [check for check in json.loads(told)["checks"] if not check["passed"]]
    assert (failed["check"], "<A_PW>" in told, "hunter2" in told) == ("web http /", True, False)
    with pytest.raises(Refused, match="web http / failed"):
        world.up()


@pytest.mark.slow
def test_every_check_counts_whatever_the_canary_kept_running(world: World) -> None:
    services = {"web": web(world.port), "other": web(world.port + 1, paths=[])}
    world.declare(services)
    world.up("canary")
    services["web"]["env"] = {"VERSION": "2"}
    world.declare(services)

    world.up("canary")
    assert verified(world).against == []
    world.promote()


def test_without_the_key_it_is_recorded_and_signed_later_as_of_then(world: World, key: pytest.MonkeyPatch) -> None:
    key.delenv("DEPLOY_EVIDENCE_KEY")
    world.web("1")
    world.up("canary")
    assert any("recorded, and not signed" in event.get("text", "") for event in world.events)
    assert (verified(world).unsigned, len(verified(world).against)) == (1, 1)
    with pytest.raises(Refused, match="requires evidence"):
        world.promote()

    key.setenv("DEPLOY_EVIDENCE_KEY", private_pem(KEY))
    deployment = world.deployment()
    (made,) = rollout.sign(deployment, deployment.hosts)

    (path,) = files(world, ".record")
    assert made.at.timestamp() == json.loads(world.host.read(path))["ended"]
    assert rollout.sign(deployment, deployment.hosts) == []
    world.promote()


@pytest.mark.slow
def test_what_somebody_else_signed_or_somebody_changed_does_not_count(world: World) -> None:
    (world.folder / "evidence.pub").write_bytes(public_pem(STRANGER) + public_pem(KEY))
    world.web("1")
    world.up("canary")
    (world.folder / "evidence.pub").write_bytes(public_pem(STRANGER))
    assert "not signed by a trusted key" in verified(world).against[0]

    (world.folder / "evidence.pub").write_bytes(public_pem(KEY))
    (path,) = files(world, ".signed")
    world.host.exec(["rm", path])
    with pytest.raises(Refused, match="is gone, and was there"):
        world.promote()
    rollout.smoke(world.deployment(), "canary", sign=True, anew=True)
    world.promote()


@pytest.mark.slow
def test_a_smoke_test_from_outside_is_evidence_where_it_is_signed(world: World, key: pytest.MonkeyPatch) -> None:
    key.delenv("DEPLOY_EVIDENCE_KEY")
    world.web("1")
    world.up("canary")
    key.setenv("DEPLOY_EVIDENCE_KEY", private_pem(KEY))

    rollout.smoke(world.deployment(), "canary", sign=True)

    evidence = verified(world).found[0].evidence
    assert evidence is not None
    assert {check.name for check in evidence.checks} == {"web http /health", "web runs"}
    assert "asked from" in evidence.where
    world.promote()


def test_a_host_does_not_say_what_is_asked_from_here(world: World) -> None:
    world.web("1")
    release = world.up("canary").plan.release
    document = f"{world.path}/releases/{release}/release.json"
    lie = re.sub(r"//127\.0\.0\.1:\d+/", "//169.254.169.254/", world.host.read(document).decode())
    world.host.exec(["rm", "-f", document])
    world.host.write(document, lie)

    with pytest.raises(Refused, match="does not declare so: web http /health"):
        rollout.smoke(world.deployment(), "canary", sign=True)


@pytest.mark.slow
def test_a_rollback_counts_what_counted_then(world: World) -> None:
    del world.target["require"]
    world.web("0")
    first = world.up().plan.release
    world.target["require"] = "evidence"
    for version in "12":
        world.web(version)
        world.up("canary")
        world.promote()
    second = rollout.history(world.deployment())[2]["channels"]["stable"]
    failed = [path for path in files(world, ".signed") if second in path]
    assert failed

    world.rollback()
    assert world.version == "1"
    world.rollback(first)
    assert any("when no evidence was required" in event.get("text", "") for event in world.events)
    assert world.version == "0"

    world.host.exec(["rm", *failed])
    with pytest.raises(Refused, match="which it rested on, is gone"):
        world.rollback(second)


@pytest.mark.slow
def test_no_rollback_to_what_was_never_stable_without_evidence(world: World) -> None:
    del world.target["require"]
    world.web("1")
    world.up()
    world.web("2", env={"VERSION": "2", "FAIL": "exit"})
    with pytest.raises(PutBack) as failed:
        world.up("canary")
    assert failed.value
    world.target["require"] = "evidence"
    world.web("1")
    releases = world.host.exec(["ls", f"{world.path}/releases"]).stdout.split()
    (never,) = set(releases) - {world.stable}
    with pytest.raises(Refused, match="web runs failed"):
        world.rollback(never)


def test_a_host_without_a_canary_takes_what_another_one_proved_and_nothing_else(world: World) -> None:
    """As `deploy promote` does where a target takes its channels from the registry."""
    world.web("1")
    release = world.up("canary").plan.release
    world.down("canary")
    world.web("2")
    with pytest.raises(Refused, match="is not what this folder holds"):
        rollout.promote(world.deployment(), take=release)

    world.web("1")
    (outcome,) = rollout.promote(world.deployment(), take=release)

    assert (outcome.plan.release, world.version) == (release, "1")
