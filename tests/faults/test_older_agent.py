"""A journal is read by the agent that wrote it, and what earlier versions left on a host goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provision import rollout
from tests.faults.trial import Kill, Trial

pytestmark = pytest.mark.root

# A copy of the newest agent that also writes down with which arguments it is started.
_COPY = """
cd "$1/.deploy/agents" && cp -r "$(ls -t | head -n 1)" older
printf '\nimport sys\nwith open("/var/tmp/%s.older", "a") as told: print(*sys.argv[1:], file=told)\n' "$2" \
    >>older/deploy_agent/agent/recover.py
name=$(cd older && python3 -c 'from deploy_agent.agent import trust; print(trust.digest("."))')
mv older "$name" && touch -d '1 hour ago' "$name" && echo "$name"
"""


def test_what_an_older_agent_began_is_ended_by_that_agent(trial: Trial) -> None:
    world, old = trial.world, trial.version
    older = world.host.exec(["sh", "-ec", _COPY, "copy", world.path, world.name]).stdout.strip()
    kill = Kill("write", 2, ("{private}/journal",))

    seen = trial.kill(trial.other, kill.request(trial.place()), agent=older)

    assert seen["killed"]
    assert seen["broken"]["journal"] == ["begin", "touch"]
    trial.assert_whole(seen["after"], old)
    told = world.host.read(f"/var/tmp/{world.name}.older").decode().splitlines()
    assert told == ["act", f"recover-locked {world.path}"]


# --- agents of earlier versions, as they were shipped -----------------------------------------------------------------

_EARLIER = {
    "before a folder was a project's": "without_project.zip",
    "before both sides had one contract": "before_contract.zip",
}

# Unpacks an agent, and calls it by its digest, as the loader of any version does; the newest agent knows that.
_UNPACK = """
cd "$1/.deploy/agents" && newest=$PWD/$(ls -t | head -n 1) && rm -rf earlier && mkdir -m 755 earlier && cd earlier
python3 -m zipfile -e "$2" . && chmod -R u=rwX,go=rX .
name=$(cd "$newest" && python3 -c 'from deploy_agent.agent import trust; print(trust.digest("'"$OLDPWD"'"))')
cd .. && rm -rf "$name" && mv earlier "$name" && touch -d '1 hour ago' "$name" && echo "$name"
"""


@pytest.fixture(params=list(_EARLIER))
def earlier(request: pytest.FixtureRequest, trial: Trial) -> str:
    """The folder of an earlier agent on the trial's host."""
    archive = f"/var/tmp/{trial.world.name}.zip"
    trial.world.host.write(archive, (Path(__file__).with_name("agents") / _EARLIER[request.param]).read_bytes())
    unpacked = trial.world.host.exec(["sh", "-ec", _UNPACK, "unpack", trial.world.path, archive])
    return unpacked.stdout.strip()


def test_what_an_earlier_version_deployed_is_upgraded_and_rolled_back_to(trial: Trial, earlier: str) -> None:
    world, other = trial.world, trial.other
    by_it = trial.kill(other, {"after": 60.0}, agent=earlier)
    trial.assert_whole(by_it["after"], other)
    written = json.loads(world.host.read(f"{world.path}/.deploy/state.json"))
    assert not any("slot" in program for program in written["programs"].values())

    trial.declare("3")
    upgraded = world.up()

    assert upgraded.outcome == "committed"
    assert world.do(upgraded)["model"] == "keep"
    assert trial.look()["answers"][str(world.port)][0] == "3"
    rollout.rollback(world.deployment())
    trial.assert_whole(trial.look(), other)


@pytest.mark.parametrize("agent_is", ["there", "gone"])
def test_what_an_earlier_version_left_in_the_middle_is_recovered(trial: Trial, earlier: str, agent_is: str) -> None:
    world, old = trial.world, trial.version
    kill = Kill("write", 2, ("{private}/journal",))
    seen = trial.kill(trial.other, kill.request(trial.place()), agent=earlier, recover=False)
    assert seen["killed"]
    assert seen["broken"]["journal"] == ["begin", "touch"]
    if agent_is == "gone":
        world.host.exec(["rm", "-r", f"{world.path}/.deploy/agents/{earlier}"])

    trial.mend()

    trial.assert_whole(trial.look(), old)
