"""A worker that is killed at any step of its journal leaves what the boot hook puts in order."""

from __future__ import annotations

import pytest

from tests.faults.supervisors import judge, killed_at
from tests.faults.trial import Kill, Trial

pytestmark = pytest.mark.root

_RENAME = "?rename,?renameat,?renameat2"
_SYMLINK = "?symlink,?symlinkat"
_UNLINK = "?unlink,?unlinkat"
_JOURNAL = ("{private}/journal",)

# What it is killed at: the call, and where it matters how far the journal got.
FORWARD = {
    "staging a launch folder": (Kill("?mkdir,?mkdirat", 2), None),
    "beginning the journal": (Kill(_RENAME, 1, ("{private}/.journal.new",)), None),
    "having begun the journal": (Kill(_SYMLINK, 1, ("{candidate}/.current.new",)), ["begin"]),
    "describing the candidate": (Kill(_RENAME, 1, ("{folder}/.{candidate_manifest}.new",)), ["begin"]),
    "dropping the proven candidate": (Kill(_UNLINK, 1, ("{folder}/{candidate_manifest}",)), ["begin"]),
    "announcing what is touched": (Kill("write", 1, _JOURNAL), ["begin"]),
    "having announced it": (Kill("fsync", 1, _JOURNAL), ["begin", "touch"]),
    "switching a launcher": (Kill(_RENAME, 1, ("{web}/.current.new",)), ["begin", "touch"]),
    "writing a manifest": (Kill(_RENAME, 1, ("{folder}/.{manifest}.new",)), ["begin", "touch"]),
    "announcing the next level": (Kill("write", 2, _JOURNAL), ["begin", "touch"]),
}
COMMITTING = {
    "having committed": Kill(_SYMLINK, 1, ("{root}/.stable.new",)),
    "switching stable": Kill(_RENAME, 1, ("{root}/.stable.new",)),
    "writing history": Kill(_RENAME, 1, ("{private}/history/.{next}.json.new",)),
    "writing the state": Kill(_RENAME, 1, ("{private}/.state.json.new",)),
    "ending the journal": Kill(_UNLINK, 1, _JOURNAL),
}
BACK = {
    "giving the reserve back": Kill(_UNLINK, 1, ("{private}/reserve",)),
    "announcing the way back": Kill("write", 3, _JOURNAL),
    "switching a launcher back": Kill(_RENAME, 2, ("{web}/.current.new",)),
    "ending the journal": Kill(_UNLINK, 1, _JOURNAL),
}


@pytest.mark.sampled
@pytest.mark.parametrize("step", FORWARD)
def test_killed_before_the_proof_is_complete_the_old_version_serves(trial: Trial, step: str) -> None:
    old, (kill, journal) = trial.version, FORWARD[step]

    seen = trial.kill(trial.other, kill.request(trial.place()))

    assert seen["killed"]
    assert seen["broken"]["journal"] == journal
    trial.assert_safe(seen["broken"], proven={old})
    trial.assert_whole(seen["after"], old)


@pytest.mark.sampled
@pytest.mark.parametrize("step", COMMITTING)
def test_killed_after_the_proof_the_new_version_serves(trial: Trial, step: str) -> None:
    new = trial.other

    seen = trial.kill(new, COMMITTING[step].request(trial.place()))

    assert seen["killed"]
    assert seen["broken"]["journal"][-1] == "commit"
    trial.assert_safe(seen["broken"], proven={"1", "2"})
    trial.assert_whole(seen["after"], new)


@pytest.mark.sampled
@pytest.mark.parametrize("step", BACK)
def test_killed_on_its_way_back_it_goes_on_from_there(trial: Trial, step: str) -> None:
    old, new = trial.version, trial.other
    trial.fail(new)
    try:
        seen = trial.kill(new, BACK[step].request(trial.place()))
    finally:
        trial.fail(new, really=False)

    assert seen["killed"]
    trial.assert_safe(seen["broken"], proven={old})
    trial.assert_whole(seen["after"], old)


def test_killed_after_a_service_went_it_is_back(trial: Trial) -> None:
    trial.go("2")

    seen = trial.kill("1", Kill("write", 4, _JOURNAL).request(trial.place()))  # the line that says it is proven

    assert seen["killed"]
    assert "commit" in seen["call"]
    trial.assert_safe(seen["broken"], proven={"2"})
    trial.assert_whole(seen["after"], "2")


@pytest.mark.everywhere
def test_a_supervisor_that_is_killed_in_the_middle_leaves_nothing_unproven(trial: Trial) -> None:
    """Hole 7: supervisord was killed, and what was being proven kept serving. Other steps: test_supervisor_killed."""
    old, new = trial.version, trial.other

    seen = killed_at(trial, FORWARD["announcing the next level"][0])

    # systemd forgets nothing when it starts anew, so that the new release is proven after all.
    judge(trial, seen, proven={old, new} if seen["events"][-1].get("outcome") == "committed" else {old})
