"""Real hosts for tests: a network namespace, an overlay root and a PID 1 each, made in about a second.

    host = TestHost(Kind.SYSTEMD, slot)     # or the fixtures in tests/testbed/fixtures.py
    host.exec(["systemctl", "status"])
    host.reboot()

Needs root, and no container engine.
"""

from tests.testbed.host import TestHost
from tests.testbed.kinds import Kind
from tests.testbed.problems import TestBedProblem
from tests.testbed.processes import Process
from tests.testbed.rootfs import rootfs
from tests.testbed.slots import Slot, take_slot

__all__ = ["Kind", "Process", "Slot", "TestBedProblem", "TestHost", "rootfs", "take_slot"]
