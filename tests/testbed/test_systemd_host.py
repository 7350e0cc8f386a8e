"""A systemd host is a machine: PID 1 is systemd and units, users and limits work."""

import json
import subprocess

import pytest

from tests.testbed import Kind, TestHost
from tests.testbed.cgroups import hierarchies
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root


def shown(host: TestHost, unit: str, *names: str) -> list[str]:
    """Properties of a unit."""
    return [host.exec(["systemctl", "show", "--value", f"--property={name}", unit]).stdout.strip() for name in names]


def test_it_has_booted_with_nothing_failed(make_host: MakeHost) -> None:
    host = make_host(Kind.SYSTEMD, linger=True)  # on a shared one, other tests' services may have failed
    state = host.exec(["systemctl", "is-system-running"], check=False).stdout
    failed = host.exec(["systemctl", "--failed", "--plain", "--no-legend"]).stdout

    assert (state, failed) == ("running\n", "")


def test_enabled_units_run_again_after_a_reboot_and_the_journal_is_kept(make_host: MakeHost) -> None:
    host = make_host(Kind.SYSTEMD)
    host.write(
        "/etc/systemd/system/nap.service",
        "[Service]\nExecStart=/bin/sh -c 'echo good morning; exec sleep 4321'\n[Install]\nWantedBy=multi-user.target\n",
    )
    host.exec(["systemctl", "enable", "--now", "nap"])
    host.exec(["journalctl", "--sync"])

    host.reboot()

    assert shown(host, "nap", "ActiveState", "SubState") == ["active", "running"]
    said = host.exec(["journalctl", "--unit=nap", "--output=cat"]).stdout
    assert said.count("good morning") == 2
    assert host.exec(["journalctl", "--list-boots", "--no-pager", "-q"]).stdout.count("\n") == 2


def test_user_units_run_at_boot_for_a_user_who_lingers(make_host: MakeHost) -> None:
    host = make_host(Kind.SYSTEMD, linger=True)
    unit = "[Service]\nExecStart=/bin/sleep 9876\n[Install]\nWantedBy=default.target\n"
    host.write("/home/ann/.config/systemd/user/nap.service", unit, owner="ann")
    host.exec(["chown", "-R", "ann:", "/home/ann"])
    host.exec(["systemctl", "--user", "daemon-reload"], user="ann")
    host.exec(["systemctl", "--user", "enable", "--now", "nap"], user="ann")

    host.reboot()

    ran = host.exec(["systemctl", "--user", "is-active", "--wait", "nap"], user="ann", check=False)
    assert ran.stdout == "active\n"


def test_linger_is_off_unless_asked_for_and_sessions_over_ssh_have_a_user_manager(make_host: MakeHost) -> None:
    host = make_host(Kind.SYSTEMD)

    assert host.exec(["loginctl", "show-user", "ann"], check=False).returncode != 0
    ran = subprocess.run(
        host.ssh_command("systemctl", "--user", "is-system-running", "--wait", user="ann"),
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "running\n", ran.stderr


def test_a_service_can_have_a_user_that_exists_only_while_it_runs(systemd_host: TestHost, place: Place) -> None:
    unit = f"dynamic{place.number}"
    run = ["systemd-run", "--wait", "--pipe", f"--unit={unit}", "-p", "DynamicUser=yes", "-p", "StateDirectory=dyn"]

    ran = systemd_host.exec(
        [*run, "sh", "-c", "id -un; touch /var/lib/dyn/x && echo written; touch /etc/x"], check=False
    )

    assert ran.stdout.splitlines() == [unit, "written"]
    assert "Read-only file system" in ran.stderr


def test_limits_of_a_service_hold_where_the_kernel_gives_the_controller(systemd_host: TestHost, place: Place) -> None:
    controllers = {name for hierarchy in hierarchies() for name in hierarchy.controllers}
    limits = ["-p", "TasksMax=8", "-p", "MemoryMax=32M"]
    fork = "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3 & done; wait; echo all"
    eat = "x = bytearray(256 << 20); print(len(x))"
    run = ["systemd-run", "--wait", "--pipe", "--quiet", *limits]

    forked = systemd_host.exec([*run, f"--unit=fork{place.number}", "sh", "-c", fork], check=False)
    eaten = systemd_host.exec([*run, f"--unit=eat{place.number}", "python3", "-c", eat], check=False)

    assert ("all" in forked.stdout) is ("pids" not in controllers), forked.stderr
    assert (eaten.returncode == 0) is ("memory" not in controllers), eaten.stderr


def test_stopping_a_unit_ends_all_its_processes(systemd_host: TestHost, place: Place) -> None:
    unit, seconds = f"family{place.number}", f"31{place.number}5"
    systemd_host.exec(["systemd-run", f"--unit={unit}", "sh", "-c", f"setsid sleep {seconds} & sleep {seconds}"])
    systemd_host.exec(["sh", "-c", f"until [ $(pgrep -fc 'sleep {seconds}$') -ge 2 ]; do sleep 0.02; done"])

    systemd_host.exec(["systemctl", "stop", unit])

    assert systemd_host.pids("sleep", seconds) == []


def test_it_believes_to_be_a_container_and_keeps_off_the_outer_machines_settings(systemd_host: TestHost) -> None:
    assert systemd_host.exec(["systemd-detect-virt", "--container"], check=False).stdout.strip() != "none"
    assert systemd_host.exec(["sysctl", "-w", "vm.swappiness=61"], check=False).returncode != 0
    links = json.loads(systemd_host.exec(["ip", "-json", "link"]).stdout)
    assert sorted(link["ifname"] for link in links) == ["eth0", "lo"]
