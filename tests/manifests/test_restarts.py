"""When a program that ended is started again, as deploy.toml says it, by what each platform is told."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.manifests import compose
from provision.manifests.kubernetes import render_kubernetes
from provision.project.service import Lane
from tests.manifests.kubernetes import projects as of_kubernetes
from tests.manifests.projects import project, service
from tests.manifests.supervisors import supervisord

WEB: dict[str, Any] = {"command": ["web"], "port": 8000, "user": "rollout", "group": "rollout"}
IMAGE = "ghcr.io/owner/app@sha256:" + "1" * 64


def unit(lane: Lane = Lane.STABLE, **more: Any) -> list[str]:
    document = service(project({"web": {**WEB, **more}}, platform="systemd"), "web", lane)
    return document["manifest"]["text"].splitlines()


def test_systemd_is_told_all_of_it_and_the_group() -> None:
    lines = unit(restart={"on": "always", "delay": "5s", "limit": 10, "window": "2m"})

    assert {"Restart=always", "RestartSec=5", "StartLimitBurst=10", "StartLimitIntervalSec=120"} <= set(lines)
    assert lines[lines.index("User=rollout") + 1] == "Group=rollout"


def test_systemd_has_a_way_of_its_own_where_nothing_is_said() -> None:
    assert {"Restart=on-failure", "RestartSec=2", "StartLimitBurst=30", "StartLimitIntervalSec=600"} <= set(unit())
    assert "RestartSec=0.5" in unit(restart={"delay": "500ms"})


def test_a_program_on_trial_is_never_started_again() -> None:
    lines = unit(Lane.CANDIDATE, restart={"on": "always", "delay": "5s"})

    assert "Restart=no" in lines
    assert [line for line in lines if line.startswith(("RestartSec", "StartLimit"))] == []


def test_supervisord_gives_up_after_so_many_starts(tmp_path: Path) -> None:
    """A real one, with a program that fails at once."""
    starts = tmp_path / "starts"
    document = service(project({"web": {"command": ["web"], "restart": {"limit": 2}}}, path=tmp_path), "web")
    text = re.sub(
        r"(?m)^command = .*", f"command = /bin/sh -c 'echo >> {starts}; exit 3'", document["manifest"]["text"]
    )
    text = re.sub(r"(?m)^stdout_logfile = .*", f"stdout_logfile = {tmp_path}/log", text)
    with supervisord(tmp_path / "supervisord") as daemon:
        daemon.load({"web.conf": text})
        until = time.monotonic() + 30
        while (state := daemon.rpc.getProcessInfo("web")["statename"]) != "FATAL" and time.monotonic() < until:
            time.sleep(0.05)

    assert (state, starts.read_text()) == ("FATAL", "\n" * 2)


def test_supervisord_is_told_whether_exit_status_0_counts() -> None:
    def autorestart(**restart: str) -> str:
        document = service(project({"web": {"command": ["web"], "restart": restart}}), "web")
        return re.findall(r"(?m)^autorestart = (.*)", document["manifest"]["text"])[0]

    assert (autorestart(on="always"), autorestart(on="failure"), autorestart()) == ("true", "unexpected", "unexpected")


# What deploy.toml says, and what an engine and Compose make of it.
POLICIES = [
    ({}, {"Name": "unless-stopped"}, "unless-stopped"),
    ({"on": "always", "delay": "5s"}, {"Name": "unless-stopped"}, "unless-stopped"),
    ({"on": "failure"}, {"Name": "on-failure"}, "on-failure"),
    ({"limit": 5}, {"Name": "on-failure", "MaximumRetryCount": 4}, "on-failure:4"),
    ({"on": "failure", "limit": 1}, {"Name": "no"}, "no"),
]


@pytest.mark.parametrize(("restart", "engine", "written"), POLICIES)
def test_containers_are_started_again_as_it_says(restart: dict[str, Any], engine: dict[str, Any], written: str) -> None:
    web = {"command": ["web"], "image": IMAGE, "restart": restart}
    document = service(project({"web": web}, platform="docker"), "web")
    text = compose.files(project({"web": web}), None, Path("/nowhere"))["compose.yaml"]

    assert json.loads(document["manifest"]["text"])["HostConfig"]["RestartPolicy"] == engine
    assert yaml.safe_load(text)["services"]["web"]["restart"] == written


def test_an_engine_runs_it_as_the_group_and_hands_it_its_socket_where_that_is_said() -> None:
    web = {**WEB, "image": IMAGE, "docker": "/run/docker.sock", "docker_group": 998}
    document = service(project({"web": web}, platform="docker"), "web")
    body = json.loads(document["manifest"]["text"])

    assert body["User"] == "rollout:rollout"
    assert body["HostConfig"]["GroupAdd"] == ["998"]
    assert "/run/docker.sock:/run/docker.sock" in body["HostConfig"]["Binds"]


def test_a_batch_on_kubernetes_is_tried_so_often() -> None:
    def tries(**restart: int) -> int:
        declared = of_kubernetes.project({"migrate": {"command": ["m"], "batch": True, "restart": restart}})
        documents = yaml.safe_load_all(render_kubernetes(declared)["stable/migrate.yaml"])
        return int(next(each["spec"]["backoffLimit"] for each in documents if each["kind"] == "Job"))

    assert (tries(), tries(limit=1), tries(limit=7)) == (3, 0, 6)
