"""A machine of a cluster: network, process and mount namespaces of its own, in a slot of the test bed.

Its end is the end of one process. `nsenter` enters, because `ip netns exec` mounts a /sys of its own, in which a
kubelet finds no cgroups.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.cluster.parts import program
from tests.testbed.cgroups import make_cgroups
from tests.testbed.problems import TestBedProblem
from tests.testbed.processes import start_time
from tests.testbed.slots import Slot, configure, destroy, end

_START_SECONDS = 120


class Machine:
    """One, on which nothing runs yet."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.number = slot.take_number()
        self.name = slot.name(self.number)
        self.disk = slot.directory / self.name
        self.address = f"198.18.{slot.number}.{self.number}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.disk.mkdir()
        try:
            self._make_namespaces()
        except BaseException:
            self.destroy()
            raise

    def destroy(self) -> None:
        """End it, with all that runs on it, and remove what it had."""
        end(self.disk)
        for process in self._running.values():
            process.wait()
        destroy(self.disk)
        self.slot.give_number(self.number)

    def pull_cable(self) -> None:
        """As a power cut looks from outside: nobody hears of it any more."""
        configure([f"link set {self.name}v down"])

    def start(
        self, name: str, *options: str, file: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        """Start one of the cluster's programs inside, or `file`; its log in NAME.log."""
        paths = f"{program('containerd-shim-runc-v2').parent}:/usr/sbin:{os.environ['PATH']}"
        with (self.disk / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*self.inside(), file or program(name), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.disk,
                env={**os.environ, "PATH": paths, **(environ or {})},
            )

    def stop(self, name: str) -> None:
        """Kill one of them, as a power cut would."""
        process = self._running.pop(name)
        subprocess.run(["pkill", "-KILL", "--parent", str(process.pid)], check=True)
        process.wait()

    def inside(self) -> list[str]:
        """What stands before a command that runs inside."""
        init = (self.disk / "init").read_text().split()[0]
        return ["nsenter", f"--target={init}", "--net", "--pid", "--mount"]

    def until(self, condition: Callable[[], bool], name: str) -> None:
        """Wait for `condition`, as long as the program `name` runs.

        Raises:
            TestBedProblem: it ended, or the time did; with its last lines.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            if self._running[name].poll() is not None or time.monotonic() > deadline:
                tail = (self.disk / f"{name}.log").read_text(errors="replace").splitlines()[-8:]
                raise TestBedProblem(f"{name} is not ready:\n" + "\n".join(tail), f"see {self.disk}/{name}.log")
            time.sleep(0.1)

    def _make_namespaces(self) -> None:
        cable = f"link add {self.name}v type veth peer name eth0 netns {self.name}"
        configure([f"netns add {self.name}", cable, f"link set {self.name}v master {self.slot.bridge} up"])
        lines = [f"addr add {self.address}/24 dev eth0", "link set eth0 up", "link set lo up"]
        configure([*lines, f"route add default via {self.slot.gateway}"], namespace=self.name)
        make_cgroups(self.name, every=True)
        command = ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--pid", "--mount", "--fork"]
        command += ["--kill-child", "--mount-proc", "docker-init", "--", "sleep", "infinity"]
        waiter = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self._running["docker-init"] = waiter
        children = Path(f"/proc/{waiter.pid}/task/{waiter.pid}/children")
        deadline = time.monotonic() + _START_SECONDS
        while not (found := children.read_text().split()):
            if time.monotonic() > deadline:
                raise TestBedProblem("nothing began inside", "is util-linux's unshare there?")
            time.sleep(0.01)
        (self.disk / "init").write_text(f"{found[0]} {start_time(int(found[0]))}")
