"""What a pod says of itself, and whether waiting helps."""

import pytest

from provision.cluster.early import Early
from provision.cluster.objects import Node
from provision.cluster.standing import hopeless

_BUSY = 'failed to reserve container name "web"; check if another CreateContainer request is in progress: name "web"'


@pytest.mark.parametrize(
    ("reason", "message", "helps"),
    [
        ("ContainerCreating", "", True),
        ("CreateContainerError", "context deadline exceeded", True),
        ("CreateContainerError", _BUSY, True),
        ("CreateContainerError", "no command specified", False),
        ("ImagePullBackOff", "Back-off pulling image: context deadline exceeded", False),
        ("CrashLoopBackOff", "back-off 10s restarting failed container", False),
    ],
)
def test_a_pod_is_given_up_on_where_waiting_does_not_help(reason: str, message: str, helps: bool) -> None:
    """A slow disk, on which a large image is unpacked, is waited for; its deadline is the Deployment's."""
    waiting = {"state": {"waiting": {"reason": reason, "message": message}}}

    assert (hopeless({"status": {"containerStatuses": [waiting]}}) == "") is helps


def worker(restarted: int, state: str = "waiting") -> Node:
    """A pod of a program that has ended, or runs, after so many runs."""
    shown = {"reason": "CrashLoopBackOff"} if state == "waiting" else {}
    status = {"restartCount": restarted, "state": {state: shown}}
    return {"metadata": {"uid": "worker"}, "status": {"containerStatuses": [status]}}


@pytest.mark.parametrize(
    ("looks", "stuck"),
    [
        # What its one dependency was at each look, and which run of the program had ended.
        ([("starting", 0)], False),
        ([("starting", 0), ("ready", 0)], False),
        ([("starting", 0), ("ready", 0), ("ready", 1)], True),
        ([("starting", 3), ("ready", 3), ("ready", 4)], True),
        ([("ready", 0)], True),
        ([("ready", 7)], True),
        ([("ready", 0), ("starting", 0)], False),
    ],
)
def test_a_crash_counts_once_all_that_a_program_comes_after_was_ready(
    looks: list[tuple[str, int]], stuck: bool
) -> None:
    early = Early()

    for other, run in looks:
        is_early = early.judge(["redis"] if other == "starting" else [])(worker(run))
        said = hopeless(worker(run), is_early=is_early)

    assert (said != "") is stuck


def test_a_run_that_began_before_is_not_counted_where_it_ends_later() -> None:
    """It may have read that nobody answers just before somebody did."""
    early = Early()

    early.judge(["redis"])(worker(1, "running"))

    assert early.judge([])(worker(1))
    assert not early.judge([])(worker(2))


def test_only_a_crash_is_early() -> None:
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff"}}}

    assert hopeless({"status": {"containerStatuses": [waiting]}}, is_early=True)
