"""What a host's Docker Engine is asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import UnencodableValue
from provision.project.service import Lane
from tests.manifests.projects import project, service

IMAGE = "ghcr.io/owner/app@sha256:" + "1" * 64
WEB = {"command": ["serve", "--port", "${port}"], "port": 8000, "image": IMAGE}


def body(lane: Lane = Lane.STABLE, **more: Any) -> dict[str, Any]:
    document = service(project({"web": {**WEB, **more}}, platform="docker"), "web", lane)
    return dict(json.loads(document["manifest"]["text"]))


def test_a_container_has_the_projects_name_in_front_and_its_lanes_port() -> None:
    declared = project({"web": WEB}, platform="docker", name_prefix="a-")

    canary = service(declared, "web", Lane.CANARY)

    assert canary["program"] == "a-cres-web.canary"
    assert canary["manifest"]["name"] == "a-cres-web.canary.json"
    assert body(Lane.CANARY)["Entrypoint"] == ["serve", "--port", "18000"]


def test_resources_become_limits_and_gpus_are_asked_for() -> None:
    host = body(resources={"memory": "1GB", "cpus": 1.5, "gpus": 2})["HostConfig"]

    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (10**9, 10**9, 1_500_000_000)
    assert host["DeviceRequests"] == [{"Driver": "nvidia", "Count": 2, "Capabilities": [["gpu"]]}]


def test_volumes_are_folders_of_the_project_or_volumes_of_the_engine() -> None:
    volumes = {
        "data": {"path": "${path}/shared/data", "size": "1GiB"},
        "logs": {"path": "${path}/shared/logs/rlm", "size": "1GiB"},
        "keys": {"path": "/keys", "size": "1GiB"},
    }
    bound = {lane: body(lane, volumes=volumes)["HostConfig"]["Binds"] for lane in (Lane.STABLE, Lane.CANARY)}

    own = ["/srv/cres/shared/data:/srv/cres/shared/data"]
    logs = ["/srv/cres/shared/logs/rlm:/srv/cres/shared/logs/rlm"]
    assert bound[Lane.STABLE] == [*own, "cres-web.keys:/keys", *logs]
    assert bound[Lane.CANARY] == [*own, "cres-web.canary.keys:/keys", *logs]
    assert body()["HostConfig"]["Binds"] == own


def test_only_what_is_to_stay_is_started_with_the_engine() -> None:
    policies = {lane: body(lane)["HostConfig"]["RestartPolicy"]["Name"] for lane in Lane}

    assert policies == {Lane.STABLE: "unless-stopped", Lane.CANARY: "unless-stopped", Lane.CANDIDATE: "no"}
    assert body(on_demand=True)["HostConfig"]["RestartPolicy"]["Name"] == "no"


# As in deploy.toml: `$` begins a reference, and NUL no process can be given.
VALUES = st.text(st.characters(exclude_characters="$\0", exclude_categories=["Cs"]), max_size=200)


@given(word=VALUES, value=VALUES)
def test_words_and_values_arrive_as_they_were_declared(word: str, value: str) -> None:
    found = body(command=["serve", word], env={"NAME": value})

    assert found["Entrypoint"] == ["serve", word]
    assert found["Env"] == [f"NAME={value}"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"image": None}, "a container is made of an image"),
        ({"docker": "/run/docker.sock"}, r"services\.web\.docker: a confined container reaches no Docker daemon"),
        ({"command": ["serve", "--threads", "${cpus}"]}, "for a container say it"),
    ],
)
def test_what_no_container_can_have_is_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(UnencodableValue, match=says):
        body(**more)


def test_a_tag_is_sound_since_a_deploy_asks_what_it_stands_for() -> None:
    assert body(image="ghcr.io/owner/app:1")["Image"] == "ghcr.io/owner/app:1"
