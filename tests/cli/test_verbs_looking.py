"""The verbs that look at a project that is up, and previews beside it, through the real command line."""

import json
import signal
import urllib.request
from types import SimpleNamespace

import pytest

from provision.cli.tunnelling import hold
from tests.cli.conftest import answer, of


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
