"""A machine that was just installed: Debian with git, make and python3, and nothing of the machine that it runs on.

It is a host of the test bed in all but three things. Its root is a whole copy and no overlay, so that overlays can be
made inside it, as on a real machine. It reaches what the outer machine reaches (package mirrors, hosts of the test bed)
by slirp4netns, which connects out here: neither routes nor firewall of the outer machine change. And it trusts the
certificate authorities that the outer machine's administrator added.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.testbed.boot import boot, in_cgroups, root_is_ready
from tests.testbed.problems import TestBedProblem
from tests.testbed.processes import Process, processes_of
from tests.testbed.rootfs import root_of
from tests.testbed.slots import Slot, configure, destroy, end

SYSTEMS = {"debian-12": "bookworm", "debian-13": "trixie"}
PERSONS = ("root", "user")
_PACKAGES = ["git", "make", "python3"]
_USER, _UID = "ann", 1000
# An ordinary user: no rights but sudo's.
_ADD_USER = f"""
set -e
chroot "$1" useradd --uid {_UID} --create-home --shell /bin/bash {_USER}
echo '{_USER} ALL=(ALL:ALL) NOPASSWD: ALL' >"$1"/etc/sudoers.d/{_USER}
"""
# dash reaps whatever ends while it waits, as an init must.
_IDLE = ("sleep", "1000000")
_INIT = ["/bin/sh", "-c", f"while :; do {' '.join(_IDLE)} & wait; done"]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DNS = "10.0.2.3"  # slirp4netns(1): asks the outer machine's resolver
# How the outer machine reaches package indexes, and how patient it is.
_NETWORK = re.compile(
    r"(http|https|all|no)_proxy|(PIP|UV)_((DEFAULT_|EXTRA_)?INDEX(_URL)?|PROXY|TRUSTED_HOST|INSECURE_HOST)"
    r"|PIP_DEFAULT_TIMEOUT|PIP_RETRIES|UV_HTTP_TIMEOUT|UV_HTTP_RETRIES",
    re.IGNORECASE,
)
# Where these are set, they name the machine's own certificates.
_BUNDLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_CHECKOUT = Path(__file__).parents[2]
_BOOT_SECONDS = 30
_OUTER = "-sys_module,-sys_time,-sys_rawio"  # as in boot.sh
# What a real machine has: devices (loop devices of the kernel are everybody's), and settings of a network of its own.
_DEVICES = """
mkdir -p /dev/net
mknod -m 666 /dev/net/tun c 10 200
mknod -m 666 /dev/fuse c 10 229
mknod -m 660 /dev/loop-control c 10 237
for number in $(seq 0 63); do mknod -m 660 /dev/loop$number b 7 $number; done
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,rw /proc/sys/net
"""


@dataclass(frozen=True)
class Line:
    """A line of output, and how many seconds after the command began it came."""

    seconds: float
    text: str

    def __str__(self) -> str:
        return f"{self.seconds:7.1f}  {self.text}"


@dataclass(frozen=True)
class Transcript:
    """What a command said, standard output and error together, and its exit status."""

    command: str
    lines: list[Line]
    status: int

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


class Machine:
    """One, made and started, with a clone of this checkout's last commit in the home of `person`.

    Args:
        system: one of `SYSTEMS`.
        person: one of `PERSONS`, who types the commands.
        slot: the part of the test bed that it belongs to.
    """

    def __init__(self, system: str, person: str, slot: Slot) -> None:
        self.user = "root" if person == "root" else _USER
        self.home = "/root" if person == "root" else f"/home/{_USER}"
        self.clone = f"{self.home}/bitnet-provision"
        self.slot = slot
        self.number = slot.take_number()
        self.name = slot.name(self.number)
        self.disk = slot.directory / self.name
        self.root = self.disk / "root"
        self.uid = 0 if person == "root" else _UID
        self._waiter: subprocess.Popen[bytes] | None = None
        self._line: subprocess.Popen[bytes] | None = None
        self._hangup = -1
        self._init = 0
        try:
            self._make_disk(system)
            self._make_network()
            self._start()
        except BaseException:
            self.destroy()
            raise

    def destroy(self) -> None:
        """End it, and remove all it had."""
        if self._waiter is not None:
            end(self.disk)
            self._waiter.wait()
        if self._line is not None:
            os.close(self._hangup)
            self._line.wait()
        destroy(self.disk)
        self.slot.give_number(self.number)

    # --- what happens on it ----------------------------------------------------------------------------------------

    def run(
        self, command: str, *, tell: Callable[[Line], None] = lambda line: None, timeout_s: float = 3600
    ) -> Transcript:
        """Type `command` into a shell in the clone; `tell` gets each line as it comes. No terminal: all goes to a pipe.

        Raises:
            TestBedProblem: it, or what it left in the background with the pipe open, ran longer than `timeout_s`. The
                machine was ended.
        """
        began = time.monotonic()
        lines = []
        process = subprocess.Popen(
            self._inside(["sh", "-c", command], self.user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        alarm = threading.Timer(timeout_s, end, [self.disk])
        alarm.start()
        with process:
            for said in process.stdout or ():
                lines.append(Line(time.monotonic() - began, said.decode(errors="replace").rstrip("\n")))
                tell(lines[-1])
        alarm.cancel()
        if not (self.disk / "init").exists():
            tail = "\n".join(str(line) for line in lines[-20:])
            raise TestBedProblem(f"`{command}` ran longer than {timeout_s} s:\n{tail}", "see what it waited for")
        return Transcript(command, lines, process.returncode)

    def at(self, path: str) -> Path:
        """Where a path of the machine, or one relative to the clone, lies out here."""
        return self.root / str(PurePosixPath(self.clone, path))[1:]

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file, likewise named, as the person would."""
        file = self.at(path)
        made = [parent for parent in file.parents if not parent.exists()]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)
        for each in (file, *made):
            os.chown(each, self.uid, self.uid)

    def copy_cache(self, cache: Path) -> None:
        """Let the person have a copy of a cache of compiled binaries. Roots of the test bed it makes for itself."""
        inside = self.at(f"{self.home}/.cache/bitnet-provision")
        inside.mkdir(parents=True)
        parts = [part for part in cache.iterdir() if part.name != "testbed"]
        subprocess.run(["cp", "-a", "--reflink=auto", *parts, inside], check=True)
        self._give(inside.parent)

    def processes(self) -> list[Process]:
        """What runs, but for PID 1 and the sleep that it waits for."""
        return [process for process in processes_of(self._init) if process.pid != 1 and process.argv != _IDLE]

    # --- making ----------------------------------------------------------------------------------------------------

    def _make_disk(self, system: str) -> None:
        packages, customize = (_PACKAGES, "") if self.user == "root" else ([*_PACKAGES, "sudo"], _ADD_USER)
        made = root_of(SYSTEMS[system], packages, customize)
        self.disk.mkdir()
        subprocess.run(["cp", "-a", "--reflink=auto", made, self.root], check=True)
        files = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost {self.name}\n::1 localhost\n",
            "etc/resolv.conf": f"nameserver {_DNS}\n",
        }
        for name, text in files.items():
            (self.root / name).unlink(missing_ok=True)
            (self.root / name).write_text(text)
        # Debian's way to trust a network that signs anew: update-ca-certificates(8), which runs once the package comes.
        for authority in _AUTHORITIES.glob("*.crt"):
            inside = self.root / authority.relative_to("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(authority, inside)
        into = self.at(self.clone)
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", "--template=", _CHECKOUT, into], check=True)
        self._give(into)

    def _give(self, path: Path) -> None:
        subprocess.run(["chown", "-Rh", f"{self.uid}:{self.uid}", path], check=True)

    def _make_network(self) -> None:
        if shutil.which("slirp4netns") is None:
            raise TestBedProblem("slirp4netns is not installed", "scripts/install-packages test")
        configure([f"netns add {self.name}"])
        configure(["link set lo up"], namespace=self.name)
        ready, is_ready = os.pipe()
        hung_up, self._hangup = os.pipe()
        options = ["--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"]
        # It ends when the pipe does, so also when this process is killed.
        options += [f"--ready-fd={is_ready}", f"--exit-fd={hung_up}"]
        with (self.disk / "network").open("wb") as log:
            self._line = subprocess.Popen(
                ["slirp4netns", *options, f"/run/netns/{self.name}", "eth0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(is_ready, hung_up),
                start_new_session=True,
            )
        os.close(is_ready)
        os.close(hung_up)
        said = os.read(ready, 1)
        os.close(ready)
        if said != b"1":
            raise TestBedProblem(f"slirp4netns failed: {(self.disk / 'network').read_text()}", "see slirp4netns(1)")

    def _start(self) -> None:
        self._waiter, self._init = boot(self.name, self.disk, None, _INIT)
        deadline = time.monotonic() + _BOOT_SECONDS
        while not root_is_ready(self._init):
            if self._waiter.poll() is not None or time.monotonic() > deadline:
                console = (self.disk / "console").read_text(errors="replace")
                raise TestBedProblem(f"{self.name} did not start", f"its console said: {console}")
            time.sleep(0.01)
        subprocess.run(self._inside(["sh", "-ec", _DEVICES], "root"), check=True, capture_output=True)

    def _inside(self, argv: Sequence[str], user: str) -> list[str]:
        become = [] if user == "root" else [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        home = self.home if user == self.user else "/root"
        given = {"HOME": home, "USER": user, "LOGNAME": user, "SHELL": "/bin/bash", "PATH": _PATH, "TERM": "dumb"}
        given |= {name: value for name, value in os.environ.items() if _NETWORK.fullmatch(name)}
        given |= {name: _BUNDLE for name in _BUNDLES if name in os.environ}
        pairs = [f"{name}={value}" for name, value in given.items()]
        enter = [*in_cgroups(self.name), "nsenter", f"--target={self._init}", "--all"]
        return [*enter, "setpriv", f"--bounding-set={_OUTER}", *become, "env", "-i", "-C", self.clone, *pairs, *argv]
