"""Two people, one host."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import DeployError, Exit, Refused
from provision.targets import apply, open_session, plan_up
from tests.deploy.world import World
from tests.faults.hooks import at

pytestmark = pytest.mark.root

MOMENTS = {"while it ships": {"event": "phase", "phase": "ship"}, "while it starts": {"event": "step", "step": "start"}}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_second_up_is_refused_by_the_name_of_the_first_before_it_ships(world: World, moment: str) -> None:
    world.web("1")
    world.up()
    refusals: list[Refused] = []
    second: list[dict[str, object]] = []

    def meanwhile() -> None:
        (world.folder / "more.bin").write_bytes(b"x" * 1000)
        deployment = world.deployment(who="bob@laptop")
        deployment.on_event = second.append
        with pytest.raises(Refused) as refused:
            rollout.up(deployment)
        refusals.append(refused.value)

    world.web("2")
    first = world.deployment(who="ann@desk")
    at(world, meanwhile, **MOMENTS[moment])
    first.on_event = world.events.append
    outcome = rollout.up(first)[0]

    assert outcome.outcome == "committed"
    assert world.version == "2"
    assert "ann@desk" in refusals[0].why
    assert refusals[0].exit == Exit.REFUSED
    assert not [event for event in second if event.get("phase") in ("ship", "model") or event["event"] == "progress"]


def test_a_plan_made_before_somebody_else_committed_is_refused(world: World) -> None:
    world.web("1")
    world.up()
    world.web("2")
    mine = world.deployment()
    with open_session(mine, mine.hosts[0]) as session:
        plan = plan_up(session, "stable")

    world.web("3")
    world.up()
    with open_session(mine, mine.hosts[0], install=True) as session, pytest.raises(Refused) as refused:
        apply(session, plan)

    assert "somebody deployed since" in refused.value.what
    assert world.version == "3"


def test_two_ups_at_the_same_moment_never_mix(world: World, tmp_path: Path) -> None:
    world.web("1")
    world.up()
    place = (world.host, world.platform, world.path, world.port, world.name)
    people = {"2": world, "3": World(tmp_path / "other", *place, target=world.target)}
    results: dict[str, str] = {}

    def deploy(version: str) -> None:
        try:
            results[version] = people[version].up(who=version).outcome
        except DeployError as error:
            results[version] = type(error).__name__

    for version, person in people.items():
        person.web(version)
    threads = [threading.Thread(target=deploy, args=[version]) for version in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # The second may also come when the first is through: then both commit, one after the other.
    assert sorted(results.values()) in (["Refused", "committed"], ["committed", "committed"])
    assert results[world.version] == "committed"
    assert world.state()["generation"] == 1 + list(results.values()).count("committed")
    assert world.status().state == "serving"
