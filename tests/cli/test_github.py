"""What a workflow step shows: the log, the job summary, annotations; and what cannot give the runner orders."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from provision.cli.github.summary import annotate, summary
from provision.targets import sandbox

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "4f1c" * 16
EVIDENCE = {
    "artifact": DIGEST,
    "problem": "",
    "evidence": {
        "at": "2026-11-21T12:00:00",
        "who": "ada",
        "where": "ci",
        "checks": [{"name": "health", "passed": True}, {"name": "queue", "passed": False}],
    },
}
PROMOTION = {
    "event": "promotion",
    "kind": "promote",
    "image": "ghcr.io/acme/app",
    "channel": "stable",
    "from": "ghcr.io/acme/app:canary",
    "old": "",
    "new": DIGEST,
    "evidence": [EVIDENCE, {"artifact": DIGEST, "evidence": None, "problem": "is forged"}],
    "objections": ["queue failed (2026-11-21 | ci)"],
}


@pytest.fixture
def step(tmp_path):
    """Runs a command as the action does; exit code, log, summary, output."""
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    words = shlex.split(steps[-1]["run"])[2:]  # behind exec and its Python

    def run(command: str, **given: str) -> tuple[int, str, str, dict]:
        environ = {**os.environ, "DEPLOY_COMMAND": command, **given}
        environ |= {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "GITHUB_OUTPUT": str(tmp_path / "output")}
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        output = (tmp_path / "output").read_text().removeprefix("result=") if (tmp_path / "output").exists() else "{}"
        shown = (tmp_path / "summary").read_text() if (tmp_path / "summary").exists() else ""
        return done.returncode, done.stdout, shown, json.loads(output)

    return run


def test_a_step_that_works_has_a_summary_and_a_result(step, tmp_path):
    code, _, shown, result = step("image keygen --private k.key")
    assert code == 0
    assert shown.startswith("### `deploy image keygen --private k.key`")
    assert result["private"] == "k.key"


def test_a_report_of_a_target_stands_in_the_summary_also_where_the_command_failed(step, tmp_path, project):
    project.ok("up")
    shutil.copytree(project.root, tmp_path, dirs_exist_ok=True, symlinks=True, ignore=shutil.ignore_patterns(".deploy"))
    host, keys = sandbox.spec(project.root), project.root / ".deploy/sandbox/ssh"
    named = f'hosts = ["{host.user}@{host.address}:{host.port}"]\nidentity = "{keys}/user_key"'
    file = tmp_path / "deploy.toml"
    file.write_text(file.read_text().replace('hosts = ["sandbox"]', f'{named}\nknown_hosts = "{keys}/known_hosts"'))

    code, _, shown, _ = step("rollback", DEPLOY_REPORT="sandbox")

    assert code != 0
    assert shown.startswith("### `deploy rollback`")
    assert "### small on sandbox: since " in shown
    assert " is serving" in shown or "| serving |" in shown


def test_a_report_that_can_t_be_had_is_said_and_fails_nothing(step):
    code, log, _, _ = step("image keygen --private k.key", DEPLOY_REPORT="nobody%0a::error::x")
    assert code == 0
    assert "::warning::there is no report of " in log
    assert not any(line.startswith("::error") for line in log.splitlines())


def test_a_wrong_declaration_is_annotated_at_its_line(step, tmp_path):
    (tmp_path / "promotion.toml").write_text("[app]\nrepositry = 'ghcr.io/acme/app'\n")
    code, log, _, result = step("image promote app")
    assert (code, result) == (2, {})
    assert '::error file=promotion.toml,line=2::app.repositry: unknown key. Did you mean "repository"?\n' in log


@pytest.mark.parametrize(("command", "said"), [("", "it is empty"), ("image 'promote", "No closing quotation")])
def test_a_command_that_cannot_be_read_is_said(command, said, step):
    code, log, _, _ = step(command)
    assert code == 2
    assert said in log


def test_no_shell_reads_the_command(step, tmp_path):
    code, _, _, _ = step("image keygen --private 'k; touch owned' $(touch owned) `touch owned`")
    assert code == 2
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("module", ["shlex", "json", "click", "pydantic", "provision"])
def test_no_module_of_the_project_is_imported(module, step, tmp_path):
    """It may be a fork's, and this runs with the job's secrets."""
    (tmp_path / f"{module}.py").write_text("from pathlib import Path; Path('owned').touch()")
    (tmp_path / "deploy.toml").write_text("[project]\nname = 'app'\n")
    code, _, _, _ = step("check")
    assert code == 2
    assert not (tmp_path / "owned").exists()


def test_workflow_commands_are_off_while_others_speak(step, tmp_path):
    """The name is quoted in an error, as what a registry says would be."""
    _, log, _, _ = step("image inspect '\n::add-path::/evil\n'")
    lines = log.splitlines()
    begin = next(index for index, line in enumerate(lines) if line.startswith("::stop-commands::"))
    token = lines[begin].rpartition("::")[2]
    end = lines.index(f"::{token}::")
    orders = [line for line in (*lines[:begin], *lines[end + 1 :]) if line.startswith("::")]
    assert orders
    assert all(line.startswith(("::error", "::warning")) for line in orders)


def test_a_promotion_is_a_table_of_what_changes_and_what_proves_it():
    shown = summary(
        ["image", "promote", "app"], [PROMOTION, {"event": "result", "outcome": "committed", "new": DIGEST}]
    )
    assert f"| `stable` | `nothing` | `{DIGEST}` |" in shown
    assert "| health | passed |" in shown
    assert "| queue | **failed** |" in shown
    assert "it is forged" in shown
    assert r"- against it: queue failed (2026-11-21 \| ci)" in shown
    assert shown.endswith(f"**committed** `{DIGEST}`")


def test_a_plan_is_a_table_of_its_steps():
    steps = [{"do": "restart", "program": "web", "how": "beside", "why": "files changed", "service": "web", "lane": ""}]
    files = {"added": [f"f{number}" for number in range(30)], "changed": [], "removed": []}
    plan = {"event": "plan", "host": "a", "unchanged": False, "channel": "stable", "current": "", "release": "4f1c"}
    shown = summary(["plan"], [{**plan, "steps": steps, "files": files}])
    assert "| restart | web | beside | files changed |" in shown
    assert "and 10 more" in shown


def test_an_error_says_why_and_what_next_and_the_last_lines():
    error = {"event": "error", "what": "web died.", "why": "It exited.", "next": "deploy logs", "log": ["last line"]}
    shown = summary(["up"], [{**error, "host": "a"}])
    assert shown.endswith("**a: web died.**\n- It exited.\n- next: `deploy logs`\n\n```text\nlast line\n```")
    assert list(annotate([error])) == ["::error::web died.%0AIt exited.%0Adeploy logs"]


@given(st.text())
def test_no_text_breaks_out_of_its_cell_or_of_its_annotation(text):
    shown = summary([], [{**PROMOTION, "objections": [], "evidence": [], "image": text, "channel": text}])
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(table) == 3
    bars = len(table[2].replace("\\|", "").split("|"))
    assert bars == 5
    (order,) = annotate([{"event": "warning", "text": text}])
    assert "\n" not in order
    assert "\r" not in order


def test_the_action_gives_its_inputs_to_no_shell():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    for step in action["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_the_action_writes_no_comment_unless_it_is_asked_for_and_gives_the_token_to_nothing_else():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["inputs"]["comment"]["default"] == ""
    given = {
        step.get("id"): step["env"] for step in action["runs"]["steps"] if "token" in json.dumps(step.get("env", {}))
    }
    assert given["deploy"].pop("DEPLOY_COMMENT_TOKEN") == "${{ inputs.comment && inputs.token }}"
    assert "token" not in json.dumps(given)


def test_a_comment_that_github_does_not_take_changes_no_exit_status_and_the_command_is_not_given_its_token(
    step, tmp_path, monkeypatch
):
    monkeypatch.setenv("DEPLOY_COMMENT", "plan")
    monkeypatch.setenv("DEPLOY_COMMENT_TOKEN", "ghs_secret")
    (tmp_path / "deploy.toml").write_text('[project]\nname = "x"\n[services.web]\nport = "${DEPLOY_COMMENT_TOKEN}"\n')
    code, log, shown, _ = step("check")
    assert code == 2
    assert (
        "::warning::there is no comment on the pull request, but a summary of this job. the event that started" in log
    )
    assert "services.web.port: ${DEPLOY_COMMENT_TOKEN} is not set" in log
    assert "ghs_secret" not in log + shown


def test_what_the_command_said_is_one_comment_on_the_pull_request(step, github, tmp_path, monkeypatch):
    (tmp_path / "event.json").write_text('{"pull_request": {"number": 7}}')
    for name, value in {
        "DEPLOY_COMMENT": "plan",
        "DEPLOY_COMMENT_TOKEN": "ghs_secret",
        "GITHUB_API_URL": github.url,
        "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "deploy.toml").write_text("[projcet]\n")
    for _ in range(2):
        code, log, _, _ = step("check")
        assert code == 2
        assert "::notice::the comment is https://x/1" in log
        (tmp_path / "output").unlink()
    (comment,) = github.comments
    assert comment["body"].startswith("<!-- deploy:plan -->\n### `deploy check`\n\n**deploy.toml:")
