"""The verbs, through the real command line, on the sandbox host."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from provision.targets import sandbox
from tests.cli.conftest import answer, make_project, of


def test_plan_shows_steps_and_files_and_changes_nothing(project):
    shown = project.ok("plan")
    assert "stable goes from nothing to" in shown
    assert "add web.py" in shown
    assert not project.place.exists()


def test_a_verb_that_starts_a_throwaway_host_says_so_and_how_it_ends(project):
    said = f"started a throwaway host in {project.root}/.deploy/sandbox; it lives on until `deploy down` ends it\n"
    assert said in project.run("plan").stderr
    assert said not in project.run("plan").stderr


def test_git_sees_nothing_of_what_is_about_this_machine_alone(project):
    subprocess.run(["git", "init", "-q", project.root], check=True)
    project.ok("plan")
    seen = subprocess.run(
        ["git", "-C", project.root, "status", "--porcelain", "-uall"], capture_output=True, text=True, check=True
    )
    assert seen.stdout == "?? deploy.toml\n?? web.py\n"


def test_plan_in_json_is_the_same_plan(project):
    (plan,) = of(project.events("plan"), "plan")
    assert plan["unchanged"] is False
    assert plan["files"]["added"] == ["web.py"]
    assert [(step["service"], step["do"]) for step in plan["steps"]] == [("web", "start")]


def test_plan_as_a_comment_is_markdown_and_nothing_else(project):
    shown = project.ok("plan", "--markdown")
    assert shown.startswith("<!-- deploy:plan-small-sandbox-stable -->\n### `deploy plan of small`\n\n**`sandbox`")
    assert "| `web` | start |" in shown
    assert "- added: " in shown


def test_plan_is_not_asked_for_in_two_ways_at_once(project):
    assert project.run("plan", "--markdown", "--json").returncode == 2


def test_a_fork_s_pull_request_gets_a_plan_without_secrets_and_changes_nothing(project):
    event = project.root.parent / "event.json"
    pull = {"head": {"repo": {"id": 2}}, "base": {"repo": {"id": 1}}}
    event.write_text(json.dumps({"pull_request": pull}))
    project.environ |= {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(event)}
    project.write(extra='secrets = ["TOKEN"]\n[secrets.TOKEN]\ncommand = ["touch", "asked"]\n')
    assert "no throwaway host is started on this machine for a fork's pull request." in project.run("plan").stderr
    assert not (project.root / ".deploy").exists()
    host, keys = sandbox.spec(project.root), project.root / ".deploy/sandbox/ssh"
    named = f'hosts = ["{host.user}@{host.address}:{host.port}"]\nidentity = "{keys}/user_key"'
    file = project.root / "deploy.toml"
    file.write_text(file.read_text().replace('hosts = ["sandbox"]', f'{named}\nknown_hosts = "{keys}/known_hosts"'))

    plan = project.ok("plan", "--markdown")
    refused, preview = project.run("up"), project.run("up", "--preview", "pr-7")

    assert "a fork's pull request is given no secrets" in plan
    assert not (project.root / "asked").exists()
    assert refused.returncode == 4
    assert "nothing is deployed for a fork's pull request." in refused.stderr
    assert preview.returncode == 4
    assert "a preview is not deployed for a fork's pull request." in preview.stderr
    assert "| `web` | start |" in project.ok("plan", "--markdown"), "nothing was deployed"


def test_status_of_a_host_without_a_deploy_says_so(project):
    done = project.run("status")
    assert done.returncode == 1
    assert "nothing is deployed" in done.stdout
    assert "next: deploy up" in done.stdout


def test_check_names_what_there_is(project):
    assert project.ok("check") == "small is sound. Services: web. Targets: sandbox.\n"


def test_check_names_what_is_wrong_with_its_place(project):
    file = project.root / "deploy.toml"
    file.write_text(file.read_text().replace("port =", "prot ="))
    done = project.run("check")
    assert done.returncode == 2
    assert 'deploy.toml:6:1: services.web.prot: unknown key. Did you mean "port"?' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("check",), ("plan",), ("up",)])
def test_a_value_that_a_target_cannot_hold_is_named_with_its_place_and_nothing_is_sent(project, words):
    file = project.root / "deploy.toml"
    text = file.read_text()
    long, minus = "x" * 131072, 'command = ["-f"]'
    file.write_text(
        text.replace("port =", f'env = {{ A = "1", B = "{long}" }}\nport =', 1) + f"[services.two]\n{minus}\n"
    )
    line = file.read_text().splitlines().index(minus) + 1

    done = project.run(*words)

    assert done.returncode == 2
    said = "it has 131072 bytes, and the kernel gives a process at most 131069 in one piece."
    assert done.stderr.splitlines()[-2:] == [
        f"deploy.toml:6:22: services.web.env.B: {said}",
        f'deploy.toml:{line}:11: services.two.command: a program\'s name cannot begin with "-"; write "./-f".',
    ]
    assert not project.place.exists()


def test_init_writes_a_file_that_check_accepts_and_never_overwrites_one(project):
    (project.root / "deploy.toml").unlink()
    assert "wrote deploy.toml" in project.ok("init", "--yes", "--name", "mine", "--on", "sandbox")
    assert "docs/" not in (project.root / "deploy.toml").read_text()  # an installed wheel has none
    assert "docs/" not in project.ok("schema")
    assert "mine is sound" in project.ok("check")
    again = project.run("init", "--yes")
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_up_ends_with_what_was_done_how_long_users_waited_and_where_it_is_reached(project):
    first = project.run("up").stderr.splitlines()
    assert first[-2:] == ["sandbox: started: web", f"web: http://127.0.0.1:{project.port}"]
    project.write(version="two")
    again = project.run("up").stderr.splitlines()
    assert re.fullmatch(r"sandbox: restarted: web \(users waited [\d.]+ m?s\)", again[-2])
    (result,) = of(project.events("up"), "result")
    assert (result["did"], result["waited"]) == ({"web": "keep"}, {})
    assert result["reach"] == [{"service": "web", "url": f"http://127.0.0.1:{project.port}", "tunnel": ""}]
    assert project.run("rollback").stderr.splitlines()[-2].startswith("sandbox: restarted: web (users waited")


def test_check_warns_of_an_environment_that_the_prepare_step_makes(project):
    project.write(extra='[prepare]\ncommand = ["uv", "sync"]\noutputs = [".venv"]\n')
    done = project.run("check")
    assert done.returncode == 0
    assert "warning: deploy.toml:" in done.stderr
    assert 'Instead of [prepare]: [python] project = ".".' in done.stderr


def test_a_canary_runs_beside_stable_and_its_release_is_promoted_and_taken_back(project):
    project.ok("up")
    project.write(version="two")
    project.ok("up", "--channel", "canary")
    assert (answer(project.port), answer(project.port + 10_000)) == ("one", "two")

    (promoted,) = of(project.events("promote"), "result")
    assert answer(project.port) == "two"
    with pytest.raises(OSError, match="refused"):
        answer(project.port + 10_000)

    (back,) = of(project.events("rollback"), "result")
    assert answer(project.port) == "one"

    project.ok("rollback", promoted["release"][:8])
    assert answer(project.port) == "two"
    assert [entry["kind"] for entry in of(project.events("history"), "history")] == [
        "up",
        "up",
        "promote",
        "rollback",
        "rollback",
    ]
    assert back["release"] != promoted["release"]


def test_a_broken_release_is_put_back_and_its_report_names_the_check(project):
    project.ok("up")
    project.write(version="two", status=500, timeout="1s")
    done = project.run("up")
    assert done.returncode == 1
    assert "web http /" in done.stderr
    assert "HTTP 500" in done.stderr
    assert "serves" in done.stderr
    assert answer(project.port) == "one"


def test_a_broken_release_is_an_error_event_with_json(project):
    project.write(status=500, timeout="1s")
    *_, error = project.events("up")
    assert (error["event"], error["kind"], error["exit"], error["host"]) == ("error", "PutBack", 1, "sandbox")


def test_down_ends_services_and_the_sandbox_with_them(project):
    project.ok("up")
    assert "the throwaway host was ended" in project.run("down").stderr
    with pytest.raises(OSError, match="refused"):
        answer(project.port)
    assert not (project.root / ".deploy" / "sandbox" / "sandbox.json").exists()


def test_a_secret_is_demanded_only_where_its_value_is_needed(project):
    project.write(extra='secrets = ["TOKEN"]\n')
    assert project.run("plan").returncode == 2
    assert "nothing is deployed" in project.run("status").stdout
    project.environ["TOKEN"] = "s3cret-value"
    told = project.run("up", "--json")
    assert told.returncode == 0
    assert "s3cret-value" not in told.stdout + told.stderr


def test_a_project_deep_in_a_home_has_a_sandbox_too_and_leaves_no_socket():
    """The path of a unix socket may have 107 bytes, and supervisord's would have more."""
    for project in make_project("alexander-von-humboldt/projects/of-the-company/customers/services"):
        before = set(Path("/tmp").glob("deploy-supervisord-*"))
        assert len(str(project.root)) > 80
        project.ok("up")
        assert answer(project.port) == "one"
        configuration = (project.root / ".deploy/sandbox/state/supervisord/supervisord.conf").read_text()
        made = set(Path("/tmp").glob("deploy-supervisord-*")) - before  # others' as well, at the same time
        (socket,) = [each for each in made if str(each) in configuration]
        assert socket.stat().st_mode & 0o777 == 0o700
        sandbox.stop(project.root)
        assert not socket.exists()
