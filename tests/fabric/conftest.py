"""Two hosts, a project for both with a fabfile of its own, and `fab` itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.world import World
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import Place
from tests.testbed.slots import Slot

FAB = Path(sys.executable).with_name("fab")

FABFILE = '''\
from fabric import task as plain_task
from provision import tasks
from provision.tasks import ns, task


@task(help={"text": "What to say."})
def say(connection, text="hello"):
    """Say something on each host."""
    connection.run(f"set -- $SSH_CONNECTION; echo {text} on $3 as $(id -un)", in_stream=False)


@task
def leave(connection, file):
    """Put a file on each host, and read it there as somebody else."""
    connection.put(file, "/tmp/left")
    connection.sudo("sh -c 'cat /tmp/left; id -un'", user="ann", in_stream=False)


@task
def look(connection):
    """A room in the middle of a task, then a command too late."""
    print("then", *(found.host for found in tasks.plan(connection)))
    connection.close()
    connection.run("true", in_stream=False)


@plain_task
def one_by_one(context):
    """The rooms as functions: of a connection, they mean its host."""
    tasks.up(context)
    print("then", *(found.host for found in tasks.status(context)))


for each in (say, leave, look, one_by_one):
    ns.add_task(each)
'''


class Fleet(World):
    """A project on two hosts; tasks are run in its folder."""

    second: TestHost

    def fab(self, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FAB, *words],
            cwd=folder or self.folder,
            env={**os.environ, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ok(self, *words: str) -> str:
        """What tasks that have to work write to stdout."""
        done = self.fab(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serves(self, host: TestHost) -> bool:
        ran = host.exec(["curl", "-fsS", "-m", "5", f"http://127.0.0.1:{self.port}/health"], check=False)
        return ran.returncode == 0


@pytest.fixture(scope="module")
def second_host(slot: Slot) -> Iterator[TestHost]:
    host = TestHost(Kind.SUPERVISORD, slot, sudo=True)
    yield host
    host.destroy()


@pytest.fixture
def fleet(supervisord_host: TestHost, second_host: TestHost, place: Place, tmp_path: Path) -> Fleet:
    hosts = (supervisord_host, second_host)
    target = {"name_prefix": f"{place.name}-", "hosts": [f"root@{host.address}" for host in hosts]}
    fleet = Fleet(
        tmp_path / "project", supervisord_host, "supervisord", place.path, place.port(), place.name, target=target
    )
    fleet.second = second_host
    pins = "".join(f"{host.address} {host.host_key}\n" for host in hosts)
    (fleet.folder / "known_hosts").write_text(pins)
    (fleet.folder / "fabfile.py").write_text(FABFILE)
    (fleet.folder / ".deployignore").write_text("fabfile.py\n__pycache__\nfabric.yaml\n")
    fleet.web("1")
    return fleet
