"""Everything that a project's targets cannot hold is named at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provision.manifests.refusals import refusals
from provision.project.schema import Project

NOWHERE = Path("/nonexistent")
IMAGE = "a/b@sha256:" + "1" * 64


def refused(services: dict[str, Any], secrets: dict[str, str] | None = None, **target: Any) -> dict[str, str]:
    """Subject -> reason."""
    project = Project.model_validate(
        {"name": "cres", "services": services, "targets": {"there": {"hosts": ["a"], "path": "/srv/cres", **target}}}
    )
    return {each.subject: each.reason for each in refusals(project, project.targets.values(), NOWHERE, secrets or {})}


def test_a_sound_project_is_refused_nothing() -> None:
    assert refused({"web": {"command": ["web"], "env": {"A": "é\n"}, "secrets": ["KEY"]}}, {"KEY": "x" * 1000}) == {}


@pytest.mark.parametrize("platform", ["supervisord", "systemd", "docker"])
def test_each_service_is_named_whatever_is_wrong_with_another(platform: str) -> None:
    services = {name: {"command": [name], "env": {"A": "x" * 131072}, "image": IMAGE} for name in ("one", "two")}

    assert set(refused(services, platform=platform)) == {"services.one.env.A", "services.two.env.A"}


def test_what_a_cluster_cannot_hold_is_named_for_a_cluster_alone() -> None:
    web = {"web": {"command": ["web"], "env": {"A": "\u0085"}, "image": IMAGE}}

    assert list(refused(web, platform="kubernetes")) == ["services.web.env.A"]
    assert refused(web) == {}


def test_a_check_is_named_too() -> None:
    web = {"command": ["web"], "check": {"command": ["probe", "${cpus}"]}}

    assert list(refused({"web": web})) == ["services.web.check.command"]


@pytest.mark.parametrize(
    ("kind", "value", "subject"),
    [
        ("secrets", "x" * 131072, "services.web.secrets[1]"),
        ("secrets", "\udcff", "services.web.secrets[1]"),
        ("secret_files", "\udcff", "services.web.secret_files[1]"),
    ],
)
def test_a_secret_is_named_and_its_value_is_not_told(kind: str, value: str, subject: str) -> None:
    told = refused({"web": {"command": ["web"], kind: ["FINE", "KEY"]}}, {"KEY": "hunter2" + value, "FINE": ""})

    assert list(told) == [subject]
    assert told[subject].startswith("the value of KEY: ")
    assert "hunter2" not in told[subject]


def test_a_file_may_be_longer_than_any_variable() -> None:
    assert refused({"web": {"command": ["web"], "secret_files": ["KEY"]}}, {"KEY": "x" * 200_000}) == {}


@pytest.mark.parametrize("value", ["", "#secret", "one\ntwo", "ten ants", "clé"])
@pytest.mark.parametrize("kind", ["secrets", "secret_files"])
def test_what_is_no_token_is_never_sent_as_one(kind: str, value: str) -> None:
    """To llama-server a key file with such a line may hold no key at all, and then it answers everybody."""
    check = {"http": "/", "token": "KEY"}

    told = refused({"web": {"command": ["web"], "port": 8000, kind: ["KEY"], "check": check}}, {"KEY": value})

    assert list(told) == [f"services.web.{kind}[0]"]
    assert "bearer token" in told[f"services.web.{kind}[0]"]


def test_a_token_may_be_whatever_a_header_can_say() -> None:
    web = {"command": ["web"], "port": 8000, "secret_files": ["KEY"], "metrics": {"token": "KEY"}}

    assert refused({"web": web}, {"KEY": "sk-A.z_0~9+/=="}) == {}
