"""Machines behind one front: which place each has, and who is asked."""

from __future__ import annotations

from typing import Any

import pytest

from provision.contract.failure import Failure
from provision.contract.peers import PeerDocument, changed

_FRONT: Any = {
    "services": {"web": {"port": 8000, "behind": "gpu"}, "api": {"port": 9000}},
    "behind": {"gpu": {"name": "gpu.shop.internal", "places": 3, "repeat": False}},
}


def machine(host: str) -> Any:
    return {"host": host, "address": "10.0.0.1", "ports": {"web": 8000}, "certificate": f"of {host}"}


def told(before: dict[str, PeerDocument], **asked: Any) -> dict[str, PeerDocument]:
    nothing: dict[str, Any] = {"services": ["web"], "enter": [], "drain": [], "rest": [], "leave": []}
    return changed(before, {"op": "peers", "target": "gpu", **nothing, **asked}, _FRONT)


def takes(peers: dict[str, PeerDocument]) -> dict[str, tuple[str, bool]]:
    return {place: (each["host"], each["takes"]) for place, each in peers.items()}


def test_a_machine_keeps_its_place_and_another_gets_a_free_one() -> None:
    peers = told({}, enter=[machine("a"), machine("b")])
    assert takes(peers) == {"gpu.1": ("a", True), "gpu.2": ("b", True)}
    assert takes(told(peers, enter=[machine("b")])) == takes(peers)
    peers = told(peers, leave=["a"], enter=[machine("c")])
    assert takes(peers) == {"gpu.1": ("c", True), "gpu.2": ("b", True)}
    assert peers["gpu.1"]["certificate"] == "of c"


def test_the_last_one_that_takes_requests_goes_on_where_it_is_only_replaced() -> None:
    peers = told({}, enter=[machine("a"), machine("b")])
    peers = told(peers, drain=["a"])
    assert takes(peers) == {"gpu.1": ("a", False), "gpu.2": ("b", True)}
    assert takes(told(peers, drain=["b"])) == takes(peers)
    assert takes(told(peers, rest=["b"]))["gpu.2"] == ("b", False)


def test_one_of_whose_services_the_others_run_none_goes_on_too() -> None:
    both = {**machine("a"), "ports": {"web": 8000, "llm": 9000}}
    peers = told({}, enter=[both, machine("b")])
    assert takes(told(peers, drain=["a"])) == takes(peers)
    assert takes(told(peers, drain=["b"]))["gpu.2"] == ("b", False)


def test_who_is_not_there_any_more_is_known_no_more_and_other_targets_are_left_alone() -> None:
    others: Any = {"cpu.1": {**machine("z"), "takes": True}}
    peers = told(others, enter=[machine("a"), machine("b")])
    assert set(told(peers, only=["b"])) == {"cpu.1", "gpu.2"}
    assert set(told(peers, only=[])) == {"cpu.1"}


def test_without_a_free_place_one_that_takes_nothing_gives_its_own() -> None:
    peers = told({}, enter=[machine(each) for each in "abc"])
    with pytest.raises(Failure, match="all 3 places") as refused:
        told(peers, enter=[machine("d")])
    assert refused.value.next_step == "deploy machine watch --once --target gpu"
    assert takes(told(told(peers, drain=["b"]), enter=[machine("d")]))["gpu.2"] == ("d", True)


@pytest.mark.parametrize("services", [["llm"], ["api"]], ids=["unknown", "its own"])
def test_a_release_of_before_leads_nowhere(services: list[str]) -> None:
    with pytest.raises(Failure, match="knows nothing of these machines"):
        told({}, services=services)
