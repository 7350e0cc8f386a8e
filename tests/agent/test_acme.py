"""When a host asks for a certificate, and what it says where it got none."""

from __future__ import annotations

import pytest

from provision.contract import acme
from provision.contract.acme import Tried
from provision.contract.release import AcmeDocument

_DAY = 86_400.0
_AT = "https://ca.example.net/dir"
_DECLARED = AcmeDocument(directory=_AT, email="", ca="", names={"web": ["b", "a"]})
_GIVEN = acme.given(["a", "b"], _AT, 0.0, 90 * _DAY)


def _is_due(last: Tried | None, day: float, release: str = "r") -> bool:
    return acme.is_due(last, _DECLARED, "web", release, day * _DAY)


def test_a_certificate_is_asked_for_once_and_again_when_a_third_of_its_life_is_left() -> None:
    assert _is_due(None, 1)
    assert not _is_due(_GIVEN, 1)
    assert not _is_due(_GIVEN, 59.9)
    assert _is_due(_GIVEN, 60)


@pytest.mark.parametrize("other", [{"names": ["a"]}, {"directory": "https://other.example.net/dir"}])
def test_other_names_or_another_authority_are_asked_for_at_once(other: Tried) -> None:
    assert _is_due({**_GIVEN, **other}, 1)


def test_after_a_failure_it_waits_longer_each_time_and_a_new_release_is_tried_at_once() -> None:
    last, waits = None, []
    for _ in range(20):
        last = acme.refused(last, ["a", "b"], "r", "no address.", 0.0)
        waits.append(last["again"])
    assert waits[:4] == [300, 600, 1200, 2400]
    assert waits[-1] == 12 * 3600
    assert last
    assert not _is_due(last, 0.49)
    assert _is_due(last, 0.5)
    assert _is_due(last, 0, release="other")


def test_a_renewal_that_fails_keeps_what_is_there_and_is_told() -> None:
    failed = acme.refused(_GIVEN, ["a", "b"], "r", "no address.", 60 * _DAY)
    assert (failed["until"], failed["names"]) == (90 * _DAY, ["a", "b"])
    assert not _is_due(failed, 60)
    assert _is_due(failed, 61)
    told = acme.complaints({"web": failed, "fine": _GIVEN})
    assert told == {"web": "no certificate was given for a, b: no address. It is asked for again after 00:05 UTC"}
