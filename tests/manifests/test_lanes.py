"""Lanes: names, ports, order, and what restarts a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provision.errors import UnencodableValue, UsageError
from provision.project.service import Lane
from tests.manifests.projects import lane, project, service

WEB = {"command": ["web", "${port}"], "port": 8000, "env": {"API": "http://127.0.0.1:${services.api.port}"}}
API = {"command": ["api", "${port}"], "port": 9000}
BOTH: dict[str, Any] = {"web": WEB, "api": API}


@pytest.mark.parametrize(
    ("target", "which", "program", "manifest"),
    [
        ({}, Lane.STABLE, "web", "cres.web.conf"),
        ({}, Lane.CANARY, "web.canary", "cres.web.canary.conf"),
        ({}, Lane.CANDIDATE, "web.candidate", "cres.web.candidate.conf"),
        ({"name_prefix": "b-"}, Lane.STABLE, "b-web", "cres.b-web.conf"),
        ({"platform": "systemd"}, Lane.STABLE, "cres-web.service", "cres-web.service"),
        ({"platform": "systemd"}, Lane.CANARY, "cres-web.canary.service", "cres-web.canary.service"),
        ({"platform": "systemd", "name_prefix": "b-"}, Lane.STABLE, "b-cres-web.service", "b-cres-web.service"),
    ],
)
def test_programs_and_manifests_have_the_names_that_operators_expect(
    target: dict[str, Any], which: Lane, program: str, manifest: str
) -> None:
    document = service(project(BOTH, **target), "web", which)

    assert document["program"] == program
    assert document["manifest"]["name"] == manifest


@pytest.mark.parametrize(
    ("which", "own", "others"), [(Lane.STABLE, 8000, 9000), (Lane.CANARY, 18000, 19000), (Lane.CANDIDATE, 28000, 9000)]
)
def test_services_of_one_lane_find_each_other_there_and_a_candidate_finds_what_runs_already(
    which: Lane, own: int, others: int
) -> None:
    document = service(project(BOTH), "web", which)

    assert document["ports"] == [own]
    assert f"exec 'web' '{own}'" in document["launch"]
    assert f"export API='http://127.0.0.1:{others}'" in document["launch"]


def test_services_come_in_the_order_in_which_they_start() -> None:
    declared = project({"web": {**WEB, "after": ["api"]}, "api": {**API, "after": ["db"]}, "db": {"command": ["db"]}})

    assert [entry["name"] for entry in lane(declared)["services"]] == ["db", "api", "web"]


def test_supervisord_starts_what_others_need_first_even_in_a_dense_web_of_needs() -> None:
    # each after all before it: counted path by path this would never end
    declared = project(
        {f"s{at}": {"command": ["x"], "after": [f"s{other}" for other in range(at)]} for at in range(40)}
    )

    texts = [entry["manifest"]["text"] for entry in lane(declared)["services"]]

    assert [f"\npriority = {100 + 10 * at}\n" in text for at, text in enumerate(texts)] == [True] * 40


def test_a_target_gets_the_services_that_it_names() -> None:
    declared = project({"web": {**WEB, "after": ["api"]}, "api": API}, services=["web"], platform="systemd")

    (only,) = lane(declared)["services"]

    assert only["name"] == "web"
    assert only["after"] == []
    assert "cres-api" not in only["manifest"]["text"]


@pytest.mark.parametrize(
    ("binary", "started"), [("server", "./server"), ("bin/server", "bin/server"), ("/opt/server", "/opt/server")]
)
def test_a_binary_of_the_release_is_never_looked_up_on_path(binary: str, started: str) -> None:
    document = service(project({"web": {"command": ["${binary}"], "binary": binary}}), "web")

    assert f"exec '{started}'\n" in document["launch"]


def test_the_project_and_its_folder_can_be_named() -> None:
    declared = {"command": ["x"], "env": {"LOGS": "${path}/shared/logs/${project}.log"}}

    assert "export LOGS='/srv/cres/shared/logs/cres.log'\n" in service(project({"web": declared}), "web")["launch"]


def test_a_service_without_a_program_is_refused() -> None:
    with pytest.raises(UnencodableValue, match="there is no program to start"):
        service(project({"web": {}}), "web")


@pytest.mark.parametrize("which", list(Lane))
def test_neither_manifests_nor_launchers_know_a_release_or_a_secret(which: Lane) -> None:
    document = service(project({"web": {**API, "secrets": ["TOKEN"]}}), "web", which)
    run = f"/srv/cres/.deploy/run/{document['program']}/current"

    assert f"command = {run}/launch\n" in document["manifest"]["text"]
    assert f". '{run}/secrets'\n" in document["launch"]
    assert f"cd -P '{run}/release'\n" in document["launch"]


def marks(services: dict[str, Any], **options: Any) -> dict[str, str]:
    return {entry["name"]: entry["fingerprint"] for entry in lane(project(services), **options)["services"]}


@pytest.mark.parametrize(
    "change",
    [
        {"command": ["web", "${port}", "--more"]},
        {"env": {"API": "elsewhere"}},
        {"env": {**WEB["env"], "NEW": ""}},  # type: ignore[dict-item]
        {"secrets": ["TOKEN"]},
        {"port": 8001},
        {"canary_port": 8002},
        {"user": "www-data"},
        {"resources": {"memory": "1GB"}},
        {"resources": {"vram": "1GB"}},
        {"stop_timeout": 20},
        {"on_demand": True},
    ],
)
def test_a_change_of_how_a_service_is_started_restarts_that_service_alone(change: dict[str, Any]) -> None:
    before = marks(BOTH)

    after = marks({"web": {**WEB, **change}, "api": API})

    assert after["web"] != before["web"]
    assert after["api"] == before["api"]


@pytest.mark.parametrize(
    "services",
    [
        {"web": {**WEB, "check": {"http": "/"}}, "api": API},
        {"web": {**WEB, "switch": "in-place", "prove": True, "on_switch": "restart"}, "api": API},
        {"web": WEB, "api": API, "new": {"command": ["new"]}},
        {"new": {"command": ["new"]}, "api": API, "web": WEB},
    ],
    ids=["a check", "how it is switched", "a further service", "the order of declaration"],
)
def test_what_a_process_cannot_notice_restarts_nothing(services: dict[str, Any]) -> None:
    assert marks(services).items() >= marks(BOTH).items()


def test_a_port_that_another_service_is_told_restarts_both() -> None:
    before, after = marks(BOTH), marks({"web": WEB, "api": {**API, "port": 9001}})

    assert before["web"] != after["web"]
    assert before["api"] != after["api"]


def test_content_restarts_the_service_that_reads_it() -> None:
    before, after = marks(BOTH, contents={"web": "a"}), marks(BOTH, contents={"web": "b"})

    assert before["web"] != after["web"]
    assert before["api"] == after["api"]


def test_a_fingerprint_is_the_same_in_every_lane() -> None:
    declared = project(BOTH)

    assert len({service(declared, "web", which)["fingerprint"] for which in Lane}) == 1


def test_a_template_of_the_project_replaces_ours_and_counts(tmp_path: Path) -> None:
    (tmp_path / "supervisord").mkdir()
    (tmp_path / "supervisord" / "program.conf.j2").write_text(
        "[program:{{ program.name | plain }}]\ncommand = {{ program.launch | supervisor_arg }}\npriority = 1\n"
    )

    document = service(project(BOTH), "web", overrides=tmp_path)

    assert document["manifest"]["text"] == (
        "[program:web]\ncommand = '/srv/cres/.deploy/run/web/current/launch'\npriority = 1\n"
    )
    assert document["fingerprint"] != marks(BOTH)["web"]


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ({"web": {"command": ["${port}"]}}, r"services.web.command: \$\{port\} asks for a port that is not declared"),
        ({"web": {"command": ["${model}"]}}, r"services.web.command: \$\{model\} has nothing to refer to here"),
        ({"web": {"command": ["${binary}"]}}, r"services.web.command: \$\{binary\} has nothing to refer to here"),
        ({"web": {"command": ["x"], "env": {"A": "${services.db.port}"}}}, r"services.web.env.A: \$\{services.db.port"),
    ],
)
def test_a_reference_to_nothing_is_named(services: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lane(project(services))


def test_a_platform_without_a_supervisor_is_refused() -> None:
    with pytest.raises(UsageError, match="kubernetes has no supervisor on a host"):
        lane(project(BOTH, platform="kubernetes"))


def test_what_preflight_needs_is_told() -> None:
    resources = {"memory": "1GB", "vram": "2GB", "cpus": 1.5}
    document = service(project({"web": {**API, "resources": resources, "drain": "3s"}}), "web")

    assert document["needs"] == {"memory_bytes": 10**9, "vram_bytes": 2 * 10**9, "cpus": 1.5}
    assert (document["drain"], document["stop_timeout"]) == (3.0, 13.0)
