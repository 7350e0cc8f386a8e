"""A supervisord host is a rented container: one supervisor, a boot script, nothing else that starts things."""

import subprocess
import time
from collections.abc import Callable

import pytest

from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root


def until(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def supervise(host: TestHost, name: str, *command: str) -> None:
    """Let the host's supervisord run a program from now on."""
    host.write(f"/etc/supervisor/conf.d/{name}.conf", f"[program:{name}]\ncommand={' '.join(command)}\nstartsecs=0\n")
    host.exec(["supervisorctl", "update"])


def test_ssh_reaches_it_with_its_pinned_key(supervisord_host: TestHost) -> None:
    ran = subprocess.run(supervisord_host.ssh_command("hostname"), capture_output=True, text=True, check=True)

    assert ran.stdout == f"{supervisord_host.name}\n"


def test_a_supervised_program_starts_again_at_reboot(make_host: MakeHost) -> None:
    host = make_host(Kind.SUPERVISORD)
    supervise(host, "nap", "sleep", "1234")
    assert until(lambda: host.pids("sleep", "1234"))
    old = {p.outer_pid for p in host.processes()}

    host.reboot()

    assert until(lambda: host.pids("sleep", "1234"))
    assert not old & {p.outer_pid for p in host.processes()}


def test_files_survive_a_reboot_and_run_does_not(make_host: MakeHost) -> None:
    host = make_host(Kind.SUPERVISORD)
    host.write("/workspace/kept", b"\x00\xff")
    host.write("/run/lost", "")
    key = host.host_key

    host.reboot()

    assert host.read("/workspace/kept") == b"\x00\xff"
    assert host.exec(["test", "-e", "/run/lost"], check=False).returncode == 1
    assert key.split()[1] in host.exec(["ssh-keyscan", "-t", "ed25519", "127.0.0.1"]).stdout


def test_boot_scripts_and_reboot_entries_of_cron_run_at_boot(make_host: MakeHost) -> None:
    host = make_host(Kind.SUPERVISORD)
    host.write("/root/onstart.sh", "echo started >>/root/onstart.ran\n")
    host.exec(["crontab", "-u", "ann", "-"], stdin="@reboot echo started >>/home/ann/cron.ran\n")

    host.reboot()

    assert until(lambda: b"started" in host.read("/root/onstart.ran"))
    assert until(lambda: host.exec(["cat", "/home/ann/cron.ran"], check=False).stdout == "started\n")


def test_a_bare_host_has_the_program_but_no_daemon(make_host: MakeHost) -> None:
    host = make_host(Kind.BARE)

    assert host.exec(["which", "supervisord"]).returncode == 0
    assert host.pids("supervisord") == []


def test_only_the_ordinary_user_can_log_in_to_a_bare_user_host(make_host: MakeHost) -> None:
    host = make_host(Kind.BARE_USER)

    ran = subprocess.run(host.ssh_command("id", "-un"), capture_output=True, text=True, check=True)
    refused = subprocess.run(host.ssh_command("id", user="root"), capture_output=True, text=True)

    assert ran.stdout == "ann\n"
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


@pytest.mark.parametrize(("sudo", "code"), [(True, 0), (False, 1)])
def test_sudo_with_a_password_works_for_ann_where_it_was_asked_for(
    make_host: MakeHost, *, sudo: bool, code: int
) -> None:
    host = make_host(Kind.BARE, sudo=sudo)

    unasked = host.exec(["sudo", "-n", "id"], user="ann", check=False)
    ran = host.exec(["sudo", "-S", "id", "-un"], user="ann", stdin="annspassword\n", check=False)

    assert ran.returncode == code, ran.stderr
    assert unasked.returncode == 1


def test_processes_tell_arguments_environment_and_parents(supervisord_host: TestHost, place: Place) -> None:
    host = supervisord_host
    shell = f"A='two words' B= sh -c 'sleep 77{place.number}; true' '' ünï >/dev/null 2>&1 &"
    host.exec(["sh", "-c", f"{shell} sleep 0.2"])

    (child,) = [p for p in host.processes() if p.argv == ("sleep", f"77{place.number}")]
    (parent,) = [p for p in host.processes() if p.pid == child.ppid]
    host.kill(parent.pid)
    host.kill(child.pid)

    assert parent.argv[-1] == "ünï"
    assert (child.environ["A"], child.environ["B"]) == ("two words", "")
    assert until(lambda: not {parent.pid, child.pid} & set(host.pids()))


def test_a_full_disk_refuses_bytes_until_it_is_freed_and_a_reboot_keeps_it_full(make_host: MakeHost) -> None:
    host = make_host(Kind.BARE, workspace_size=64 << 20)
    put = ["dd", "if=/dev/zero", "of=/workspace/file", "bs=64k", "count=16"]

    host.fill_disk(leave_bytes=256 << 10)
    full = host.exec(put, check=False)
    host.exec(["rm", "/workspace/file"])
    host.reboot()
    still = host.exec(put, check=False)
    host.free_disk()

    assert "No space left" in full.stderr
    assert int(full.stderr.split(" bytes")[0].split()[-1]) <= 256 << 10
    assert "No space left" in still.stderr
    assert host.exec(put).returncode == 0


def test_hosts_do_not_see_each_others_processes_or_files(make_host: MakeHost, supervisord_host: TestHost) -> None:
    other = make_host(Kind.BARE)
    other.write("/root/mine", "")

    assert supervisord_host.exec(["ls", "/root/mine"], check=False).returncode == 2
    assert not {p.outer_pid for p in other.processes()} & {p.outer_pid for p in supervisord_host.processes()}
    assert other.host_key != supervisord_host.host_key
