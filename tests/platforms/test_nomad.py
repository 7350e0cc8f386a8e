"""Jobs of Nomad: read by Nomad's own types and readers, values as they were declared."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provision.errors import UnencodableValue
from provision.platforms import face
from provision.project.finish import finish
from provision.project.schema import Declaration
from provision.project.template import Known
from tests.manifests.presets.renders import reviewed

IMAGE = "ghcr.io/a/b@sha256:" + 64 * "0"
ODD = 'it\'s ${NOMAD_TASK_NAME} %{x} "$5"\nü'
SERVICES: dict[str, Any] = {
    "llama": {
        "command": ["${binary}", "--port", "${port}", "--host", "${listen}", "--note", ODD.replace("$", "$$")],
        "binary": "/app/llama-server",
        "port": 8081,
        "secret_files": ["LLAMA_API_KEY"],
        "drain": "30s",
        "check": {"http": "/health", "timeout": "5m"},
        "resources": {"memory": "4GiB", "cpus": 4, "gpus": 1},
    },
    "api": {
        "command": ["api"],
        "port": 8000,
        "expose": ["0.0.0.0/0"],
        "env": {
            "LLAMA": "http://${services.llama.host}:${services.llama.port}",
            "DSN": 'pg://"${TOKEN}"@h\n',
            "ODD": "a\n\"c\" 'd' $$x %{y}",
        },
        "secrets": ["TOKEN"],
        "volumes": {"data": {"path": "/data", "size": "1GB"}},
    },
    "migrate": {"command": ["migrate"], "batch": True},
    "worker": {"command": ["worker"], "on_demand": True, "batch": True},
}
SECRET = 'p"w\n<é> $x` {{ .X }} \\'


def rendered(services: dict[str, Any]) -> dict[str, str]:
    written = {"project": {"name": "serve", "image": IMAGE}, "services": services}
    project = finish(Declaration.model_validate(written, context=Known({}, frozenset({"TOKEN"}))))
    return face("nomad").files(project, None, Path())


def job(name: str, services: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rendered(services or SERVICES)[f"{name}.nomad.json"])["Job"]
    return found


def test_what_runs_for_good_is_one_group_and_what_is_on_demand_a_job_that_is_dispatched() -> None:
    together, apart = job("serve"), job("serve-worker")

    assert list(rendered(SERVICES)) == ["serve.nomad.json", "serve-worker.nomad.json"]
    assert [task["Name"] for task in together["TaskGroups"][0]["Tasks"]] == ["llama", "api", "migrate"]
    assert together["TaskGroups"][0]["Tasks"][2]["Lifecycle"] == {"Hook": "prestart", "Sidecar": False}
    assert (apart["Type"], apart["ParameterizedJob"]) == ("batch", {"Payload": "forbidden"})


def test_restarts_are_limited_and_a_version_that_stays_ill_is_put_back() -> None:
    found = job("serve")
    policy = found["TaskGroups"][0]["RestartPolicy"]

    assert policy == {"Attempts": 30, "Interval": 600 * 10**9, "Delay": 2 * 10**9, "Mode": "fail"}
    assert (found["Update"]["HealthCheck"], found["Update"]["AutoRevert"]) == ("checks", True)
    assert 300 * 10**9 < found["Update"]["HealthyDeadline"] < found["Update"]["ProgressDeadline"]


def test_only_who_is_exposed_has_a_port_of_the_machine_and_each_is_asked_inside() -> None:
    (group,) = job("serve")["TaskGroups"]
    llama, api, _ = group["Tasks"]

    assert group["Networks"] == [{"Mode": "bridge", "ReservedPorts": [{"Label": "api", "Value": 8000, "To": 8000}]}]
    assert [llama["Services"][0]["Checks"][0][key] for key in ("Type", "Path", "AddressMode")] == [
        "http",
        "/health",
        "alloc",
    ]
    assert (api["Services"][0]["PortLabel"], api["Services"][0]["Checks"][0]["Type"]) == ("8000", "tcp")
    assert (llama["Resources"], llama["KillTimeout"]) == (
        {"Cores": 4, "MemoryMB": 4096, "Devices": [{"Name": "nvidia/gpu", "Count": 1}]},
        40 * 10**9,
    )
    assert group["Volumes"]["api-data"]["Source"] == "serve-api-data"


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ({"web": {"command": ["web"], "env": {"A": "$${NOMAD_IP}"}}}, "services.web.env.A"),
        (
            {
                "db": {"command": ["db"], "port": 5432},
                "job": {"command": ["job", "${services.db.host}"], "on_demand": True},
            },
            "reaches no other service",
        ),
    ],
    ids=["Nomad would put its own in its place", "another allocation has another address"],
)
def test_what_nomad_has_no_way_to_say_is_refused(services: dict[str, Any], said: str) -> None:
    with pytest.raises(UnencodableValue, match=re.escape(said)):
        rendered(services)


def test_a_command_may_name_another_service_which_one_loopback_leads_to() -> None:
    services = {
        "db": {"command": ["db"], "port": 5432},
        "web": {"command": ["web", "--db=${services.db.host}:${services.db.port}"], "port": 8000},
    }

    tasks = {task["Name"]: task for task in job("serve", services)["TaskGroups"][0]["Tasks"]}
    assert "--db=127.0.0.1:5432" in str(tasks["web"]["Config"])


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that reads job files as Nomad does, compiled."""
    go = shutil.which("go") or pytest.fail("needs Go 1.24 or newer on PATH")
    program = tmp_path_factory.mktemp("nomad") / "read"
    subprocess.run([go, "build", "-o", program, "."], cwd=Path(__file__).parent / "nomad", check=True)
    return program


def read(reader: Path, folder: Path, files: dict[str, str], variables: dict[str, dict[str, str]]) -> dict[str, Any]:
    """By job and task, what Nomad would give to a program."""
    items = {path: {key: {"Value": value} for key, value in each.items()} for path, each in variables.items()}
    for name, text in {"variables": json.dumps(items), **files}.items():
        (folder / name).write_text(text)
    names = [folder / name for name in ("variables", *files)]
    done = subprocess.run([reader, *names], capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nomad_gives_programs_what_was_declared(reader: Path, tmp_path: Path) -> None:
    variables = {
        "nomad/jobs/serve/serve/llama": {"LLAMA_API_KEY": SECRET},
        "nomad/jobs/serve/serve/api": {"TOKEN": SECRET},
    }
    found = read(reader, tmp_path, rendered(SERVICES), variables)
    llama, api = found["serve"]["llama"], found["serve"]["api"]

    assert llama["Config"]["entrypoint"] == ["/app/llama-server"]
    assert llama["Config"]["args"] == ["--port", "8081", "--host", "0.0.0.0", "--note", ODD]
    assert llama["Env"] == {"LLAMA_API_KEY_FILE": "/secrets/LLAMA_API_KEY"}
    assert llama["Files"] == {"secrets/LLAMA_API_KEY": SECRET}
    assert api["Env"] == {
        "LLAMA": "http://127.0.0.1:8081",
        "DSN": f'pg://"{SECRET}"@h\n',
        "ODD": "a\n\"c\" 'd' $x %{y}",
        "TOKEN": SECRET,
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nomad_reads_every_preset(reader: Path, tmp_path: Path) -> None:
    presets = reviewed("nomad")

    assert "bitnet-server" in presets
    for preset, files in presets.items():
        (folder := tmp_path / preset).mkdir()
        named = {name or "only.nomad.json": text for name, text in files.items()}
        assert len(read(reader, folder, named, {})) == len(files)


@pytest.mark.parametrize(
    ("resources", "count"), [({"gpus": 2}, 2), ({"gpu_fraction": 0.5}, 1), ({"vram": "6GiB"}, 1), ({}, 0)]
)
def test_a_task_has_as_many_gpus_as_it_sees(resources: dict[str, Any], count: int) -> None:
    (task,) = job("serve", {"llama": {"command": ["llama"], "resources": resources}})["TaskGroups"][0]["Tasks"]

    assert sum(device["Count"] for device in task["Resources"]["Devices"]) == count
