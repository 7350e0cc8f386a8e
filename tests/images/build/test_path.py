"""The whole path of an image, in the words that people and workflows type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.cli.main import main
from provision.images.build.image import Built
from provision.images.registry.reference import parse
from provision.images.registry.referrers import referrers
from provision.images.registry.repository import connect
from tests.images.registry import Registry
from tests.testbed.docker import Engine

Deploy = Callable[..., dict[str, Any]]


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Deploy:
    """Runs a verb that has to work; its last event."""

    def run(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        code = main(["image", *words, "--json"])
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert code == 0, events[-1]
        return dict(events[-1])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return run


def test_what_was_built_is_pushed_tried_promoted_and_answers_as_stable(
    engine: Engine,
    smallest: Built,
    plain: Registry,
    name: str,
    tmp_path: Path,
    deploy: Deploy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    monkeypatch.setenv("DOCKER_CONFIG", plain.environ["DOCKER_CONFIG"])
    engine.see(plain.authority)
    repository = f"{plain.authority}/{name}"
    (tmp_path / "promotion.toml").write_text(
        f'[app]\nrepository = "{repository}"\nchecks = ["completion", "metrics", "drain"]\nmax_age = "1h"\n'
    )
    deploy("keygen")

    pushed = deploy("push", "app", "--oci", str(smallest.layout.folder))
    tried = f"{repository}@{pushed['new']}"
    deploy("smoke", tried, "--report", "smoke.json", "--drain", "120")
    deploy("attest", tried, "--report", "smoke.json")
    promoted = deploy("promote", "app")

    digest = smallest.layout.manifest.digest
    assert promoted["new"] == pushed["new"] == digest
    stable = connect(parse(f"{repository}:stable"), write=False)
    assert stable.get("stable").content == smallest.layout.manifest.content
    assert {item.artifact_type for item in referrers(stable, digest)} >= {
        "application/spdx+json",
        "application/vnd.bitnet-provision.build-record.v1+json",
        "application/vnd.bitnet-provision.evidence.v1+json",
    }
    assert deploy("smoke", f"{repository}:stable", "--drain", "120")["digest"] == digest
