"""Tasks of somebody's own: Fabric's connections over ours."""

from __future__ import annotations

import fabric
import paramiko
import pytest

from provision.tasks.run import named
from tests.fabric.conftest import Fleet

pytestmark = pytest.mark.root


def test_a_task_runs_on_each_host_of_the_target_or_on_those_that_are_named(fleet: Fleet) -> None:
    one, other = fleet.host.address, fleet.second.address
    assert fleet.ok("say").splitlines() == [f"hello on {one} as root", f"hello on {other} as root"]
    assert fleet.ok("-H", f"root@{other}", "say", "--text", "bye", "--target", "here").splitlines() == [
        f"bye on {other} as root"
    ]
    unknown = fleet.fab("-H", "nowhere", "say")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith('target here has no host "nowhere".\n')


def test_files_and_other_accounts_are_reached_too(fleet: Fleet) -> None:
    (fleet.folder / "note").write_text("left here\n")
    assert fleet.ok("-H", fleet.second.address, "leave", "note").splitlines() == ["left here", "ann"]


def test_sudo_is_given_the_password_of_fabrics_configuration(fleet: Fleet) -> None:
    fleet.target = {"hosts": [f"ann@{fleet.second.address}"]}
    fleet.web()
    (fleet.folder / "fabric.yaml").write_text("sudo: {password: annspassword}\n")
    (fleet.folder / "fabfile.py").write_text(
        "from provision.tasks import task\n\n@task\ndef who(c):\n    c.sudo('id -un', in_stream=False)\n"
    )
    assert fleet.ok("who").splitlines()[-1] == "root"


# what known_hosts says of the host, what is said then
_OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0n5v0q2d2yW2m9GqfQbYl0yS1WlOe3Cq2cVZpJqf5Y"
KEYS = [
    ("", "host key not known yet"),
    (
        f"{{address}} {_OTHER}\n",
        "HOST KEY CHANGED",
    ),
]


@pytest.mark.parametrize(("pins", "said"), KEYS, ids=["unknown", "changed"])
def test_a_host_whose_key_is_not_the_pinned_one_is_not_spoken_to(fleet: Fleet, pins: str, said: str) -> None:
    (fleet.folder / "known_hosts").write_text(pins.format(address=fleet.host.address))
    done = fleet.fab("-H", fleet.host.address, "say")
    assert done.returncode == 4
    assert said in done.stderr
    assert "deploy host trust" in done.stderr
    assert done.stdout == ""


def test_a_command_that_fails_ends_fab_with_its_status(fleet: Fleet) -> None:
    (fleet.folder / "fabfile.py").write_text(
        "from provision.tasks import task\n\n@task\ndef no(c):\n    c.run('exit 9', in_stream=False)\n"
    )
    assert fleet.fab("-H", fleet.host.address, "no").returncode == 9


def test_a_connection_that_is_gone_is_not_made_anew_by_fabric(fleet: Fleet) -> None:
    done = fleet.fab("look")
    assert done.stdout.splitlines()[-1] == f"then {fleet.host.address}", "a room means the connection's host"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, f"{fleet.host.address}: the connection is gone")


@pytest.mark.parametrize(
    ("word", "name"), [("gpu", "gpu"), ("root@gpu:22", "gpu"), ("root@gpu:2222", "gpu:2222"), ("fe80::1", "fe80::1")]
)
def test_a_host_of_the_command_line_is_named_as_targets_name_it(word: str, name: str) -> None:
    config = fabric.Config(ssh_config=paramiko.SSHConfig(), lazy=True)
    assert named(fabric.Connection(word, config=config)) == name
