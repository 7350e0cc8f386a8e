"""Whoever speaks with clients has no rights, where root starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.agent.front.account import Account, account
from provision.agent.front.listening import Log
from provision.agent.front.values import Front
from tests.agent.front.stand import PATIENCE, Crowd, Stand
from tests.faults.hooks import until

pytestmark = pytest.mark.root


def _whom() -> Account:
    found = account()
    assert found is not None
    return found


def _dropped(front: Front) -> Front:
    return front._replace(user=_whom().user, group=_whom().group, log=True)


def _status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def _demand_it_has_nothing(stand: Stand) -> None:
    status, whom = _status(stand.worker()), _whom()
    assert set(status["Uid"]) == {str(whom.uid)}
    assert set(status["Gid"]) == {str(whom.gid)}
    assert not {"0", "1"} & set(status["Groups"])
    assert int(status["CapEff"][0], 16) == int(status["CapPrm"][0], 16) == 0
    assert Path(f"/proc/{stand.worker()}/root").samefile(stand.folder)


def test_a_worker_is_nobody_and_sees_its_folder_alone_and_a_reload_loses_no_request(stand: Stand) -> None:
    stand.start("a", "b")
    first, second = (_dropped(stand.front(stand.server(name))) for name in "ab")
    with Log(str(stand.folder)) as listening:
        stand.serve(first)
        _demand_it_has_nothing(stand)
        before = stand.worker()

        with Crowd(stand) as crowd:
            stand.runtime.become(second)
            until(lambda: stand.get().program == "b", "the other one answers", PATIENCE)
            crowd.more()

        assert not crowd.failed
        assert stand.worker() != before
        _demand_it_has_nothing(stand)
        until(lambda: any(line.program == "b" for line in listening.served(0.05)), "it tells of requests", PATIENCE)


def test_one_that_served_as_root_becomes_nobody_with_a_reload(stand: Stand) -> None:
    stand.start("a")
    stand.serve(stand.front(stand.server("a")))
    assert _status(stand.worker())["Uid"][0] == "0"

    with Crowd(stand) as crowd:
        stand.runtime.become(_dropped(stand.front(stand.server("a"))))
        crowd.more()

    assert not crowd.failed
    _demand_it_has_nothing(stand)


def test_nobody_else_can_reach_what_root_keeps_in_the_folder(stand: Stand) -> None:
    stand.start("a")
    stand.serve(_dropped(stand.front(stand.server("a"))))

    assert stand.folder.stat().st_mode & 0o777 == 0o710
    for path in stand.folder.iterdir():
        if path.name not in ("said", "haproxy.pid"):
            assert path.stat().st_mode & 0o077 == 0, path
