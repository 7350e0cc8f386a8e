"""A slot: the part of the test bed that one test process owns, numbered, so that no two clash.

The number gives the bridge its name and the subnets theirs: 198.18.SLOT.0/24 of the range that RFC 2544 sets aside
for tests. The process holds its slot by a lock on a file; the kernel drops that lock when the process dies in any
way, and so the next run knows which slots are dead, ends what they left and reuses them.
"""

import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path

from tests.testbed.cgroups import remove_cgroups
from tests.testbed.problems import TestBedProblem
from tests.testbed.processes import start_time

STATE = Path(os.environ.get("DEPLOY_TESTBED_STATE", "/var/tmp/deploy-testbed"))
_SLOTS = 256
_ADDRESSES = 250  # of a /24, the last few left for the bridge


@dataclass
class Slot:
    """One owner's share: a directory, a bridge, a subnet, an SSH key for all of its hosts."""

    number: int
    lock: TextIOWrapper
    _numbers: list[int] = field(default_factory=lambda: list(range(_ADDRESSES, 0, -1)))

    @property
    def directory(self) -> Path:
        return STATE / str(self.number)

    @property
    def bridge(self) -> str:
        return f"dt{self.number}"

    @property
    def gateway(self) -> str:
        """The outer machine as its hosts see it."""
        return f"198.18.{self.number}.254"

    def name(self, host: int) -> str:
        """The name of a host's namespace, cgroups, directory and, with a letter behind it, its cable."""
        return f"dt{self.number}-{host}"

    def take_number(self) -> int:
        """A number that no host of this slot has now."""
        return self._numbers.pop()

    def give_number(self, host: int) -> None:
        """Let a later host have the number."""
        self._numbers.insert(0, host)

    @property
    def identity(self) -> Path:
        """The private key that logs in to every host of this slot."""
        return self.directory / "identity"

    def release(self) -> None:
        """End everything the slot has and let another process have it."""
        _clean(self.number)
        self.lock.close()


def take_slot() -> Slot:
    """A free slot with its bridge up. Slots of dead runs are cleaned first.

    Raises:
        TestBedProblem: the directory cannot hold overlays, or all slots are taken.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    held = subprocess.run(["stat", "--file-system", "--format=%T", STATE], capture_output=True, text=True).stdout
    if held.strip() == "overlayfs":
        raise TestBedProblem(f"{STATE} is on an overlay, which cannot carry another", "set DEPLOY_TESTBED_STATE=DIR")
    dead = [slot for number in range(_SLOTS) if _lock_path(number).exists() and (slot := _try(number))]
    stuck = {slot.number for slot in dead if not _released(slot)}
    for number in range(_SLOTS):
        if number not in stuck and (slot := _try(number)) is not None:
            _clean(number)
            slot.directory.mkdir()
            make_key(slot.identity, comment="testbed")
            make_bridge(slot)
            return slot
    raise TestBedProblem(f"all {_SLOTS} slots of the test bed are taken", f"end other test runs, see {STATE}")


def _released(slot: Slot) -> bool:
    """Whether all is gone that a dead run left there; what can't be ended, the next one tries, and it stops nobody."""
    try:
        slot.release()
    except (OSError, subprocess.CalledProcessError) as error:
        slot.lock.close()
        sys.stderr.write(f"slot {slot.number} of the test bed is passed over, as it can't be cleaned: {error}\n")
        return False
    return True


def make_key(path: Path, comment: str) -> None:
    """A new ed25519 key pair, without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True)


def make_bridge(slot: Slot) -> None:
    """The switch that this slot's hosts and the outer machine are plugged into."""
    lines = [f"link add {slot.bridge} type bridge", f"addr add {slot.gateway}/24 dev {slot.bridge}"]
    configure([*lines, f"link set {slot.bridge} up"])


def configure(lines: list[str], *, namespace: str | None = None) -> None:
    """Run `ip` commands, all in one process."""
    inside = ["-netns", namespace] if namespace else []
    subprocess.run(["ip", *inside, "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True)


def destroy(directory: Path) -> None:
    """End the host whose disk is `directory`: processes, namespace, cable, cgroups, files. All of it may be gone."""
    end(directory)
    name = directory.name
    if Path("/sys/class/net", f"{name}v").exists():
        subprocess.run(["ip", "link", "delete", f"{name}v"], check=True, capture_output=True)
    if Path("/run/netns", name).exists():
        subprocess.run(["ip", "netns", "delete", name], check=True, capture_output=True)
    remove_cgroups(name)
    subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


def end(directory: Path) -> None:
    """Kill PID 1 of the host on that disk; the kernel kills the rest of its namespace. `init` names PID and time."""
    record = directory / "init"
    if not record.exists():
        return
    pid, started = record.read_text().split()
    try:
        handle = os.pidfd_open(int(pid))
    except ProcessLookupError:
        record.unlink()
        return
    try:
        if start_time(int(pid)) == started:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        pass  # it ended by itself in between
    finally:
        os.close(handle)
    record.unlink()


def _lock_path(number: int) -> Path:
    return STATE / f"{number}.lock"


def _try(number: int) -> Slot | None:
    lock = _lock_path(number).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return Slot(number, lock)


def _clean(number: int) -> None:
    directory = STATE / str(number)
    if directory.is_dir():
        for host in directory.glob(f"dt{number}-*"):
            destroy(host)
    if Path("/sys/class/net", f"dt{number}").exists():
        subprocess.run(["ip", "link", "delete", f"dt{number}"], check=True, capture_output=True)
    subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)
