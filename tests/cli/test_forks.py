"""Whose code a run of GitHub Actions works for."""

from __future__ import annotations

import json

import pytest

from provision.cli.github.forks import given, is_fork, refuse_fork
from provision.cli.main import main
from provision.cli.session import Session
from provision.errors import DeclarationError, Exit, Refused

OURS, THEIRS = {"id": 1, "full_name": "acme/shop"}, {"id": 2, "full_name": "eve/shop", "fork": True}


def pull(head):
    return {"pull_request": {"number": 7, "head": {"repo": head}, "base": {"repo": OURS}}}


CASES = {
    "a branch of ours": ("pull_request", pull(OURS), False),
    "a fork": ("pull_request", pull(THEIRS), True),
    "a fork, with the secrets of the base": ("pull_request_target", pull(THEIRS), True),
    "a fork that was reviewed": ("pull_request_review", pull(THEIRS), True),
    "a fork that was removed": ("pull_request", pull(None), True),
    "a project that is a fork itself": ("pull_request", pull({**OURS, "fork": True}), False),
    "repositories without ids": ("pull_request", {"pull_request": {"head": {"repo": {}}, "base": {"repo": {}}}}, True),
    "an event that is no object": ("pull_request", ["pull_request"], True),
    "after a run of ours": ("workflow_run", {"workflow_run": {"head_repository": OURS}, "repository": OURS}, False),
    "after a run of a fork": ("workflow_run", {"workflow_run": {"head_repository": THEIRS}, "repository": OURS}, True),
    "a comment on a pull request": ("issue_comment", {"issue": {"number": 7, "pull_request": {}}}, True),
    "a comment on an issue": ("issue_comment", {"issue": {"number": 7}}, False),
    "a push": ("push", {"repository": OURS}, False),
}


def environ(tmp_path, name, said):
    file = tmp_path / "event.json"
    file.write_text(said if isinstance(said, str) else json.dumps(said))
    return {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(file)}


@pytest.mark.parametrize(("name", "said", "expected"), CASES.values(), ids=CASES)
def test_whose_code_it_is(name, said, expected, tmp_path):
    assert is_fork(environ(tmp_path, name, said)) is expected


@pytest.mark.parametrize("said", ["", "{", "[" * 100_000])
def test_an_event_that_cannot_be_read_counts_as_a_fork_s(said, tmp_path):
    assert is_fork(environ(tmp_path, "pull_request", said))
    assert is_fork({"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request"})
    assert not is_fork(environ(tmp_path, "push", said))


def test_a_laptop_is_no_fork():
    assert not is_fork({})


def test_a_fork_is_refused_by_name(tmp_path):
    with pytest.raises(Refused, match="a preview is not deployed for a fork's pull request") as refused:
        refuse_fork("a preview is not deployed", environ(tmp_path, "pull_request", pull(THEIRS)))
    assert refused.value.exit == Exit.REFUSED
    refuse_fork("a preview is not deployed", environ(tmp_path, "pull_request", pull(OURS)))


SENDS = """
[project]
name = "shop"
[services.web]
command = ["true"]
[targets.eve]
platform = "supervisord"
hosts = ["eve.example"]
path = "/srv/${NAME}"
"""


@pytest.fixture
def fork(tmp_path, monkeypatch):
    """A folder that a fork's pull request brings, and in which the job runs."""
    for name, value in environ(tmp_path, "pull_request_target", pull(THEIRS)).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "deploy.toml").write_text(SENDS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VAST_API_KEY", "0123456789abcdef"),
        ("HF_TOKEN", "hf"),
        ("DATABASE", "postgres://shop:sesame@db/shop"),
        ("DEPLOY_EVIDENCE_KEY", "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_a_fork_s_declaration_is_given_nothing_that_looks_like_a_secret(name, value, fork, monkeypatch):
    """It says to which host its path is told."""
    monkeypatch.setenv(name, value)
    (fork / "deploy.toml").write_text(SENDS.replace("NAME", name))
    with pytest.raises(DeclarationError, match=f"{name}.* is not set"):
        Session(directory=fork).deployment  # noqa: B018


def test_a_fork_s_declaration_is_given_no_file_of_variables(fork):
    """VAST_URL in one would say where the account's key goes; and a job may have written its secrets there."""
    (fork / ".env").write_text("NAME=shop\n")
    with pytest.raises(DeclarationError, match=r"NAME.* is not set"):
        Session(directory=fork).deployment  # noqa: B018
    assert given(fork / ".env", {}).env_file == fork / ".env"


def test_what_is_no_secret_can_be_named(fork, monkeypatch):
    monkeypatch.setenv("NAME", "shop")
    assert Session(directory=fork).deployment.target.path == "/srv/shop"


@pytest.mark.parametrize(
    "words",
    [
        "secrets check",
        "doctor",
        "unlock",
        "host mend",
        "host bootstrap --yes",
        "image push acme/shop",
        "image promote shop",
        "image rollback shop",
        "image attest acme/shop@sha256:00 --report deploy.toml",
        "evidence sign",
        "smoke --sign",
        "machine rent",
        "restart",
        "stop",
        "down",
    ],
)
def test_a_fork_changes_and_signs_nothing(words, fork, monkeypatch, capsys):
    monkeypatch.setenv("NAME", "shop")
    assert main(words.split()) == Exit.REFUSED
    assert "for a fork's pull request." in capsys.readouterr().err


def test_no_provider_is_asked_for_a_fork(fork, monkeypatch, capsys):
    needs = 'needs = { disk = "20GB", image = "acme/gpu:1" }'
    rented = f'provider = "vast"\n{needs}\nbudget = {{ per_hour = 1, total = 9, until = "1h" }}'
    (fork / "deploy.toml").write_text(SENDS.replace('hosts = ["eve.example"]', rented).replace("${NAME}", "shop"))
    assert main(["plan"]) == Exit.REFUSED
    assert "no provider is asked for its machines for a fork's pull request." in capsys.readouterr().err


def test_no_lock_is_made_for_a_fork(fork, capsys):
    """uv builds what is named without a wheel: it would run it."""
    (fork / "requirements.txt").write_text("./evil\n")
    (fork / "deploy.toml").write_text(
        "[project]\nname = 'shop'\n[python]\nrequirements = 'requirements.txt'\n[services.web]\ncommand = ['true']\n"
    )
    assert main(["render", "dockerfile"]) == Exit.REFUSED
    assert not (fork / "deploy.lock").exists()
