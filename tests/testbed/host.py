"""One host of the test bed: its own network, disk, processes and supervisor, reached by plain TCP."""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.testbed.boot import boot, listens_on_ssh, root_is_ready
from tests.testbed.kinds import Kind
from tests.testbed.problems import TestBedProblem
from tests.testbed.processes import Process, processes_of
from tests.testbed.rootfs import rootfs
from tests.testbed.slots import Slot, configure, destroy, end, make_key

_BOOT_SECONDS = 30
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class _Running:
    waiter: "subprocess.Popen[bytes]"
    init: int


class TestHost:
    """A host, made and started. All pids are the host's own unless a name says `outer`.

    Args:
        kind: what runs on it, see `Kind`.
        slot: the part of the test bed that it belongs to.
        workspace_size: bytes of a file system of its own at /workspace, which survives a reboot and can be filled.
        sudo: whether `ann` may use sudo with her password, `annspassword`.
        linger: whether `ann`'s user manager runs without a login (systemd).
        engine: whether a Docker Engine is installed, for `start_engine`. Programs of the outer machine would want its
            libraries, too.
    """

    __test__ = False  # the name is no test class for pytest
    port = 22

    def __init__(
        self,
        kind: Kind,
        slot: Slot,
        *,
        workspace_size: int = 0,
        sudo: bool = False,
        linger: bool = False,
        engine: bool = False,
    ) -> None:
        self.kind = kind
        self._lower = rootfs("docker.io") if engine else rootfs()
        self.slot = slot
        self.number = slot.take_number()
        self.name = slot.name(self.number)
        self.address = f"198.18.{slot.number}.{self.number}"
        self.identity = slot.identity
        self.user = kind.user
        self.disk = slot.directory / self.name
        self._running: _Running | None = None
        try:
            self._make_disk(workspace_size, sudo=sudo, linger=linger)
            self._make_network()
            self.start()
        except BaseException:
            self.destroy()
            raise

    # --- power -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Boot from the disk and wait until sshd listens (and systemd says that it has booted).

        Raises:
            TestBedProblem: it did not come up; the console is in the message.
        """
        waiter, init = boot(self.name, self.disk, self._lower, self.kind.init)
        self._running = _Running(waiter, init)
        deadline = time.monotonic() + _BOOT_SECONDS
        while not (root_is_ready(init) and listens_on_ssh(init)):
            if waiter.poll() is not None or time.monotonic() > deadline:
                console = (self.disk / "console").read_text(errors="replace")
                raise TestBedProblem(f"{self.name} did not start sshd", f"its console said: {console}")
            time.sleep(0.01)
        if self.kind is Kind.SYSTEMD:
            self.exec(["systemctl", "is-system-running", "--wait"], check=False)

    def stop(self) -> None:
        """Pull the plug: every process dies at once, the disk stays as it is."""
        if self._running is None:
            return
        end(self.disk)
        self._running.waiter.wait()
        self._running = None

    def reboot(self) -> None:
        """Pull the plug and boot again from the same disk."""
        self.stop()
        self.start()

    def destroy(self) -> None:
        """End the host and remove all it had."""
        self.stop()
        destroy(self.disk)
        self.slot.give_number(self.number)

    # --- line ------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Pull the network cable: packets vanish, connections do not learn of it."""
        configure([f"link set {self.name}v down"])
        if self._is_far:
            configure(["link set wan0 down"], namespace=self.name)

    def mend(self) -> None:
        """Plug it in again."""
        configure([f"link set {self.name}v up"])
        if self._is_far:  # the device forgot its route
            route = f"route replace {self.slot.gateway}/32 dev wan0 src {self.address}"
            configure(["link set wan0 up", route], namespace=self.name)

    @property
    def _is_far(self) -> bool:
        """Whether a second cable is there, the one of benchmarks/wan.py."""
        return subprocess.run(["ip", "-n", self.name, "link", "show", "wan0"], capture_output=True).returncode == 0

    @cached_property
    def host_key(self) -> str:
        """The public host key, as it stands in a known_hosts file after the address."""
        key = (self.disk / "upper/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        return f"{key[0]} {key[1]}"

    def ssh_command(self, *command: str, user: str = "") -> list[str]:
        """The arguments of an ssh client that trusts exactly this host and logs in with its key."""
        known = self.disk / "known_hosts"
        known.write_text(f"{self.address} {self.host_key}\n")
        options = [f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "BatchMode=yes", "LogLevel=ERROR"]
        flags = [item for option in options for item in ("-o", option)]
        login = f"{user or self.user}@{self.address}"
        return ["ssh", "-F", "none", "-i", str(self.identity), "-o", "IdentitiesOnly=yes", *flags, login, *command]

    # --- inside ----------------------------------------------------------------------------------------------------

    @property
    def init(self) -> int:
        """PID 1's number on the outer machine."""
        if self._running is None:
            raise TestBedProblem(f"{self.name} is switched off", "start() it first")
        return self._running.init

    def inside(self, argv: Sequence[str], *, user: str = "root", env: Mapping[str, str] | None = None) -> list[str]:
        """The arguments that run `argv` on the host without SSH, for one's own subprocess call."""
        home, uid = ("/root", 0) if user == "root" else (f"/home/{user}", self.uid(user))
        bus = f"/run/user/{uid}"
        given = {"HOME": home, "USER": user, "LOGNAME": user, "LANG": "C.UTF-8", "TERM": "dumb", "XDG_RUNTIME_DIR": bus}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        given |= {"PATH": path, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}/bus", **(env or {})}
        become = [] if user == "root" else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups"]
        pairs = [f"{name}={value}" for name, value in given.items()]
        return ["nsenter", f"--target={self.init}", "--all", *become, "env", "-i", "-C", home, *pairs, *argv]

    def exec(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        stdin: str | bytes = b"",
        timeout: float = 60,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on the host and wait for it, around SSH: it works on a host that is cut off.

        What it leaves in the background must not keep its output open (`>/dev/null 2>&1 &`), or this waits for that.

        Raises:
            AssertionError: it failed and `check` is on; with all it said.
        """
        data = stdin.encode() if isinstance(stdin, str) else stdin
        ran = subprocess.run(self.inside(argv, user=user, env=env), input=data, capture_output=True, timeout=timeout)
        out, err = (os.fsdecode(stream) for stream in (ran.stdout, ran.stderr))
        assert not check or ran.returncode == 0, f"{self.name}: {list(argv)} exited {ran.returncode}\n{out}{err}"
        return subprocess.CompletedProcess(list(argv), ran.returncode, out, err)

    def uid(self, user: str) -> int:
        """The number of a user, from the host's own /etc/passwd."""
        rows = (row.split(":") for row in Path(f"/proc/{self.init}/root/etc/passwd").read_text().splitlines())
        return next(int(row[2]) for row in rows if row[0] == user)

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        return subprocess.run(self.inside(["cat", "--", path]), check=True, capture_output=True).stdout

    def write(self, path: str, data: str | bytes, *, mode: int = 0o644, owner: str = "root") -> None:
        """Write a file, its folders too."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1" && chown "$3:" "$1"'
        self.exec(["sh", "-c", script, "write", path, f"{mode:o}", owner], stdin=data)

    def processes(self) -> list[Process]:
        """Everything that runs on the host, PID 1 and the processes of `exec` too."""
        return processes_of(self.init)

    def pids(self, *words: str) -> list[int]:
        """The pids of those whose arguments hold all of these words, each somewhere."""
        return [p.pid for p in self.processes() if all(word in " ".join(p.argv) for word in words)]

    def outer_pid(self, pid: int) -> int:
        """What the outer machine calls a process of the host."""
        return next(process.outer_pid for process in self.processes() if process.pid == pid)

    def kill(self, pid: int, signal: int = 9) -> None:
        """Send a signal to a process of the host."""
        os.kill(self.outer_pid(pid), signal)

    # --- disk ------------------------------------------------------------------------------------------------------

    def fill_disk(self, path: str = "/workspace", leave_bytes: int = 0) -> None:
        """Fill the file system that holds `path` until `leave_bytes` are free. Only one of `workspace_size`.

        Raises:
            TestBedProblem: it is the outer machine's disk, which nobody wants to be filled.
        """
        if not self.exec(["findmnt", "-n", "-o", "SOURCE", "-T", path]).stdout.startswith("/dev/loop"):
            raise TestBedProblem(f"{path} has no file system of its own", "make the host with workspace_size=BYTES")
        self.exec(["python3", "-", path, str(leave_bytes)], stdin=(_HERE / "fill.py").read_bytes())

    def free_disk(self, path: str = "/workspace") -> None:
        """Undo `fill_disk`."""
        self.exec(["rm", "-f", f"{path}/.testbed-ballast"])

    # --- making ----------------------------------------------------------------------------------------------------

    def _make_disk(self, workspace_size: int, *, sudo: bool, linger: bool) -> None:
        upper = self.disk / "upper"
        for directory in ("etc/ssh", "etc/ssh/sshd_config.d", "usr/local/sbin"):
            (upper / directory).mkdir(parents=True, exist_ok=True)
        for directory in ("work", "root"):
            (self.disk / directory).mkdir()
        make_key(upper / "etc/ssh/ssh_host_ed25519_key", comment=self.name)
        public = self.identity.with_suffix(".pub").read_text()
        denied = "DenyUsers root\n" if self.kind is Kind.BARE_USER else ""
        files = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost {self.name}\n::1 localhost\n",
            "etc/machine-id": f"{os.urandom(16).hex()}\n",
            "etc/ssh/testbed_keys": public,
            # One key for everybody, outside the home folders, which belong to the tests.
            "etc/ssh/sshd_config.d/testbed.conf": f"AuthorizedKeysFile /etc/ssh/testbed_keys\nUseDNS no\n{denied}",
        }
        if self.kind is Kind.SUPERVISORD:
            files["etc/testbed-supervisord"] = ""
        if sudo:
            files["etc/sudoers.d/ann"] = "ann ALL=(ALL:ALL) ALL\n"
        if linger:
            files["var/lib/systemd/linger/ann"] = ""
        for name, text in files.items():
            (upper / name).parent.mkdir(parents=True, exist_ok=True)
            (upper / name).write_text(text)
        shutil.copy(_HERE / "start.sh", upper / "usr/local/sbin/testbed-start")
        (upper / "usr/local/sbin/testbed-start").chmod(0o755)
        if workspace_size:
            image = self.disk / "workspace.img"
            with image.open("wb") as file:
                file.truncate(workspace_size)
            # No reserved blocks: what `df` calls free is free for everybody.
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)

    def _make_network(self) -> None:
        cable = f"link add {self.name}v type veth peer name eth0 netns {self.name}"
        configure([f"netns add {self.name}", cable, f"link set {self.name}v master {self.slot.bridge} up"])
        lines = [f"addr add {self.address}/24 dev eth0", "link set eth0 up", "link set lo up"]
        configure([*lines, f"route add default via {self.slot.gateway}"], namespace=self.name)
