"""`deploy check --production`: what it writes, for people, programs and code scanning, and how it ends."""

import json
from pathlib import Path

import pytest

from provision.cli.main import main
from provision.project.production import RULES

WRONG = {"toml": '[services.web]\ncommand = ["serve", "--password=hunter2"]\n'}
WARNED = {
    "toml": """\
[services.web]
command = ["serve"]
port = 8000
check = { http = "/" }
metrics = {}
resources = { memory = "1GB" }
secrets = ["NOT_SET_HERE"]
"""
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "production.md"


@pytest.fixture
def check(capsys):
    """The exit code of `deploy check WORDS`, and what it wrote to stdout."""
    return lambda *words: (main(["check", *words]), capsys.readouterr().out)


def test_a_rule_that_fails_is_told_with_the_line_to_change_why_and_how(lay, check):
    lay(WRONG)

    code, told = check("--production")

    assert code == 1
    assert (
        "fail  secret-in-release: No secret stands in a command or in env.\n"
        "      deploy.toml:4:21: services.web.command[1]: password looks like a secret, and what stands here is part of"
        " every release.\n"
        "      why: Both are part of the release: they are shipped, kept, and shown by deploy plan and deploy render.\n"
        '      fix: Name the variable in `secrets = ["…"]`; its value comes from .env or the environment.\n'
    ) in told
    assert "pass  not-root: No service runs as root.\n" in told
    assert told.endswith(f"cres: {len(RULES) - 5} pass, 1 warn, 4 fail.\n")


def test_warnings_alone_are_no_failure_and_no_secret_is_needed(lay, check):
    lay(WARNED)

    code, told = check("--production")

    assert code == 0
    assert "warn  cpu-limit" in told
    assert told.endswith("1 warn, 0 fail.\n")


def test_json_has_an_event_for_every_rule_and_counts_at_the_end(lay, check):
    lay(WRONG)

    events = [json.loads(line) for line in check("--production", "--json")[1].splitlines()]

    rules, result = events[:-1], events[-1]
    assert [event["rule"] for event in rules] == [rule.id for rule in RULES]
    assert result["fail"] == sum(event["verdict"] == "fail" for event in rules) > 0
    assert result["pass"] + result["warn"] + result["fail"] == len(RULES)
    (broken,) = (event for event in rules if event["rule"] == "secret-in-release")
    assert broken["findings"] == [
        {
            "file": "deploy.toml",
            "line": 4,
            "column": 21,
            "key": "services.web.command[1]",
            "message": "password looks like a secret, and what stands here is part of every release.",
        }
    ]


@pytest.mark.parametrize("words", [["--sarif", "out.sarif"], ["--production", "--sarif", "no/such/folder/out.sarif"]])
def test_sarif_that_cannot_be_written_is_a_mistake_of_the_command_line(lay, check, words):
    lay(WRONG)
    assert check(*words) == (2, "")


def test_a_template_that_gives_nothing_usable_is_said_and_not_passed_over(lay, check):
    digest = f"sha256:{'0f' * 32}"
    toml = f'image = "ghcr.io/a/b@{digest}"\n[services.web]\ncommand = ["serve"]\nport = 8000\nreplicas = 2\n'
    changed = {"name": "kubernetes/disruption-budget.yaml.j2", "old": "spec:", "new": "spec: ["}
    lay({"toml": toml, "template": changed})
    assert check("--production") == (2, "")


# --- SARIF: what code scanning asks of a file ------------------------------------------------------------------------


@pytest.fixture
def run(lay, check):
    """The only run of the file that is written for a project with findings in two files."""
    folder = lay({**WRONG, ".env": "A=1", "mode": "644"})
    check("--production", "--sarif", "out.sarif")
    log = json.loads((folder / "out.sarif").read_text())
    assert (log["version"], list(log)) == ("2.1.0", ["$schema", "version", "runs"])
    (run,) = log["runs"]
    return run


def test_sarif_describes_every_rule(run):
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in RULES]
    for rule in rules:
        assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
        assert len(rule["shortDescription"]["text"]) <= 1024
        assert rule["defaultConfiguration"]["level"] in ("error", "warning")


def test_sarif_places_every_result(run):
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == rules[result["ruleIndex"]]["defaultConfiguration"]["level"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"] in ("deploy.toml", ".env")
        assert place["region"]["startLine"] >= 1
        assert place["region"]["startColumn"] >= 1
    assert {result["ruleId"] for result in run["results"]} >= {"secret-in-release", "env-file-mode"}


def test_sarif_knows_a_finding_again_when_lines_move(run, check):
    def marks(run):
        return [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]

    before = marks(run)
    assert len(set(before)) == len(before)
    file = Path("deploy.toml")
    file.write_text("# moved\n\n" + file.read_text())
    check("--production", "--sarif", "out.sarif")
    assert marks(json.loads(Path("out.sarif").read_text())["runs"][0]) == before


# --- the document ----------------------------------------------------------------------------------------------------


def test_the_document_lists_every_rule_as_it_is():
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert rows == [f"| `{rule.id}` | {rule.severity} | {rule.demands} | {rule.why} | {rule.fix} |" for rule in RULES]


def test_what_looks_like_a_secret_is_warned_about_without_the_checklist_too(lay, capsys):
    """Hole 4: nothing declares it a secret, so it would be part of the release."""
    lay(
        {
            "toml": '[services.web]\ncommand = ["serve", "postgres://me:${DB_PW}@db/x"]\nsecrets = ["TOLD"]\n'
            'env = { A = "${TOLD}x", B = "${STRIPE}", C = "${HOLDS}" }\n'
            '[targets.here]\nhosts = ["${MY_TOKEN}"]\npath = "/srv/cres"\n',
            ".env": "DB_PW=hunter2hunter2\nTOLD=sesame-open\nSTRIPE=sk-0123456789abcdefghijklmn\nMY_TOKEN=host\n"
            "HOLDS=url:sesame-open@host\n",
        }
    )

    code = main(["check"])

    said = "{} looks like a secret, and what stands here is part of every release. Name the variable in secrets"
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert code == 0
    assert [line.partition(" = ")[0] for line in told] == [
        f"warning: deploy.toml:4:21: services.web.command[1]: {said.format('DB_PW')}",
        f"warning: deploy.toml:6:29: services.web.env.B: {said.format('STRIPE')}",
        f"warning: deploy.toml:6:46: services.web.env.C: {said.format('HOLDS')}",
    ]
    assert main(["check", "--production"]) == 1
