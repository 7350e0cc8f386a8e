"""Starting a host: from a disk and a network namespace to a running PID 1."""

import os
import subprocess
import time
from pathlib import Path

from tests.testbed.cgroups import controllers_table, hierarchies, make_cgroups
from tests.testbed.problems import TestBedProblem
from tests.testbed.processes import start_time

_HERE = Path(__file__).parent
_NAMESPACES = ["--mount", "--pid", "--uts", "--ipc", "--cgroup"]
# Into the host's cgroups before the cgroup namespace is made, which takes them as its roots.
_JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"'


def boot(name: str, disk: Path, lower: Path | None, init: list[str]) -> tuple["subprocess.Popen[bytes]", int]:
    """Start PID 1 of the host `name` on `disk`: the process that waits for it, and its pid out here.

    Its root is what `disk` has changed of `lower`; without `lower` it is `disk/root`, whole.
    Its output goes to `disk/console`, and `disk/init` records the pid and the start time, by which `slots.end`
    finds it even when this process is dead.

    Raises:
        TestBedProblem: the file system could not be put together.
    """
    joining = in_cgroups(name)
    (disk / "controllers").write_text(controllers_table())
    mounts = [hierarchy.mount_argument() for hierarchy in hierarchies()]
    workspace = disk / "workspace.img"
    # nsenter rather than `ip netns exec`, which puts a fresh /sys without cgroups in the way.
    command = [*joining, "nsenter", f"--net=/run/netns/{name}", "unshare", *_NAMESPACES, "--fork", "--kill-child"]
    command += ["sh", str(_HERE / "boot.sh"), str(lower or "-"), str(disk), name]
    command += [str(workspace) if workspace.exists() else "-", *mounts, "--", *init]
    with (disk / "console").open("ab") as console:
        # A session of its own: Ctrl-C at the terminal is for pytest, which then ends the host in order.
        waiter = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
        )
    try:
        pid = _first_child(waiter)
        (disk / "init").write_text(f"{pid} {start_time(pid)}")
    except (OSError, TestBedProblem) as error:
        waiter.kill()
        waiter.wait()
        said = (disk / "console").read_text(errors="replace").strip()
        raise TestBedProblem(f"{name} did not boot: {said}", f"the script is {_HERE / 'boot.sh'}") from error
    return waiter, pid


def in_cgroups(name: str) -> list[str]:
    """The words before a command that let it run in the cgroups of the host `name`."""
    return ["sh", "-eu", "-c", _JOIN, "join", *(str(path) for path in make_cgroups(name)), "--"]


def _first_child(waiter: "subprocess.Popen[bytes]") -> int:
    children = Path(f"/proc/{waiter.pid}/task/{waiter.pid}/children")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and waiter.poll() is None:
        if pids := children.read_text().split():
            return int(pids[0])
        time.sleep(0.002)
    raise TestBedProblem("no PID 1 appeared", "see the console")


def listens_on_ssh(init: int) -> bool:
    """Whether something inside listens on port 22: state 0A in /proc/PID/net/tcp. Needs no connection, so it works
    on a host that is cut off and leaves no half-open login behind.
    """
    try:
        rows = Path(f"/proc/{init}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return False
    return any(row.split()[1].endswith(":0016") and row.split()[3] == "0A" for row in rows)


def root_is_ready(init: int) -> bool:
    """Whether PID 1 runs inside its own root yet, so that nsenter will find the host and not the outer machine."""
    try:
        return not os.path.samestat(Path(f"/proc/{init}/root").stat(), Path("/").stat())
    except OSError:
        return False
