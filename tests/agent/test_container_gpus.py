"""A container is asked for with the GPUs that its program was given, and with no others.

No engine here has NVIDIA's runtime, so what it is asked is looked at, not what it does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provision.agent import launch
from provision.agent.supervisors.docker_container import request
from provision.contract.layout import Layout
from tests.manifests.projects import project

_IMAGE = "example.net/app@sha256:" + "a" * 64


def asked(tmp_path: Path, resources: dict[str, Any], devices: dict[str, str]) -> dict[str, Any]:
    """The body of the request for a container whose launch folder was staged with `devices`."""
    from provision.manifests import render_lanes
    from provision.project.service import Lane

    declared = project(
        {"web": {"command": ["web"], "image": _IMAGE, "resources": resources}}, platform="docker", path="/srv/demo"
    )
    (document,) = render_lanes(declared, declared.targets["there"], models={})[Lane.STABLE]["services"]
    layout = Layout(str(tmp_path))
    launch.stage(layout, document, "r", "1-a", {}, devices)
    launch.select(layout, document["program"], "1-a")
    manifest = tmp_path / "manifest.json"
    manifest.write_text(document["manifest"]["text"])
    body: dict[str, Any] = request(layout, document["program"], str(manifest))
    return body


def test_it_is_given_those_that_its_program_has(tmp_path: Path) -> None:
    body = asked(tmp_path, {"gpus": 2}, {"CUDA_VISIBLE_DEVICES": "GPU-1,MIG-2"})

    assert body["HostConfig"]["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": ["GPU-1", "MIG-2"], "Capabilities": [["gpu"]]}
    ]
    assert "CUDA_VISIBLE_DEVICES=GPU-1,MIG-2" in body["Env"]


@pytest.mark.parametrize("resources", [{"vram": "1GiB"}, {}])
def test_what_was_given_none_is_asked_for_as_it_is_declared(tmp_path: Path, resources: dict[str, Any]) -> None:
    body = asked(tmp_path, resources, {})

    assert [each["Count"] for each in body["HostConfig"].get("DeviceRequests", [])] == ([1] if resources else [])
    assert "CUDA_VISIBLE_DEVICES" not in json.dumps(body)
