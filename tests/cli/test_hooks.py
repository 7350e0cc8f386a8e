"""[hooks]: programs of this machine around `deploy up`, on the sandbox."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import of

TELL = """\
import json, sys
event = json.load(sys.stdin)
with open("../told", "a") as file:
    file.write(json.dumps(event) + "\\n")
print("told of", event["hook"])
sys.exit(int(sys.argv[1]))
"""


def declare(project, before=0, after=0, failure=0, **settings):
    project.write(**settings)
    (project.root / "tell.py").write_text(TELL)
    hooks = {"before_up": before, "after_up": after, "after_failure": failure}
    with (project.root / "deploy.toml").open("a") as file:
        file.write("[hooks]\ntimeout = '20s'\n")
        file.writelines(f"{hook} = ['python3', 'tell.py', '{status}']\n" for hook, status in hooks.items())


def told(project):
    file = project.root.parent / "told"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_each_hook_is_given_its_event_and_what_it_prints_is_told(project):
    declare(project)
    events = project.events("up")
    before, after = told(project)
    assert (
        before.items() >= {"hook": "before_up", "project": "small", "channel": "stable", "hosts": ["sandbox"]}.items()
    )
    (result,) = of(events, "result")
    assert after["hosts"] == [
        {key: result[key] for key in ("host", "outcome", "release", "did", "waited", "held", "reach")}
    ]
    assert [(event["source"], event["text"]) for event in of(events, "output")] == [
        ("before_up", "told of before_up\n"),
        ("after_up", "told of after_up\n"),
    ]

    declare(project, status=500, timeout="1s")  # the release is put back
    assert project.run("up").returncode == 1
    failure = told(project)[-1]
    assert (failure["hook"], failure["exit"], failure["error"]["kind"]) == ("after_failure", 1, "PutBack")


def test_a_before_up_that_fails_refuses_and_one_that_fails_afterwards_changes_nothing(project):
    declare(project, before=3)
    refused = project.run("up")
    assert refused.returncode == 4
    assert refused.stderr.splitlines()[-3:-1] == [
        "the hook before_up failed, so nothing is deployed.",
        "python3 ended with status 3.",
    ]
    assert [event["hook"] for event in told(project)] == ["before_up"]
    assert not project.place.exists()

    declare(project, after=5)
    done = project.run("up")
    assert done.returncode == 0
    text = "warning: the hook after_up failed, which changes nothing of the deploy: python3 ended with status 5."
    assert text in done.stderr


def test_a_fork_s_pull_request_runs_none(project, tmp_path):
    declare(project, before=3)
    event = {"pull_request": {"head": {"repo": {"id": 2}}, "base": {"repo": {"id": 1}}}}
    (tmp_path / "event").write_text(json.dumps(event))
    project.environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(tmp_path / "event"),
    }
    project.run("up")
    assert told(project) == []


def test_one_that_takes_too_long_ends_with_all_that_it_started(project):
    project.write()
    with (project.root / "deploy.toml").open("a") as file:
        file.write("[hooks]\ntimeout = '500ms'\nbefore_up = ['sh', '-c', 'sleep 1000 & echo $! > ../pid; wait']\n")
    done = project.run("up")
    assert (done.returncode, "sh took longer than 0.5 s." in done.stderr) == (4, True)
    pid = (project.root.parent / "pid").read_text().strip()
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"
