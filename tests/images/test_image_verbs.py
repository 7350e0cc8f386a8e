"""`deploy image …` as it is typed."""

from __future__ import annotations

import json

import pytest

from provision.cli.main import main
from provision.images.reference import parse
from provision.images.repository import connect
from tests.images.make import image, index


@pytest.fixture
def project(tmp_path, monkeypatch, plain):
    """A folder with a key, as somebody who has it."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))
    for variable in ("DEPLOY_EVIDENCE_KEY", "REGISTRY_TOKEN", "REGISTRY_CA", "GITHUB_ACTIONS"):
        monkeypatch.delenv(variable, raising=False)
    assert main(["image", "keygen"]) == 0
    return folder


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
