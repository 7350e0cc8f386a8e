"""`deploy image …` as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from provision.cli.main import main
from provision.images.registry.reference import parse
from provision.images.registry.repository import connect
from tests.images.make import image, index, take_away

# What other verbs import, here or in libraries that were tried.
LIBRARIES = {
    "asyncio",
    "docker",
    "fabric",
    "httpx",
    "jinja2",
    "paramiko",
    "pydantic",
    "requests",
    "rich",
    "tree_sitter",
    "yaml",
}


@pytest.fixture
def project(fork, plain):
    """A folder with a key, as somebody who has it."""
    assert main(["image", "keygen"]) == 0
    return fork


@pytest.fixture
def deploy(project, capsys):
    """Runs a verb; its exit code and its events."""

    def run(*words: str) -> tuple[int, list[dict]]:
        capsys.readouterr()
        code = main(["image", *words, "--json"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def report(folder, *checks):
    file = folder / "report.json"
    file.write_text(json.dumps({"checks": [{"name": name, "passed": passed} for name, passed in checks]}))
    return str(file)


def test_evidence_is_made_with_the_key_and_seen_by_inspect(project, deploy, repository, capsys):
    made = image(repository, "canary")
    name = f"{repository}@{made.digest}"
    code, (stored,) = deploy("attest", name, "--report", report(project, ("health", True), ("completion", True)))
    assert (code, stored["image"], stored["passed"]) == (0, made.digest, True)

    code, (seen,) = deploy("inspect", f"{repository}:canary")
    (evidence,) = seen["evidence"]
    assert (code, seen["digest"], evidence["passed"]) == (0, made.digest, True)
    assert (evidence["artifact"], evidence["key"]) == (stored["evidence"], stored["key"])

    assert main(["image", "inspect", f"{repository}:canary"]) == 0
    assert "passed: health, completion (" in capsys.readouterr().out


def test_the_key_of_continuous_integration_comes_from_its_environment(
    project, deploy, repository, monkeypatch, tmp_path
):
    made = image(repository, "canary")
    secret = tmp_path / "config" / "bitnet-provision" / "evidence.key"
    monkeypatch.setenv("DEPLOY_EVIDENCE_KEY", secret.read_text())
    secret.unlink()
    words = ("attest", f"{repository}@{made.digest}", "--report", report(project, ("health", True)))
    assert deploy(*words)[0] == 0
    monkeypatch.delenv("DEPLOY_EVIDENCE_KEY")
    code, (error,) = deploy(*words)
    assert code == 2
    assert "deploy image keygen, or set DEPLOY_EVIDENCE_KEY" in error["next"]


def test_evidence_is_about_bytes_and_not_about_a_tag(project, deploy, repository):
    image(repository, "canary")
    code, (error,) = deploy("attest", f"{repository}:canary", "--report", report(project, ("health", True)))
    assert (code, error["why"]) == (2, "A tag may have moved since the image was tried.")


def test_a_report_about_another_image_is_not_signed_for_this_one(project, deploy, repository):
    tried, made = image(repository), image(repository)
    results = {"digest": tried.digest, "checks": [{"name": "health", "passed": True}]}
    (project / "report.json").write_text(json.dumps(results))
    code, (error,) = deploy("attest", f"{repository}@{made.digest}", "--report", "report.json")
    assert (code, error["why"]) == (4, f"It tried {tried.digest}.")
    assert deploy("attest", f"{repository}@{tried.digest}", "--report", "report.json")[0] == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checks": []}', '{"checks": [{"name": "a", "passed": "yes"}]}'])
def test_a_report_that_says_nothing_is_refused(text, project, deploy, repository):
    made = image(repository)
    (project / "report.json").write_text(text)
    code, (error,) = deploy("attest", f"{repository}@{made.digest}", "--report", "report.json")
    assert (code, error["kind"]) == (2, "UsageError")


def test_an_index_is_shown_with_its_platforms_and_what_was_never_tried_as_that(deploy, plain, name, capsys):
    repository = connect(parse(f"{plain.authority}/{name}"), write=True, environ=plain.environ)
    index(repository, "canary")
    assert main(["image", "inspect", str(repository)]) == 0
    out = capsys.readouterr().out
    assert "an index of linux/amd64, linux/arm64" in out
    assert "no evidence" in out


def test_without_public_keys_nothing_counts_and_inspect_says_so(project, deploy, repository, capsys):
    made = image(repository, "canary")
    deploy("attest", f"{repository}@{made.digest}", "--report", report(project, ("health", True)))
    (project / "evidence.pub").unlink()
    assert main(["image", "inspect", str(repository)]) == 0
    said = capsys.readouterr()
    assert "evidence.pub is missing, so no evidence counts here" in said.err
    assert "does not count: it is not signed by a trusted key" in said.out


# Promotion


@pytest.fixture
def declared(project, repository):
    """`app` in promotion.toml."""

    def declare(**rules):
        lines = [f"{key} = {json.dumps(value)}" for key, value in {"repository": str(repository), **rules}.items()]
        (project / "promotion.toml").write_text("[app]\n" + "\n".join(lines) + "\n")

    declare()
    return declare


@pytest.fixture
def proven(project, deploy, repository):
    """Puts an image on canary and proves it."""

    def make(*checks):
        made = image(repository, "canary")
        given = checks or (("health", True),)
        assert deploy("attest", f"{repository}@{made.digest}", "--report", report(project, *given))[0] == 0
        return made

    return make


def test_promote_shows_what_it_does_and_does_it(declared, proven, deploy, repository, capsys):
    made = proven()
    code, (plan, result) = deploy("promote", "app", "--dry-run")
    assert (code, result["outcome"], plan["objections"]) == (0, "planned", [])
    assert repository.digest("stable") == ""

    code, (plan, result) = deploy("promote", "app")
    assert (code, result["outcome"], result["old"], result["new"]) == (0, "committed", "", made.digest)
    assert repository.get("stable") == made
    assert deploy("promote", "app")[1][-1]["outcome"] == "unchanged"

    assert main(["image", "inspect", f"{repository}:stable"]) == 0
    assert "moves of stable, newest first:\n" in capsys.readouterr().out


def test_a_fabric_task_does_what_promote_does(declared, project, proven, repository):
    made = proven()
    (project / "fabfile.py").write_text("from provision.tasks import ns\n")

    def fab(*words: str) -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).with_name("fab"), "image.promote", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    tried = fab("app", "--dry-run")
    assert (tried.returncode, tried.stdout.splitlines()[-1]) == (0, "nothing speaks against it; nothing was changed")
    done = fab("app")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"done, stable is {made.digest}")
    assert fab("ap").stderr.endswith('Did you mean "app"?\n')


@pytest.mark.parametrize("words", [["inspect", "app"], ["promote", "app"], ["rollback", "app", "--dry-run"]])
def test_what_only_moves_names_imports_no_more_than_that_takes(words, declared, proven, deploy):
    """Such a verb is a few requests, so imports are most of its time."""
    for _ in range(2):
        proven()
        assert deploy("promote", "app")[0] == 0
    proven()
    program = (
        "import sys\n"
        "from provision.cli.main import main\n"
        f"code = main({['image', *words]!r})\n"
        "print('IMPORTED', *sys.modules)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stdout.rpartition("IMPORTED")[2].split())
    assert "cryptography.hazmat.primitives.asymmetric.ed25519" in imported
    assert not imported & LIBRARIES


@pytest.mark.parametrize("words", [["inspect", "app"], ["promote", "app"]])
def test_who_stops_reading_is_told_nothing(words, declared, proven):
    proven()
    read, write = os.pipe()
    os.close(read)
    deploy = [sys.executable, "-m", "provision.cli", "image", *words]
    done = subprocess.run(deploy, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_promote_says_in_sentences_what_speaks_against_it(declared, proven, repository, capsys):
    declared(checks=["health", "queue"], who=["nobody-here"])
    proven(("health", False))
    for words in (["--dry-run"], []):
        capsys.readouterr()
        assert main(["image", "promote", "app", *words]) == 4
        said = capsys.readouterr()
        for reason in ("health failed (", "queue was not tried", "is not among who may promote it (nobody-here)"):
            assert reason in said.out
            assert reason in said.err
    assert repository.digest("stable") == ""


def test_a_repository_that_is_given_by_its_name_has_the_rules_of_its_declaration(declared, proven, deploy, repository):
    declared(checks=["queue"])
    proven()
    code, (_, error) = deploy("promote", str(repository))
    assert (code, error["objections"]) == (4, ["queue was not tried"])


def test_the_rules_of_where_it_goes_to_count(declared, project, proven, deploy, repository):
    with (project / "promotion.toml").open("a") as file:
        file.write(f'[production]\nrepository = "{repository}-production"\nchecks = ["queue"]\n')
    proven()
    code, (_, error) = deploy("promote", "app", "--to", f"{repository}-production:stable")
    assert (code, error["objections"]) == (4, ["queue was not tried"])


def test_the_image_s_own_rules_count_where_it_goes_to_has_none(declared, proven, deploy, repository):
    declared(checks=["queue"])
    proven()
    code, (_, error) = deploy("promote", "app", "--to", f"{repository}-elsewhere:stable")
    assert (code, error["objections"]) == (4, ["queue was not tried"])


def test_promote_to_another_repository_tells_how_its_parts_went(declared, proven, deploy, repository):
    made = proven()
    code, events = deploy("promote", "app", "--to", f"{repository}-production:stable")
    assert code == 0
    assert {event["how"] for event in events if event["event"] == "blob"} == {"mounted"}
    assert events[-1]["image"] == f"{repository}-production"
    assert events[-1]["new"] == made.digest


def test_rollback_brings_the_earlier_image_back(declared, proven, deploy, repository):
    old, new = proven(), None
    deploy("promote", "app")
    new = proven()
    deploy("promote", "app")
    assert deploy("rollback", "app", "--dry-run")[1][-1]["outcome"] == "planned"
    assert repository.get("stable") == new
    code, (*_, result) = deploy("rollback", "app")
    assert (code, result["old"], result["new"]) == (0, new.digest, old.digest)
    assert repository.get("stable") == old
    assert deploy("rollback", "app", "--digest", new.digest)[0] == 0
    code, (*_, seen) = deploy("inspect", f"{repository}:stable")
    assert [move["kind"] for move in seen["history"]] == ["promote", "promote", "rollback", "rollback"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["promote", "other"], "Known images: app."),
        (["promote", "ap"], 'Did you mean "app"?'),
        (["promote", "app", "--to", "sta ble"], "cannot be a tag"),
        (["promote", "app", "--to", "sha256:" + "0" * 64], "is a digest, which cannot be moved"),
        (["promote", "app", "--to", "localhost/other"], "names no tag"),
        (["promote", "app", "--from", "sha256:00"], "64 lower-case hexadecimal digits"),
        (["promote", "app", "--key", "none.pub"], "none.pub is missing"),
        (["rollback", "app", "--to", "localhost/other:stable"], "is not a channel of"),
        (["promote", "app", "--to", "stable.history"], "is where a history stands, and no channel"),
        (["rollback", "app", "--digest", "x"], "64 lower-case hexadecimal digits"),
        (["rollback", "app"], "no earlier image to go back to"),
        (["inspect", "nothing"], "Known images: app."),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_hint(words, said, declared, capsys):
    assert main(["image", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("[app]\n", ['promotion.toml:1:2: app.repository: missing. Such as "ghcr.io/owner/app".']),
        (
            '[app]\nrepository = "ghcr.io/o/app:stable"\n',
            ["promotion.toml:2:14: app.repository: expected a repository without tag or digest."],
        ),
        (
            '[app]\nrepository = "ghcr.io/o/app"\nmax_aeg = "1h"\nwho = "ada"\nmin_age = "soon"\n',
            [
                'promotion.toml:3:1: app.max_aeg: unknown key. Did you mean "max_age"?',
                'promotion.toml:4:7: app.who: expected a list of names. Such as who = ["ada"].',
                'promotion.toml:5:11: app.min_age: expected a duration such as "30s", "500ms" or "2m".',
            ],
        ),
        (
            '[app]\nrepository = "ghcr.io/o/app"\nchecks = []\n',
            ["promotion.toml:3:10: app.checks: is empty, which demands nothing. Leave the key out."],
        ),
        (
            '[app]\nrepository = "ghcr.io/o/app"\n[b]\nrepository = "GHCR.io/o/app"\n',
            ['promotion.toml:4:14: b.repository: is that of "app" as well. Give it one set of rules.'],
        ),
        ('app = "ghcr.io/o/app"\n', ["promotion.toml:1:1: app: expected a table. Write [app] above its keys."]),
        ("[app\n", ["promotion.toml:1:5: not TOML: expected ']' at the end of a table declaration."]),
    ],
)
def test_a_wrong_declaration_is_said_with_line_and_key(text, problems, project, capsys):
    (project / "promotion.toml").write_text(text)
    assert main(["image", "promote", "app"]) == 2
    assert capsys.readouterr().err.splitlines() == problems


def test_the_example_in_the_documentation_is_a_sound_declaration(tmp_path):
    from provision.images.promotion.declared import find_image

    text = (Path(__file__).parents[2] / "docs" / "images.md").read_text()
    (tmp_path / "promotion.toml").write_text(text.partition("```toml\n")[2].partition("```")[0])
    image = find_image(tmp_path, "app")
    assert image.repository.name == "ghcr.io/acme/app"
    assert image.policy == find_image(tmp_path, "ghcr.io/acme/app").policy
    assert image.policy.checks == ("healthcheck", "completion", "queue rollouts")
    assert image.policy.who == ("ada", "release-bot")
    assert (image.policy.min_age, image.policy.max_age) == (timedelta(hours=1), timedelta(days=7))


# Who may push


def test_attest_names_what_is_there_and_what_this_machine_knows_to_be_gone(
    project, deploy, declared, repository, monkeypatch
):
    """So others miss it as well, until somebody signs anew."""
    made = image(repository, "canary")
    name = f"{repository}@{made.digest}"
    for passed in (True, False):
        _, (stored,) = deploy("attest", name, "--report", report(project, ("health", passed)))
    take_away(repository, made, stored["evidence"])
    code, (note, *_) = deploy("attest", name, "--report", report(project, ("health", True)))
    assert code == 0
    assert f"evidence {stored['evidence'][:19]} is gone, and was there" in note["text"]
    monkeypatch.setenv("DEPLOY_SEEN", str(project.parent / "elsewhere.json"))
    code, (_, error) = deploy("promote", "app")
    assert (code, error["objections"][0][:36]) == (4, f"evidence {stored['evidence'][:19]} is gone")
    assert deploy("attest", name, "--report", report(project, ("health", True)), "--anew")[0] == 0
    assert deploy("promote", "app")[0] == 0


def test_what_one_command_saw_the_next_one_misses(declared, proven, deploy, repository):
    made = proven()
    assert deploy("promote", "app")[0] == 0
    kept = repository.get("stable.history")
    proven()
    assert deploy("promote", "app")[0] == 0
    repository.put(kept, "stable.history")
    repository.put(made, "stable")
    code, (_, error) = deploy("promote", "app")
    assert (code, error["objections"][0][:45]) == (4, "stable.history was put back to an earlier sta")
    code, (seen,) = deploy("inspect", f"{repository}:stable")
    assert seen["history_problem"].startswith("was put back to an earlier state")
    assert deploy("promote", "app", "--anew")[0] == 0


def test_a_key_that_nobody_trusts_moves_nothing(declared, proven, deploy, project, repository, tmp_path):
    proven()
    assert main(["image", "keygen", "--private", f"{tmp_path}/other", "--public", f"{tmp_path}/other.pub"]) == 0
    code, (error,) = deploy("promote", "app", "--private", f"{tmp_path}/other")
    assert code == 2
    assert "so nobody would believe what it signs" in error["what"]
    assert repository.digest("stable") == ""
