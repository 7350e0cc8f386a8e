"""A repository without keys: what is said, what is made, and what moves by consent alone."""

from __future__ import annotations

import json

import pytest

from provision.cli.main import main
from provision.cli.verbs.image.keys import ENVIRONMENTS
from tests.images.make import image, recorded

pytestmark = pytest.mark.registry("fallback tag")


@pytest.fixture
def project(fork, plain):
    """A fork as it was cloned, and a registry."""
    return fork


def declare(project, repository, more=""):
    (project / "promotion.toml").write_text(f'[app]\nrepository = "{repository}"\n{more}\n')


def test_keys_are_made_once_and_said_is_what_ci_needs(project, capsys):
    assert main(["image", "keys", "init"]) == 0
    said = capsys.readouterr().out
    made = (project / "evidence.pub").read_bytes()
    assert "gh secret set DEPLOY_EVIDENCE_KEY --env promotion < " in said
    assert "gh variable set KNOWN_HOSTS --env production < known_hosts" in said
    assert "PRIVATE KEY" not in said

    (project / "evidence.pub").unlink()
    assert main(["image", "keys", "init", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (project / "evidence.pub").read_bytes() == made
    assert told["made"] is False
    assert told["environments"].keys() == ENVIRONMENTS.keys()
    assert [name for name, holds in told["environments"].items() if holds["reviewers"]] == ["promotion", "production"]


def test_without_keys_promotion_says_so_first_and_moves_nothing(project, repository, capsys):
    image(repository, "canary")
    declare(project, repository)

    assert main(["image", "promote", "app"]) == 2

    first, *rest = capsys.readouterr().err.splitlines()
    assert "UNSIGNED: evidence.pub is missing" in first
    assert any("deploy image keys init" in line and "unsigned = true" in line for line in rest)
    assert not repository.digest("stable")


def test_by_consent_it_moves_unsigned_and_says_so_first(project, repository, capsys):
    made = image(repository, "canary")
    declare(project, repository, "unsigned = true")

    assert main(["image", "promote", "app"]) == 0

    assert "UNSIGNED" in capsys.readouterr().err.splitlines()[0]
    assert repository.digest("stable") == made.digest
    assert not recorded(repository).moves


def test_what_somebody_signed_for_is_not_moved_unsigned(project, repository, capsys):
    declare(project, repository, "unsigned = true")
    assert main(["image", "keys", "init"]) == 0
    first = image(repository, "canary")
    (project / "report.json").write_text('{"checks": [{"name": "health", "passed": true}]}')
    assert main(["image", "attest", f"{repository}@{first.digest}", "--report", "report.json"]) == 0
    assert main(["image", "promote", "app"]) == 0
    image(repository, "canary")
    (project / "evidence.pub").unlink()
    capsys.readouterr()

    assert main(["image", "promote", "app"]) == 4

    assert "stable.history is there" in capsys.readouterr().err
    assert repository.digest("stable") == first.digest
