"""A real Docker Engine of the test's own: its data, socket, network and processes end with it.

It runs in namespaces of its own (network, so that its bridge and firewall rules are nobody else's; processes and
mounts, so that killing its first process ends all of it), and lies in a slot, whose next owner cleans up after a
killed test run.
"""

from __future__ import annotations

import ctypes
import socket
import subprocess
import threading
import time
from pathlib import Path

import docker

from tests.testbed.host import TestHost
from tests.testbed.problems import TestBedProblem
from tests.testbed.processes import start_time
from tests.testbed.rootfs import debian
from tests.testbed.slots import Slot, configure, destroy, end

_START_SECONDS = 60
# On a host. runc would look for the folder of whoever runs the tests.
START_ENGINE = (
    "env -u XDG_RUNTIME_DIR setsid dockerd --data-root /workspace/.engine"
    " --bridge none --iptables=false --ip-forward=false >>/var/log/dockerd 2>&1 </dev/null &"
)
_CLONE_NEWNET = 0x40000000
# As the slim images have: a C++ program runs there.
BASE_PACKAGES = ["libstdc++6", "python3"]


class Engine:
    """One that runs."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.number = slot.take_number()
        self.name = slot.name(self.number)
        self.disk = slot.directory / self.name
        self.socket = self.disk / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._relays: dict[str, socket.socket] = {}
        self.disk.mkdir()
        try:
            configure([f"netns add {self.name}"])
            configure(["link set lo up"], namespace=self.name)
            self._start()
            self.client = docker.DockerClient(base_url=self.url, timeout=120)
        except BaseException:
            self.destroy()
            raise

    def _start(self) -> None:
        options = [f"--host={self.url}", f"--data-root={self.disk}/data", f"--exec-root={self.disk}/exec"]
        options += [f"--pidfile={self.disk}/pid", f"--cgroup-parent=/{self.name}"]
        command = ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--pid", "--mount", "--fork", "--kill-child"]
        command += ["--mount-proc", "docker-init", "--", "dockerd", *options]
        with (self.disk / "log").open("wb") as log:
            waiter = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if waiter.poll() is not None or time.monotonic() > deadline:
                tail = (self.disk / "log").read_text(errors="replace").splitlines()[-5:]
                raise TestBedProblem("dockerd did not start:\n" + "\n".join(tail), f"see {self.disk}/log")
            time.sleep(0.05)
        init = int(Path(f"/proc/{waiter.pid}/task/{waiter.pid}/children").read_text().split()[0])
        (self.disk / "init").write_text(f"{init} {start_time(init)}")
        self._waiter = waiter

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def destroy(self) -> None:
        """End it, with its containers, and remove all it had."""
        for listener in self._relays.values():
            listener.close()
        end(self.disk)
        if hasattr(self, "_waiter"):
            self._waiter.wait()
        destroy(self.disk)
        self.slot.give_number(self.number)

    def take_base(self, name: str) -> str:
        """Import the base that images are built on; `name` again."""
        self.client.api.import_image_from_file(
            str(base()), repository=name.partition(":")[0], tag=name.partition(":")[2]
        )
        return name

    def see(self, authority: str) -> None:
        """Let `127.0.0.1:PORT` mean the same inside as it does out here: a registry of the tests."""
        if authority not in self._relays:
            self._relays[authority] = see(self.name, authority)


def base() -> Path:
    """Debian with Python as a tar file; made once for a list of packages (about 20 s)."""
    return debian("engine-base", BASE_PACKAGES)


def start_engine(host: TestHost) -> docker.DockerClient:
    """Start the engine of a host that was made with one."""
    root = Path(f"/proc/{host.init}/root")
    host.exec(["sh", "-c", START_ENGINE])
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(f"{root}/run/docker.sock") == 0:
                return docker.DockerClient(base_url=f"unix://{root}/run/docker.sock", timeout=120)
        if time.monotonic() > deadline:
            raise TestBedProblem("dockerd did not start:\n" + host.read("/var/log/dockerd").decode(), "see above")
        time.sleep(0.05)


def see(namespace: str, authority: str) -> socket.socket:
    """Let `127.0.0.1:PORT` mean in a network namespace what it means out here, until the socket is closed."""
    port = int(authority.rpartition(":")[2])
    listener = _listen_in(f"/run/netns/{namespace}", port)
    threading.Thread(target=_relay, args=(listener, port), daemon=True).start()
    return listener


def _listen_in(namespace: str, port: int) -> socket.socket:
    """A listening socket belongs to the network that it was made in, whoever reads from it."""
    made: list[socket.socket] = []

    def listen() -> None:
        with Path(namespace).open() as handle:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:  # of this thread alone
                raise OSError(ctypes.get_errno(), "setns")
        made.append(socket.create_server(("127.0.0.1", port)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    return made[0]


def _relay(listener: socket.socket, port: int) -> None:
    while True:
        try:
            inside, _ = listener.accept()
        except OSError:  # closed: the engine ends
            return
        outside = socket.create_connection(("127.0.0.1", port))
        for source, sink in ((inside, outside), (outside, inside)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
