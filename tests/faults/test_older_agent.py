"""A journal is read by the agent that wrote it."""

from __future__ import annotations

import pytest

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
