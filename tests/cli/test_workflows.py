"""The workflows call verbs and options that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from provision.cli.commands import deploy
from provision.cli.verbs.image.keys import ENVIRONMENTS
from provision.images.build.bake import read_recipes
from tests.cluster import given

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(file):
    yield from steps_in(file.read_text())


def steps_in(text):
    for job in yaml.safe_load(text)["jobs"].values():
        yield from job.get("steps", [])


def documented():
    """The commands of those that the documents show, for others' repositories."""
    for file in sorted((ROOT / "docs").glob("*.md")):
        for text in re.findall(r"(?ms)^```yaml\n(# \.github/workflows/.*?)^```$", file.read_text()):
            for step in steps_in(text):
                if step.get("uses", "").startswith("OWNER/"):
                    yield file.name, re.sub(r"\$\{\{.*?\}\}", "x", step["with"]["command"])


def commands():
    """Every command that a step gives to the action, with something in place of each expression."""
    for file in WORKFLOWS:
        for step in steps(file):
            if step.get("uses") == "./":
                text = step["with"]["command"]
                for verb in re.findall(r"'(\w+)'", text) or [""]:
                    yield file.name, re.sub(r"\$\{\{.*?\}\}", lambda found, verb=verb: verb or "x", text)


def test_there_are_workflows_that_deploy():
    assert {name for name, _ in commands()} >= {"deploy-to.yml", "promote.yml"}
    assert {name for name, _ in documented()} >= {"previews.md", "vast.md"}


@pytest.mark.parametrize(("workflow", "text"), [*commands(), *documented()])
def test_a_step_s_command_is_one_that_can_be_typed(workflow, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke.json").touch()
    words, group = shlex.split(text), deploy
    while isinstance(group, click.Group):
        _, group, words = group.resolve_command(click.Context(group), words)
    group.make_context("deploy", words)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_no_shell_is_given_an_expression(file):
    for step in steps(file):
        assert "${{" not in step.get("run", "")


def test_every_image_that_is_meant_to_be_pulled_is_built_and_may_be_promoted():
    built = {name for name in read_recipes(ROOT) if not name.startswith("minimal")}

    jobs = yaml.safe_load((ROOT / ".github/workflows/image.yml").read_text())["jobs"]

    assert set(jobs["image"]["strategy"]["matrix"]["image"]) == built
    assert set(jobs["promote"]["strategy"]["matrix"]["image"]) == built


def workflow(name):
    """What a file says; `on` is a word that YAML has for true."""
    loaded = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    return loaded, loaded[True]


def test_main_is_tested_then_deployed_to_staging_and_production_is_asked_for():
    said, on = workflow("deploy.yml")
    jobs = said["jobs"]
    assert on["push"]["branches"] == ["main"]
    assert on["workflow_dispatch"]["inputs"]["environment"]["options"] == ["staging", "production"]
    assert (jobs["staging"]["needs"], jobs["production"]["needs"]) == ("test", "staging")
    assert jobs["production"]["if"] == "inputs.environment == 'production'"
    tests, called = workflow(jobs["test"]["uses"].rpartition("/")[2])
    assert "workflow_call" in called
    assert set(tests["jobs"]) == {"test", "build"}, "what calls it waits for both"
    assert any(
        "--cov=provision" in step.get("env", {}).get("PYTEST_ADDOPTS", "") for step in tests["jobs"]["test"]["steps"]
    )


def test_images_are_built_by_the_name_of_the_document_and_promoted_by_hand():
    said, on = workflow("image.yml")
    assert said["name"] == "Build and Push to GHCR"
    assert on["workflow_dispatch"]["inputs"]["promote_stable"]["default"] is False


def test_what_keys_init_tells_to_paste_is_what_the_workflows_ask_for():
    asked = {}
    for file in WORKFLOWS:
        text = file.read_text()
        named = re.findall(r"\n    environment: (\w+)\n", text) or re.findall(
            r"environment: (staging|production)\n", text
        )
        called = (ROOT / ".github/workflows/deploy-to.yml").read_text() if file.name == "deploy.yml" else text
        for environment in named:
            asked.setdefault(environment, set()).update(re.findall(r"secrets\.([A-Z_]+)", called))
            asked[environment] |= set(re.findall(r"vars\.([A-Z_]+) }}", called))
    told = {name: {*secrets, *variables} for name, (secrets, variables) in ENVIRONMENTS.items()}
    assert asked == told


def test_the_cluster_of_kind_is_given_to_the_tests_as_they_read_it():
    said, _ = workflow("kind.yml")
    assert set(said["jobs"]["test"]["env"]) == {given.KUBECONFIG, given.CTR}
