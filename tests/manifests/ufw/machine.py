"""A machine for a firewall: a network of its own, its own files of ufw, and a neighbour on a cable."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping

MACHINE, NEIGHBOUR = "10.20.0.1", "10.20.0.2"

# What ufw writes to is this machine's own, for as long as its mount namespace is there.
_OWN_FILES = """
mount -t tmpfs tmpfs /mnt
mkdir /mnt/ufw
cp -a /etc/ufw/. /mnt/ufw
cp /etc/default/ufw /mnt/default
: >/mnt/lock
mount --bind /mnt/ufw /etc/ufw
mount --bind /mnt/default /etc/default/ufw
ip link set lo up
echo ready
exec sleep 600
"""


class Namespace:
    """A process that keeps namespaces, and how to run things in them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--target={self.process.pid}", "--net", "--mount"]
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})}
        done = subprocess.run([*enter, *command], input=stdin, capture_output=True, text=True, env=path, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done


@contextlib.contextmanager
def namespace(script: str) -> Iterator[Namespace]:
    command = ["unshare", "--net", "--mount", "sh", "-ec", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout
            first = process.stdout.readline()
            assert first == "ready\n", first + process.stdout.read()
            yield Namespace(process)
        finally:
            process.kill()


@contextlib.contextmanager
def machine() -> Iterator[tuple[Namespace, Namespace]]:
    """A machine without any rule yet, and its neighbour in 10.20.0.0/16."""
    with namespace(_OWN_FILES) as here, namespace("ip link set lo up; echo ready; exec sleep 600") as there:
        here.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(there.process.pid))
        for side, address in ((here, MACHINE), (there, NEIGHBOUR)):
            side.run("ip", "addr", "add", f"{address}/16", "dev", "eth0")
            side.run("ip", "link", "set", "eth0", "up")
        yield here, there
