"""What is rendered for systemd, judged by its own tools."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.contract.grouping import target_unit
from provision.errors import UnencodableValue
from provision.manifests import control
from provision.manifests.encoders import systemd_arg, systemd_env, systemd_value
from provision.manifests.places import LaneOnTarget
from provision.manifests.value import Value, Variable
from provision.project.service import Lane
from tests.manifests.projects import project, service

WEB: dict[str, Any] = {"command": ["web"], "port": 8000}
UNITS = {
    "an ordinary service": (WEB, 2.0),
    "one with a user of its own": ({**WEB, "user": "www-data"}, 1.7),
    "one with a low port": ({**WEB, "port": 443, "user": "www-data"}, 2.0),
    "one on demand": ({**WEB, "on_demand": True}, 2.0),
    "one with secrets as files": ({**WEB, "secret_files": ["KEY", "TOKEN"]}, 2.0),
    "one with limits": ({**WEB, "resources": {"memory": "1GB", "cpus": 1.5}}, 2.0),
    "one that is asked whether it is ready and idle": (
        {**WEB, "check": {"http": "/health"}, "metrics": {"busy": ["running"]}, "drain": "30s"},
        2.0,
    ),
    "one with a group that is started again in its own way": (
        {
            **WEB,
            "user": "www-data",
            "group": "www-data",
            "restart": {"on": "always", "delay": "5s", "limit": 10, "window": "2m"},
        },
        1.7,
    ),
    "one with a GPU": ({**WEB, "resources": {"gpus": 1}}, 3.0),
}


def unit(declared: dict[str, Any], folder: Path, **target: Any) -> Path:
    document = service(project({"web": declared}, platform="systemd", **target), "web")
    place = folder / document["manifest"]["name"]
    if "PartOf=cres.target\n" in document["manifest"]["text"]:
        (folder / "cres.target").write_text(target_unit("cres.target", bool(target.get("user_units"))))
    # verify wants a program that is there
    place.write_text(re.sub(r"(?m)^(Exec\w+=)", r"\1/bin/true ", document["manifest"]["text"]))
    return place


@pytest.mark.parametrize(("declared", "exposure"), UNITS.values(), ids=UNITS)
def test_a_unit_leaves_little_exposed(declared: dict[str, Any], exposure: float, tmp_path: Path) -> None:
    leaves_little_exposed(unit(declared, tmp_path), exposure)


def test_what_starts_services_on_demand_leaves_little_exposed(tmp_path: Path) -> None:
    services = {"web": {**WEB, "user": "www-data", "starts": ["worker"]}, "worker": {**WEB, "on_demand": True}}
    declared = project(services, platform="systemd")
    files = control.files(LaneOnTarget(declared, declared.targets["there"], Lane.STABLE, {}), None)
    place = tmp_path / "cres-ctl@.service"
    place.write_text(files[place.name].replace("ExecStart=", "ExecStart=/bin/true "))

    leaves_little_exposed(place, 2.0)


def leaves_little_exposed(place: Path, exposure: float) -> None:
    judged = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--no-pager",
            "--json=short",
            f"--threshold={exposure * 10:.0f}",
            place,
        ],
        stdout=subprocess.PIPE,
        check=False,
    )

    assert json.loads(judged.stdout)
    assert judged.returncode == 0, [line["name"] for line in json.loads(judged.stdout) if line["exposure"]]


@pytest.mark.parametrize(("declared", "_"), UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("scope", ["--system", "--user"])
def test_systemd_finds_nothing_wrong_with_a_unit(
    declared: dict[str, Any], _: float, scope: str, tmp_path: Path
) -> None:
    place = unit(declared, tmp_path, user_units=scope == "--user")

    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", scope, place],
        capture_output=True,
        text=True,
        check=False,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )

    assert [line for line in found.stderr.splitlines() if place.name in line] == []
    assert found.returncode == 0, found.stderr


def test_a_project_in_a_home_may_read_itself(tmp_path: Path) -> None:
    assert "ProtectHome=read-only\n" in unit(WEB, tmp_path, path="/home/ann/cres").read_text()
    assert "ProtectHome=read-only\n" in unit(WEB, tmp_path, path="/root").read_text()
    assert "ProtectHome=yes\n" in unit(WEB, tmp_path, path="/srv/homes/cres").read_text()


@pytest.mark.parametrize("text", ["\ufffe", "a\ufdd0", "\U0010ffff"])
def test_a_noncharacter_can_stand_in_a_command_line_alone(text: str) -> None:
    value = Value("services.web.env.A", (text,))

    assert systemd_arg(value).isascii()
    for encode in (systemd_value, lambda value: systemd_env(Variable("A", value))):
        with pytest.raises(UnencodableValue, match=r"services\.web\.env\.A: systemd refuses U\+"):
            encode(value)


@pytest.mark.parametrize("encode", [systemd_arg, systemd_value, lambda value: systemd_env(Variable("A", value))])
def test_nul_is_refused(encode: Callable[[Value], str]) -> None:
    with pytest.raises(UnencodableValue, match=r"services\.web\.env\.A: .*NUL"):
        encode(Value("services.web.env.A", ("a\0b",)))


@pytest.mark.parametrize("text", ["a\nb", "a\\", " a", "a ", "a\tb"])
def test_a_line_without_quotes_holds_less(text: str) -> None:
    with pytest.raises(UnencodableValue, match="this line of a unit file can hold"):
        systemd_value(Value("x", (text,)))
