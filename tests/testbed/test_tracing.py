"""A process of a host can be killed at a chosen system call, and what it had done till then stays."""

import time

import pytest

from tests.testbed import TestHost
from tests.testbed.fixtures import Place
from tests.testbed.tracing import Kill, attached, replaced, stopped_at, traced

pytestmark = pytest.mark.root

_STEPS = "import os\nfor n in range(4): os.mkdir(f'{path}/{{n}}')"
# Forks like a deploy's worker does: the parent makes folders as well, so calls of both must be counted apart.
_WORKER = """
import os, time
for n in range(3): os.mkdir(f"{path}/parent{{n}}")
if os.fork() == 0:
    os.setsid()
    for n in range(4): os.mkdir(f"{path}/{{n}}")
    os._exit(0)
time.sleep(0.5)
"""


@pytest.fixture
def path(supervisord_host: TestHost, place: Place) -> str:
    """An empty folder on the shared host."""
    supervisord_host.exec(["mkdir", "-p", place.path])
    return place.path


def made(host: TestHost, path: str) -> list[str]:
    return host.exec(["ls", path]).stdout.split()


@pytest.mark.parametrize("when", [1, 3])
def test_the_call_at_which_a_command_is_killed_does_not_happen(
    supervisord_host: TestHost, path: str, when: int
) -> None:
    command, trace = traced(
        supervisord_host, ["python3", "-c", _STEPS.format(path=path)], Kill(when, calls="mkdir"), calls="mkdir"
    )

    ran = supervisord_host.exec(command, check=False)

    assert ran.returncode in (137, -9)
    assert made(supervisord_host, path) == ["0", "1"][: when - 1]
    (calls,) = trace.calls().values()
    assert "killed by SIGKILL" in calls[-1]


def test_a_run_without_a_kill_tells_how_many_calls_there_are(supervisord_host: TestHost, path: str) -> None:
    command, trace = traced(supervisord_host, ["python3", "-c", _STEPS.format(path=path)])

    supervisord_host.exec(command)

    (calls,) = trace.calls().values()
    assert sum("mkdir(" in call for call in calls) == 4
    assert made(supervisord_host, path) == ["0", "1", "2", "3"]


def test_a_running_process_is_traced_from_now_on(supervisord_host: TestHost, path: str) -> None:
    host = supervisord_host
    wait = f"import os, time\nwhile not os.path.exists('{path}/go'): time.sleep(0.01)\n"
    host.exec(["sh", "-c", 'python3 -c "$1" >/dev/null 2>&1 &', "sh", wait + _STEPS.format(path=path)])
    (pid,) = [p.pid for p in host.processes() if p.argv[:2] == ("python3", "-c") and path in p.argv[2]]

    with attached(host, pid, Kill(2, calls="mkdir"), calls="mkdir"):
        host.write(f"{path}/go", "")
        deadline = time.monotonic() + 5
        while pid in host.pids() and time.monotonic() < deadline:
            time.sleep(0.01)

    assert made(host, path) == ["0", "go"]


def test_whoever_starts_a_replaced_program_is_traced_and_afterwards_nobody(
    supervisord_host: TestHost, path: str
) -> None:
    host, command = supervisord_host, ["python3", "-c", _STEPS.format(path=path)]
    kept = host.exec(["readlink", "-f", "/usr/bin/python3"]).stdout

    with replaced(host, "/usr/bin/python3", Kill(2, calls="mkdir"), calls="mkdir") as trace:
        killed = host.exec(command, check=False)

    assert killed.returncode in (137, -9)
    assert made(host, path) == ["0"]
    assert len(trace.calls()) == 1
    assert host.exec(["readlink", "-f", "/usr/bin/python3"]).stdout == kept
    assert host.exec(["python3", "-c", "print(1)"]).stdout == "1\n"


@pytest.mark.parametrize("when", [1, 2, 4])
def test_a_forked_worker_is_caught_at_setsid_and_killed_at_a_call_of_its_own(
    supervisord_host: TestHost, path: str, when: int
) -> None:
    host = supervisord_host
    with stopped_at(host, "/usr/bin/python3", "setsid") as stopped:
        host.exec(["sh", "-c", 'python3 -c "$1" >/dev/null 2>&1 &', "sh", _WORKER.format(path=path)])
        worker = stopped.wait()
        before = made(host, path)

        with attached(host, worker.pid, Kill(when, calls="mkdir"), calls="mkdir"):
            deadline = time.monotonic() + 5
            while worker.pid in host.pids() and time.monotonic() < deadline:
                time.sleep(0.01)

    assert before == ["parent0", "parent1", "parent2"]
    assert made(host, path) == [*(str(n) for n in range(when - 1)), *before]
