"""Who may read what programs write on a host where that is kept in files."""

from __future__ import annotations

import pytest

from tests.deploy.world import World, web
from tests.faults.hooks import until

pytestmark = pytest.mark.root

_RENEW = 'mv "$1" "$1.1" && kill -USR2 "$(cat /run/supervisord.pid)"'  # as supervisord does when one is full


@pytest.fixture
def platform() -> str:
    return "supervisord"  # the journals of the others have rights of their own


def readers(world: World, path: str) -> set[str]:
    accounts = ("root", "www-data", "ann", "daemon")
    as_account = ["setpriv", "--clear-groups", "--regid=nogroup"]
    tried = {
        account: world.host.exec([*as_account, f"--reuid={account}", "cat", path], check=False) for account in accounts
    }
    return {account for account, done in tried.items() if done.returncode == 0}


def test_logs_are_read_by_the_services_accounts_and_ours_alone(world: World) -> None:
    """Issue 13, 4: 0644 in a folder for all; also the next one when one is full, and those of earlier versions."""
    world.declare({"web": web(world.port, user="www-data")})
    world.up()
    log = f"{world.path}/shared/logs/{world.program('web')}.log"
    assert readers(world, log) == {"root", "www-data"}
    assert world.host.exec(["stat", "-c", "%a", f"{world.path}/.deploy"]).stdout == "711\n"

    world.host.exec(["sh", "-c", _RENEW, "sh", log])
    until(lambda: world.host.exec(["test", "-e", log], check=False).returncode == 0, "it goes on in a new one")
    assert readers(world, log) == {"root", "www-data"}

    world.host.exec(["chmod", "0644", log])
    world.host.exec(["chmod", "0755", f"{world.path}/.deploy"])
    world.declare({"web": web(world.port, "2")})
    world.up()
    assert readers(world, log) == {"root"}
    assert world.host.exec(["stat", "-c", "%a", f"{world.path}/.deploy"]).stdout == "711\n"
