"""Which copies of a service a host runs, and how they are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provision.contract.release import ReleaseDocument
from provision.contract.slots import services_in, services_of
from provision.manifests import render_lanes
from provision.project import load
from provision.project.schema import Project

_TARGET = '[targets.here]\nhosts = ["h"]\npath = "/srv/app"\nplatform = "systemd"\n'
_API = 'command = ["api", "${port}"]\nport = 8000\ncheck = { http = "/health" }\n'


def declared(folder: Path, services: str) -> Project:
    (folder / "deploy.toml").write_text(f'[project]\nname = "app"\n{services}\n{_TARGET}')
    return load(folder, environ={}, demand_secrets=False).project


def document(project: Project) -> ReleaseDocument:
    lanes: Any = {"lanes": {str(k): v for k, v in render_lanes(project, project.targets["here"], models={}).items()}}
    return lanes


def test_each_copy_has_a_name_a_port_and_a_launcher_that_says_it(tmp_path: Path) -> None:
    after = '[services.web]\ncommand = ["web", "${services.api.port}"]\nafter = ["api"]\n'
    release = document(declared(tmp_path, f"[services.api]\n{_API}replicas = 3\n{after}"))

    copies = [each for each in services_of(release, "stable") if each["name"] == "api"]

    assert [each["program"] for each in copies] == ["app-api.service", "app-api.2.service", "app-api.3.service"]
    assert [each["ports"] for each in copies] == [[8000], [8001], [8002]]
    assert "'api' '8002'" in copies[2]["launch"]
    assert copies[1]["checks"][0]["name"] == "api.2 http /health"
    assert len({each["fingerprint"] for each in copies}) == 3
    assert [[each["program"] for each in services_in(release, slot)] for slot in ("2", "canary")] == [
        ["app-api.2.service"],
        ["app-api.canary.service", "app-web.canary.service"],
    ]
    web = services_of(release, "stable")[-1]
    assert "'web' '8000'" in web["launch"]
    after_ = [line.removeprefix("After=") for line in web["manifest"]["text"].splitlines() if line.startswith("After=")]
    assert {each for line in after_ for each in line.split()} >= {each["program"] for each in copies}


def test_what_is_declared_once_is_described_as_by_earlier_versions(tmp_path: Path) -> None:
    release = document(declared(tmp_path, f'[services.api]\n{_API}resources = {{ vram = "1GiB" }}\n'))

    for each in (each for lane in ("stable", "canary", "candidate") for each in services_of(release, lane)):
        assert "slot" not in each
        assert set(each["needs"]) == {"memory_bytes", "vram_bytes", "cpus"}
        assert "devices" not in each["launch"]


def test_the_launcher_of_what_is_given_gpus_reads_which(tmp_path: Path) -> None:
    release = document(declared(tmp_path, f"[services.api]\n{_API}resources = {{ gpu_fraction = 0.5 }}\n"))

    (api,) = services_of(release, "stable")

    assert ". '/srv/app/.deploy/run/app-api.service/current/devices'" in api["launch"]
    assert api["needs"].get("gpu_fraction") == 0.5


@pytest.mark.parametrize(
    ("services", "copies"),
    [
        (f"[services.api]\n{_API}replicas = 4\n", {"api": 4}),
        (f"[services.api]\n{_API}", {}),
        (f"[services.api]\n{_API}replicas = 1\n", {}),
        ('[services.api]\npreset = "rollout-server"\n', {}),
        ('[services.api]\npreset = "rollout-server"\nreplicas = 3\n', {"api": 3}),
    ],
    ids=["declared", "not", "once", "a preset's", "a preset's, and declared"],
)
def test_a_host_runs_the_copies_that_the_project_itself_declares(
    tmp_path: Path, services: str, copies: dict[str, int]
) -> None:
    assert declared(tmp_path, services).copies == copies
