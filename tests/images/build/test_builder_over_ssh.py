"""An engine on another machine, reached through the user's own ssh program and a real sshd."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.transport.sshconn import SSHSocket

from provision.errors import UsageError
from provision.images.build.compilers import compilers
from provision.images.build.engine import DockerBuilder, connect
from provision.images.build.image import Built
from provision.images.smoke.pull import load
from tests.images.build.make import BASE, REPOSITORY, build_image
from tests.testbed.docker import base, start_engine
from tests.testbed.host import TestHost
from tests.testbed.kinds import Kind
from tests.testbed.slots import Slot

_close = SSHSocket.close


def _close_as_often_as_you_like(self: SSHSocket) -> None:
    with contextlib.suppress(BrokenPipeError):
        _close(self)


# docker-py closes a connection again when Python ends, and says goodbye to an ssh that it has ended itself.
SSHSocket.close = _close_as_often_as_you_like  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def machine(slot: Slot) -> Iterator[TestHost]:
    """With an engine, the base, and the `docker` program, which the engine's clients start over ssh."""
    host = TestHost(Kind.SUPERVISORD, slot, workspace_size=2 << 30, engine=True)
    try:
        client = start_engine(host)
        client.api.import_image_from_file(str(base()), repository=BASE.partition(":")[0], tag=BASE.partition(":")[2])
        yield host
    finally:
        host.destroy()


@pytest.fixture
def distant(machine: TestHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerBuilder]:
    """`--builder ssh://gpu-box`, where the user's ssh configuration says who that is."""
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host gpu-box\n  HostName {machine.address}\n  User {machine.user}\n  IdentityFile {machine.identity}\n"
        "  StrictHostKeyChecking accept-new\n  LogLevel ERROR\n"
        f"  UserKnownHostsFile {tmp_path}/known_hosts\n"
    )
    wrapper = tmp_path / "bin/ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(wrapper.parent), prepend=":")
    client = connect("ssh://gpu-box")
    yield DockerBuilder(client)
    client.close()


def test_an_engine_over_ssh_builds_the_same_digest_and_has_the_image(
    distant: DockerBuilder, smallest: Built, tmp_path: Path
) -> None:
    built = build_image("bitnet-cpu-min", distant, tmp_path)
    loaded = load(distant.client, built.layout, "bitnet-cpu-min")

    assert built.layout.manifest.digest == smallest.layout.manifest.digest
    assert loaded.id == built.layout.config_digest


def test_an_engine_elsewhere_cannot_compile_what_lies_here(
    distant: DockerBuilder, machine: TestHost, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with (
        pytest.raises(UsageError, match="does not see the files of this machine") as failure,
        compilers(distant.client, BASE, REPOSITORY, cache),
    ):
        raise AssertionError("it was taken")

    assert str(cache) in failure.value.why
    assert not Path(f"/proc/{machine.init}/root{cache}").exists()
    assert distant.client.containers.list(all=True) == []


def test_a_machine_that_refuses_ssh_is_named() -> None:
    words = ["image", "build", "bitnet-cpu-min", "-C", str(REPOSITORY), "--builder", "ssh://nobody@127.0.0.1:1"]

    done = subprocess.run([sys.executable, "-m", "provision.cli", *words], capture_output=True, text=True)

    assert done.returncode == 2
    assert "no Docker Engine answers at ssh://nobody@127.0.0.1:1" in done.stderr
    assert "docker system dial-stdio" in done.stderr
    assert "Traceback" not in done.stderr
