"""Hosts whose login, account or file system is not what one expects: deploys work there, or say exactly what is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import DeployError, Refused, Unreachable
from tests.deploy.world import World, web
from tests.faults.hooks import until
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

# sshd runs a command by bash, which then reads this; and what it prints comes before the agent's words, and rsync's.
NOISE = """
echo Welcome; echo 42; echo null; echo '{"event": "result", "host": 7}'; printf 'no newline'
echo fortune >&2
"""
TMUX = "[ -f ~/.no_auto_tmux ] || { echo 'open terminal failed: not a terminal' >&2; exit 1; }\n"
PORT = 2222


@pytest.fixture
def world(supervisord_host: TestHost, place: Place, tmp_path: Path) -> World:
    target: dict[str, Any] = {"name_prefix": f"{place.name}-"}
    path = f"/opt/{place.name}"
    return World(tmp_path / "project", supervisord_host, "supervisord", path, place.port(), place.name, target=target)


@pytest.fixture
def start_up(world: World) -> Iterator[str]:
    """root's start-up file, which a test may write."""
    yield "/root/.bashrc"
    world.host.exec(["rm", "-f", "/root/.bashrc"])


def login(world: World, *settings: str) -> None:
    """Reach the host by another sshd, as an address that a provider printed."""
    options = [word for setting in settings for word in ("-o", setting)]
    world.host.exec(["/usr/sbin/sshd", "-p", str(PORT), "-o", f"PidFile=/run/odd-{world.name}", *options])
    world.target["hosts"] = [f"ssh://root@{world.host.address}:{PORT}"]
    (world.folder / "known_hosts").write_text(f"[{world.host.address}]:{PORT} {world.host.host_key}\n")


def end_login(world: World) -> None:
    world.host.exec(["sh", "-c", f"kill $(cat /run/odd-{world.name})"])


def test_a_noisy_host_that_allows_one_session_is_deployed_to(
    world: World, start_up: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Issue 13, 14 and 15: start-up files that print JSON, MaxSessions 1, AllowTcpForwarding no, ssh://."""
    world.host.write(start_up, NOISE)
    login(world, "MaxSessions=1", "AllowTcpForwarding=no")
    try:
        world.web("1")
        assert world.up().outcome == "committed"
        world.web("2", check={"http": "/health", "timeout": "3s", "interval": "50ms"})
        assert world.up().outcome == "committed"
        assert world.version == "2"
        assert world.status().state == "serving"
        assert rollout.execute(world.deployment(), ["echo", "alone"]) == 0
        assert capfd.readouterr().out == "alone\n"
        with pytest.raises(DeployError, match=r"cannot reach .* from the host") as forbidden:
            rollout.smoke(world.deployment())
        assert "AllowTcpForwarding" in forbidden.value.why
        assert world.down().outcome == "committed"
    finally:
        end_login(world)


def test_a_shell_that_begins_tmux_is_named_with_the_way_out(world: World, start_up: str) -> None:
    """Issue 13, 14: as Vast.ai's images do it."""
    world.host.write(start_up, TMUX)
    world.web("1")
    for verb in (world.up, world.status):
        with pytest.raises(Unreachable, match="ended without running what was asked") as caught:
            verb()
        assert "open terminal failed: not a terminal" in caught.value.why
        assert "touch ~/.no_auto_tmux" in caught.value.next_step
    world.host.exec(["touch", "/root/.no_auto_tmux"])
    try:
        assert world.up().outcome == "committed"
    finally:
        world.host.exec(["rm", "/root/.no_auto_tmux"])
    world.host.exec(["rm", start_up])
    world.down()


def test_an_account_without_a_home_or_a_name_is_deployed_to(world: World) -> None:
    """Issue 13, 15: a number alone, whose home is not there, in a folder that everybody may add to."""
    world.host.write(
        "/usr/local/bin/become",
        '#!/bin/sh\nexport HOME=/nowhere\nexec setpriv --reuid 4321 --regid 4321 --clear-groups /bin/sh "$@"\n',
        mode=0o755,
    )
    world.host.exec(["usermod", "--shell", "/usr/local/bin/become", "root"])
    try:
        world.path = f"/var/tmp/{world.name}"
        world.web("1")
        assert rollout.plan(world.deployment())[0].plan.steps
        until(lambda: not world.exists(""), "what only looked leaves nothing")
        assert world.up().outcome == "committed"
        assert world.host.exec(["stat", "-c", "%u", world.path]).stdout == "4321\n"
        assert world.version == "1"
        assert rollout.execute(world.deployment(), ["sh", "-c", "exit $(($(id -u) - 4300))"]) == 21
        assert world.down().outcome == "committed"
    finally:
        world.host.exec(["usermod", "--shell", "/bin/bash", "root"])


@pytest.mark.parametrize(
    ("make", "names", "next_step"),
    [
        ('mount -t tmpfs -o noexec,mode=755 tmpfs "$1"', "is mounted noexec, so nothing can be started from", "noexec"),
        ('chmod 700 "$1"', r"lets ann not through \(owner root, mode 0700\)", "chmod o+x"),
    ],
)
def test_a_place_where_nothing_can_be_started_is_refused_before_anything_is_sent(
    world: World, make: str, names: str, next_step: str
) -> None:
    """Issue 13, 15: a noexec path; a folder above it that the service's account doesn't get through."""
    above, world.path = world.path, f"{world.path}/app"
    world.host.exec(["sh", "-ec", f'mkdir "$1"; {make}', "sh", above])
    world.declare({"web": web(world.port, user="ann")})
    with pytest.raises(Refused, match=names) as refused:
        world.up()
    assert next_step in refused.value.next_step
    assert not world.exists("releases") or not world.host.exec(["ls", f"{world.path}/releases"]).stdout
    world.host.exec(["sh", "-c", f"umount {above} 2>/dev/null; true"])


def test_a_folder_above_that_keeps_the_login_out_is_named(world: World) -> None:
    """Issue 13, 15: it was said that the project's folder could not be looked at."""
    above, world.path, world.user = world.path, f"{world.path}/app", "ann"
    world.host.exec(["mkdir", "-m", "700", above])
    world.web("1")
    with pytest.raises(Refused, match=rf"{above} lets ann not through \(owner root, mode 0700\)") as refused:
        world.up()
    assert f"chmod o+x {above}" in refused.value.next_step
