import os
import signal
import site
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

import provision
from provision.errors import UsageError
from provision.hosts import HostConnection, connect
from provision.hosts.sandbox import Sandbox, processes
from provision.hosts.sandbox.layout import Server

DAEMON = "setsid sh -c 'echo $$; exec sleep 300' </dev/null 2>/dev/null &"
SCRUBBED = "env -i setsid sh -c 'echo $$; exec /bin/sleep 300' </dev/null 2>/dev/null &"


def pids(host: HostConnection, *commands: str) -> list[int]:
    """What daemons the host was made to run."""
    with host.session(["sh", "-c", " ".join(commands)]) as channel:
        return [int(channel.read_line(10) or b"0") for _ in commands]


def alive(running: list[int]) -> list[int]:
    return [pid for pid in running if processes.start_time(pid)]


@pytest.mark.parametrize("server", list(Server))
def test_stopping_ends_everything_that_was_started_on_the_host(tmp_path: Path, server: Server) -> None:
    with Sandbox(tmp_path, server=server) as sandbox, connect(sandbox.spec) as host:
        running = pids(host, DAEMON, SCRUBBED)
        host.close()
        time.sleep(0.1)
        assert alive(running) == running
    assert alive(running) == []


@pytest.mark.parametrize("server", list(Server))
def test_everything_ends_though_the_keeper_was_killed(tmp_path: Path, server: Server) -> None:
    sandbox = Sandbox(tmp_path, server=server).start()
    with connect(sandbox.spec) as host:
        running = pids(host, DAEMON)
    listener = ("127.0.0.1", sandbox.spec.port)
    os.kill(sandbox._running.keeper_pid, signal.SIGKILL)
    sandbox.stop()
    assert alive(running) == []
    with pytest.raises(ConnectionRefusedError):
        for _ in range(500):  # it was told to end, and may take its time
            socket.create_connection(listener).close()
            time.sleep(0.01)


@pytest.mark.parametrize("server", list(Server))
def test_the_host_has_a_home_and_a_supervisord_of_its_own(tmp_path: Path, server: Server) -> None:
    with Sandbox(tmp_path, server=server) as sandbox, connect(sandbox.spec) as host:
        said = host.run(["sh", "-c", 'pwd; echo "$HOME"; command -v supervisord; supervisord --version'])
        here, home, program, version = said.stdout.decode().split()
    assert here == home == str(sandbox.home)
    assert program == str(tmp_path / "bin" / "supervisord")
    assert version[0].isdigit()


def test_the_hosts_supervisord_runs_and_ends_with_it(tmp_path: Path) -> None:
    with Sandbox(tmp_path) as sandbox, connect(sandbox.spec) as host:
        (sandbox.home / "supervisord.conf").write_text(
            "[supervisord]\nlogfile=%(here)s/log\npidfile=%(here)s/pid\n"
            "[program:sleeper]\ncommand=sleep 300\nstopsignal=USR1\n"
        )
        assert host.run(["supervisord", "-c", "supervisord.conf"]).rc == 0
        deadline = time.monotonic() + 10
        pid = sandbox.home / "pid"
        while not (below := processes.descendants(int(pid.read_text())) if pid.exists() and pid.read_text() else set()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert alive(list(below)) == []


def test_a_kept_sandbox_is_found_again_and_stopped(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from provision.hosts.sandbox import Sandbox
        with Sandbox(Path(sys.argv[1]), keep=True) as sandbox:
            print(sandbox.spec.port)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    sandbox = Sandbox.attach(tmp_path)
    assert sandbox.spec.port == int(said.stdout)
    with connect(sandbox.spec) as host:
        running = pids(host, DAEMON)
    sandbox.stop()
    assert alive(running) == []
    with pytest.raises(UsageError, match="no sandbox"):
        Sandbox.attach(tmp_path)


def test_a_sandbox_ends_with_the_process_that_made_it(tmp_path: Path) -> None:
    program = """
        import os, sys
        from pathlib import Path
        from provision.hosts.sandbox import Sandbox
        Sandbox(Path(sys.argv[1])).start()
        os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), tmp_path], check=False, timeout=30)
    deadline = time.monotonic() + 10
    with pytest.raises(UsageError):
        while time.monotonic() < deadline:
            Sandbox.attach(tmp_path)
            time.sleep(0.05)


def test_a_sandbox_that_nobody_could_find_again_ends(tmp_path: Path) -> None:
    """Ctrl-C can come when it runs and nothing is written down yet."""
    program = """
        import sys
        from pathlib import Path
        from provision.hosts import sandbox
        def interrupted(state):
            print(state.keeper_pid)
            raise KeyboardInterrupt
        sandbox.asdict = interrupted
        sandbox.Sandbox(Path(sys.argv[1]), keep=True).start()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    said = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    deadline = time.monotonic() + 10
    while processes.start_time(int(said.stdout)):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


def test_starting_again_in_the_same_folder_ends_the_former_and_keeps_the_files_and_keys(tmp_path: Path) -> None:
    first = Sandbox(tmp_path, keep=True).start()
    (first.home / "file").write_text("kept")
    key = first.spec.known_hosts[0].read_text().split()[1:]
    with connect(first.spec) as host:
        running = pids(host, DAEMON)
    with Sandbox(tmp_path) as second:
        assert alive(running) == []
        assert (second.home / "file").read_text() == "kept"
        assert second.spec.known_hosts[0].read_text().split()[1:] == key


def test_nothing_of_the_users_own_ssh_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "me" / ".ssh"
    mine.mkdir(parents=True)
    (mine / "config").write_text("Host *\n  this would be an error if it were read\n  Port nonsense\n")
    (mine / "known_hosts").mkdir()  # reading this as a file fails
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    with Sandbox(tmp_path / "host") as sandbox, connect(sandbox.spec) as host:
        assert host.run(["true"]).rc == 0
    assert sorted(path.name for path in mine.iterdir()) == ["config", "known_hosts"]


PLAIN_USER = """
    import os, subprocess, sys
    from pathlib import Path
    folder = Path(sys.argv[1])
    accounts = folder / "passwd"
    accounts.write_text(Path("/etc/passwd").read_text() + f"plain:x:54321:54321::{folder}:/bin/sh\\n")
    subprocess.run(["mount", "--bind", accounts, "/etc/passwd"], check=True)  # in a mount namespace of our own
    for number, packages in enumerate(sys.argv[3:]):  # they may lie in root's own home
        seen = folder / str(number)
        seen.mkdir()
        subprocess.run(["mount", "--bind", packages, seen], check=True)
        sys.path.append(str(seen))
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[-len(sys.argv[3:]):])
    os.environ |= {"USER": "plain", "LOGNAME": "plain"}
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)
    from provision.hosts import connect
    from provision.hosts.sandbox import Sandbox
    from provision.hosts.sandbox.layout import Server
    with Sandbox(folder / "host", server=Server(sys.argv[2])) as sandbox, connect(sandbox.spec) as host:
        print(host.run(["id", "-un"]).stdout.decode())
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("server", list(Server))
def test_a_plain_user_can_have_one(server: Server) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 54321, 54321)
        ours = [str(Path(provision.__file__).parents[1]), *filter(os.path.isdir, site.getsitepackages())]
        command = [*python_for_everybody(), "-c", textwrap.dedent(PLAIN_USER), folder, server.value, *ours]
        said = subprocess.run(
            ["unshare", "-m", *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
        )
    assert said.stdout.strip() == "plain", said.stderr


def python_for_everybody() -> list[str]:
    """This interpreter, or the system's where this one lies in root's own home."""
    ours = Path(sys.executable)
    if all(folder.stat().st_mode & 0o001 for folder in {*ours.parents, *ours.resolve().parents}):
        return [sys.executable]
    return ["/usr/bin/python3"]
