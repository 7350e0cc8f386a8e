"""A step's time is what the host was up for: no clock that is set ends it or stretches it, and a reboot goes on."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from provision.agent.analysis import Move
from provision.agent.front.log import Served
from provision.agent.keeper.clock import StepClock
from provision.agent.keeper.judging import Judging
from provision.contract import rollout
from provision.contract.layout import Layout
from provision.contract.rollout import RolloutAsked, RolloutRecord

HOUR = 3600.0
ASKED: RolloutAsked = {
    "document": {"steps": [0.5, 1.0], "each": 600.0, "at_most": 900.0, "undecided": "hold", "abort": {}},
    "evidence": False,
}


class Host:
    """Its clocks, and its keeper."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(str(folder))
        (folder / ".deploy" / "traffic").mkdir(parents=True)
        self.wall, self.steady, self.boot = 1_000_000.0, 5_000.0, "first"
        begun = rollout.dated(rollout.begun(ASKED, "t1", "n" * 64, "ann", 3), self.wall)
        self.record = cast("RolloutRecord", {**begun, "services": ["web"]})
        self.start()

    def start(self) -> None:
        """A keeper comes."""
        clock = StepClock(lambda: self.wall, lambda: self.steady, lambda: self.boot)
        self.judging = Judging(self.layout, clock)
        self.judging.become(self.record)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def reboot(self, seconds: float) -> None:
        self.wall += seconds
        self.steady, self.boot = 40.0, "second"
        self.start()

    def move(self) -> Move:
        decision = self.judging.judge()
        assert decision is not None
        return decision.move

    def counts(self, at: float) -> bool:
        """Whether a request that came then is one of the step's."""
        lane = self.judging._seen["web"].canary
        before = lane.requests
        self.judging.count(Served(at, "web", "web", "canary", 200, 0.1, 0.1, 1, moved=False, broken=False))
        return lane.requests > before


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("by", [HOUR, -HOUR, 365 * 24 * HOUR])
def test_a_clock_that_is_set_neither_ends_a_step_nor_stretches_it(host: Host, by: float) -> None:
    before = host.wall - 1
    host.passes(300)
    host.wall += by
    assert (host.move(), host.judging.seconds) == (Move.WAIT, 300)
    assert host.counts(host.wall)
    assert host.counts(host.wall - 299)
    assert not host.counts(before + by)  # who came before the step began
    host.passes(299)
    assert host.move() is Move.WAIT
    host.passes(1)
    assert host.move() is Move.ADVANCE


@pytest.mark.parametrize("by", [60.0, 12 * HOUR, -HOUR])
def test_a_reboot_goes_on_where_it_was_whatever_the_clock_says_then(host: Host, by: float) -> None:
    host.passes(300)
    assert host.counts(host.wall)
    host.judging.flush()
    host.passes(4)  # which nobody has written down
    host.reboot(by)

    assert (host.move(), host.judging.seconds) == (Move.WAIT, 300)
    assert host.judging._seen["web"].canary.requests == 1
    assert host.counts(host.wall)
    host.judging.flush()
    host.start()  # and it is killed besides
    host.passes(300)
    assert host.move() is Move.ADVANCE


def test_the_host_ran_on_while_no_keeper_was_there(host: Host) -> None:
    host.passes(300)
    host.judging.flush()
    host.passes(200)
    host.wall -= HOUR
    host.start()
    assert host.judging.seconds == 500
    assert host.counts(host.wall)
    assert not host.counts(host.wall - 501)


def test_what_is_paused_stands_still(host: Host) -> None:
    host.passes(300)
    host.record = rollout.turned(host.record, rollout.PAUSED, "", host.wall)
    host.judging.become(host.record)
    host.passes(HOUR)
    host.judging.flush()
    host.start()
    host.passes(HOUR)
    host.record = rollout.turned(host.record, rollout.RUNNING, "", host.wall)
    host.judging.become(host.record)
    host.passes(10)
    assert host.judging.seconds == 310


def test_each_step_has_its_own_time(host: Host) -> None:
    host.passes(700)
    host.judging.flush()
    host.record = rollout.dated(rollout.advanced(host.record, "fine"), host.wall)
    host.judging.become(host.record)
    host.passes(20)
    assert host.judging.seconds == 20


def test_a_step_that_an_earlier_version_judged_goes_on_by_the_clock_that_it_had(host: Host) -> None:
    host.passes(250)
    host.start()  # and nothing was written down
    assert host.judging.seconds == 250
