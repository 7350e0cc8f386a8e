"""The verbs, through the real command line, on the sandbox host."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from provision.cli.tunnelling import hold
from provision.targets import sandbox
from tests.cli.conftest import make_project, of


def answer(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
        return response.read().decode()


# --- before anything is deployed -------------------------------------------------------------------------------------


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


# --- one that is up, looked at ---------------------------------------------------------------------------------------


def test_status_says_what_runs(served):
    shown = served.ok("status")
    assert "serving" in shown
    assert "stable is" in shown
    assert "running" in shown


def test_status_in_json_holds_the_facts(served):
    (status,) = of(served.events("status"), "status")
    assert status["state"] == "serving"
    assert status["project"]["view"]["programs"]["web"]["pid"] > 1


def test_an_unchanged_project_is_left_alone(served):
    before = of(served.events("status"), "status")[0]["project"]["view"]["programs"]["web"]["pid"]
    (result,) = of(served.events("up"), "result")
    after = of(served.events("status"), "status")[0]["project"]["view"]["programs"]["web"]["pid"]
    assert result["outcome"] == "unchanged"
    assert before == after


def test_smoke_runs_the_checks_from_outside(served):
    events = served.events("smoke")
    assert [(check["check"], check["passed"]) for check in of(events, "check")] == [("web http /", True)]
    assert events[-1]["failed"] == 0


def test_logs_show_what_the_service_wrote(served):
    assert "asked for /" in served.ok("logs", "web", "--lines", "5")


def test_logs_of_an_unknown_service_name_those_there_are(served):
    done = served.run("logs", "wbe")
    assert done.returncode == 2
    assert "web" in done.stderr


def test_exec_runs_in_the_release_that_serves_and_gives_back_its_status(served):
    assert "web.py" in served.ok("exec", "--", "ls")
    assert served.run("exec", "--", "sh", "-c", "exit 7").returncode == 7


def test_exec_with_json_tells_output_as_events(served):
    events = served.events("exec", "--", "sh", "-c", "echo one; echo two; exit 7")
    assert [event["text"] for event in of(events, "output")] == ["one", "two"]
    assert events[-1] == {"event": "result", "status": 7}


def test_exec_passes_words_unharmed(served):
    assert served.ok("exec", "--", "printf", "%s|", "a b", "$HOME", "'\"") == "a b|$HOME|'\"|"


def test_history_names_who_and_what(served):
    (entry,) = of(served.events("history"), "history")
    assert (entry["kind"], entry["sequence"]) == ("up", 1)
    assert "by " in served.ok("history")


def test_facts_tell_machine_and_tools(served):
    (facts,) = of(served.events("host", "facts"), "facts")
    assert facts["host"] == "sandbox"
    assert facts["machine"]["memory"]["total"] > 0
    assert facts["machine"]["tools"]["rsync"]
    assert "processor" in served.ok("host", "facts")


def test_bootstrap_of_a_host_that_has_everything_changes_nothing(served):
    assert served.ok("host", "bootstrap") == "sandbox: nothing is missing\n"


def test_trust_pins_the_key_in_the_project_once_it_is_confirmed(served):
    refused = served.run("host", "trust")
    assert refused.returncode == 4
    assert "nobody is there to confirm it" in refused.stderr
    fingerprint = refused.stderr.split("--fingerprint ")[1].strip()
    wrong = served.run("host", "trust", "--fingerprint", "SHA256:" + "A" * 43)
    assert wrong.returncode == 4
    assert not (served.root / "known_hosts").exists()
    try:
        assert f"pinned {fingerprint}" in served.ok("host", "trust", "--fingerprint", fingerprint)
        assert "127.0.0.1" in (served.root / "known_hosts").read_text()
    finally:
        (served.root / "known_hosts").unlink(missing_ok=True)


def test_unlock_of_a_healthy_host_has_nothing_to_do(served):
    assert "nothing to recover" in served.ok("unlock")


def test_an_unknown_host_is_refused_with_those_there_are(served):
    done = served.run("status", "--host", "gpu-03")
    assert done.returncode == 2
    assert "sandbox" in done.stderr


def test_a_tunnel_leads_to_the_service_until_it_is_ended(served):
    import json
    import signal

    process = served.start("tunnel", "web", "--json")
    try:
        url = ""
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "tunnel":
                url = event["url"]
                break
        assert urllib.request.urlopen(url, timeout=5).read() == b"one"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_is_no_failure_from_the_moment_it_is_said() -> None:
    class Hasty:
        def note(self, _: str) -> None:
            raise KeyboardInterrupt

    hold(SimpleNamespace(console=Hasty()), [], "Ctrl-C ends the tunnel.")


def test_open_leads_the_browser_to_the_service_and_ends_with_ctrl_c(served, tmp_path):
    import signal

    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\ncurl -fsS "$1" >{tmp_path}/seen.new && mv {tmp_path}/seen.new {tmp_path}/seen\n')
    browser.chmod(0o755)
    served.environ["BROWSER"] = f"{browser} %s"
    process = served.start("open")
    try:
        assert "sandbox: web (port" in process.stdout.readline()
        assert "Ctrl-C ends the tunnel.\n" in iter(process.stderr.readline, "")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert (tmp_path / "seen").read_text() == "one"
    finally:
        del served.environ["BROWSER"]
        process.kill()
        process.communicate()


# --- changing --------------------------------------------------------------------------------------------------------


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


def test_a_preview_is_told_with_where_it_is_and_listed_until_it_is_removed(served):
    (preview,) = of(served.events("up", "--preview", "pr-7", "--until", "3d"), "preview")
    assert answer(preview["ports"]["web"]) == "one"
    assert preview["reach"] == "deploy tunnel --target sandbox --preview pr-7"
    assert "preview pr-7 by" in served.ok("status")
    assert "asked for /" in served.ok("logs", "web", "--preview", "pr-7")
    served.ok("down", "--preview", "pr-7")
    assert "preview" not in served.ok("status")
    assert "there is no preview pr-7" in served.ok("down", "--preview", "pr-7"), "it is as was wanted"


@pytest.mark.parametrize(
    "words",
    [
        ("up", "--until", "3d"),
        ("up", "--preview", "a", "--until", "soon"),
        ("up", "--preview", "A b"),
        ("up", "--preview", "a", "--channel", "canary"),
        ("down", "--preview", "a", "--expired"),
    ],
)
def test_what_makes_no_sense_of_a_preview_is_refused_with_what_does(words, served):
    done = served.run(*words)
    assert done.returncode == 2
    assert "next: " in done.stderr


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


# --- deep in somebody's home -----------------------------------------------------------------------------------------


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
