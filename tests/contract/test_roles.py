"""With traffic a new program has the role of the old one: which slot it gets, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from provision.agent.front import program as front_program
from provision.agent.holds import Holds
from provision.agent.passage import Passage
from provision.agent.traffic import front_of
from provision.contract.decide import decide
from provision.contract.host_view import HostView
from provision.contract.layout import Layout
from provision.contract.release import ReleaseDocument
from provision.contract.state import Program, State
from provision.manifests import render_lanes, traffic
from tests.manifests.projects import project

_PORT = 8000


def _document(version: str, **service: Any) -> ReleaseDocument:
    web = {"command": ["web", "${port}"], "port": _PORT, "env": {"VERSION": version}, **service}
    copies = {"web": service["replicas"]} if "replicas" in service else {}
    declared = project({"web": web}, traffic={}).model_copy(update={"copies": copies})
    target = declared.targets["there"]
    lanes = {str(lane): content for lane, content in render_lanes(declared, target, models={}).items()}
    return cast("ReleaseDocument", {"lanes": lanes, "traffic": traffic(declared, target)})


def _state(document: ReleaseDocument, **lanes: str) -> State:
    """A host on which each of these programs has a lane, from release `old`."""
    marks = {each["program"]: each for lane in document["lanes"].values() for each in lane["services"]}
    programs = {
        name: Program(marks[name]["name"], lane, marks[name].get("slot", ""), "old", "1", marks[name]["fingerprint"])
        for name, lane in {"traffic": "stable", **lanes}.items()
    }
    return State(channels=dict.fromkeys({each.lane for each in programs.values()}, "old"), programs=programs)


def _view(state: State, memory: int = 64 << 30, **listening: str) -> HostView:
    seen: Any = {"activity": "running", "pid": 1, "detail": "", "restarts": 0, "memory_bytes": 1 << 20}
    programs = state.programs
    return HostView(
        dict.fromkeys(programs, seen), dict.fromkeys(programs, ""), dict.fromkeys(programs, "1"), listening, memory
    )


def _steps(state: State, channels: Mapping[str, str], view: HostView, **documents: ReleaseDocument) -> list[str]:
    found = decide(state, channels, documents, view, set())
    return [f"{step.do} {step.program} {step.lane} {step.how}".strip() for step in found if step.service == "web"]


@pytest.mark.parametrize(
    ("lanes", "channels", "meant"),
    [
        ({"web": "stable"}, {"stable": "old"}, ["keep web stable"]),
        ({"web": "stable"}, {"stable": "new"}, ["start web.2 stable beside", "remove web stable"]),
        ({"web.2": "stable"}, {"stable": "new"}, ["start web stable beside", "remove web.2 stable"]),
        ({"web": "stable"}, {"stable": "old", "canary": "new"}, ["start web.2 canary in-place", "keep web stable"]),
    ],
)
def test_a_new_program_gets_a_free_slot(lanes: dict[str, str], channels: dict[str, str], meant: list[str]) -> None:
    old, new = _document("1"), _document("2")
    state = _state(old, **lanes)

    assert _steps(state, channels, _view(state), old=old, new=new) == meant


def test_promotion_changes_the_role_and_starts_nothing() -> None:
    old, new = _document("1"), _document("2")
    state = _state(old, **{"web": "stable", "web.2": "canary"})
    mark = new["lanes"]["stable"]["services"][0]["fingerprint"]
    programs = {**state.programs, "web.2": state.programs["web.2"]._replace(release="new", fingerprint=mark)}
    state = state._replace(programs=programs)

    steps = _steps(state, {"stable": "new"}, _view(state), new=new)

    assert steps == ["keep web.2 stable", "remove web stable"]


@pytest.mark.parametrize(
    ("service", "memory", "listening"),
    [
        ({"switch": "in-place"}, 64 << 30, {}),
        ({"resources": {"memory": 8 << 30}}, 4 << 30, {}),
        ({}, 64 << 30, {str(_PORT + 20_000): "somebody"}),
    ],
)
def test_without_room_for_two_it_is_replaced_in_place(
    service: dict[str, Any], memory: int, listening: dict[str, str]
) -> None:
    old, new = _document("1", **service), _document("2", **service)
    state = _state(old, web="stable")

    steps = _steps(state, {"stable": "new"}, _view(state, memory, **listening), new=new)

    assert steps == ["restart web stable in-place"]


def test_of_many_copies_those_that_find_no_slot_are_replaced_in_place() -> None:
    old, new = _document("1", replicas=3), _document("2", replicas=3)
    state = _state(old, **{"web": "stable", "web.2": "stable", "web.3": "stable"})

    assert _steps(state, {"stable": "new"}, _view(state), new=new) == [
        "start web.4 stable beside",
        "start web.5 stable beside",
        "restart web.3 stable in-place",
        "remove web stable",
        "remove web.2 stable",
    ]


def test_requests_come_to_whoever_has_the_role_and_wait_where_nobody_has() -> None:
    document = _document("1")
    document["traffic"]["canary"] = 5
    state = _state(document, **{"web.2": "stable", "web": "canary"})._replace(project="cres")
    place, documents = Layout("/srv/cres"), {"old": document}

    front, away = front_of(place, state, documents), front_of(place, state, documents, {"web.2"})

    assert front is not None
    assert away is not None
    assert [(bind.port, bind.address) for bind in front.binds] == [(_PORT, "127.0.0.1")]
    assert [(each.program, each.port, each.lane, each.state) for each in front.backends[0].servers] == [
        ("web", _PORT + 10_000, "canary", "ready"),
        ("web.2", _PORT + 20_000, "stable", "ready"),
        ("web.3", _PORT + 30_000, "stable", "drain"),
    ]
    assert front.backends[0].shares == (("canary", 500),)
    assert (front.backends[0].held, away.backends[0].held) == (False, True)


@pytest.mark.parametrize(
    ("declared", "mode"),
    [
        ({"check": {"http": "/health"}}, "http"),
        ({"check": {"tcp": "${port}"}, "checks": [{"completion": "/v1/completions"}]}, "http"),
        ({"metrics": {"path": "/metrics"}}, "http"),
        ({"proxy": {"names": ["www.example.net"]}}, "http"),
        ({"check": {"tcp": "${port}"}}, "tcp"),
        ({"check": {"command": ["redis-cli", "ping"]}}, "tcp"),
        ({}, "tcp"),
    ],
)
def test_only_who_declares_http_is_spoken_http_with(declared, mode):
    assert _document("1", **declared)["traffic"]["services"]["web"]["mode"] == mode


def test_without_traffic_no_haproxy_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> None:
        raise AssertionError("HAProxy is asked for")

    monkeypatch.setattr(front_program, "find", ask)
    document = cast("ReleaseDocument", {"lanes": {}})
    before, after = State(channels={"stable": "old"}), State(channels={"stable": "new"})
    documents = {"old": document, "new": document}
    passage = Passage(Layout("/srv/cres"), before, after, documents, ask, ask, ask, Holds())

    assert passage.open() == []
    passage.enter([])
    passage.rest([])
    passage.move()
    passage.end()
