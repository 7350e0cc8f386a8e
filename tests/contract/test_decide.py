"""Decisions are values: they change nothing that they are given."""

from __future__ import annotations

from typing import Any, cast

from provision.contract.decide import Room, decide
from provision.contract.host_view import HostView
from provision.contract.release import ReleaseDocument, ServiceDocument
from provision.contract.state import Program, State
from provision.contract.steps import Do, How, Step

_GIB = 1 << 30


def _service(name: str, lane: str, port: int, gib: int) -> ServiceDocument:
    """As much of a service as decisions go by."""
    service = {
        "name": name,
        "program": name if lane == "stable" else f"{name}.{lane}",
        "fingerprint": "new",
        "on_demand": False,
        "secrets": [],
        "ports": [port],
        "after": [],
        "switch": "auto",
        "needs": {"memory_bytes": gib * _GIB, "vram_bytes": 0, "cpus": 0.0},
    }
    return cast(ServiceDocument, service)


def _document(gib: int) -> ReleaseDocument:
    lanes = {
        lane: {"checks": [], "services": [_service(name, lane, port + at, gib) for name, port in _PORTS.items()]}
        for at, lane in enumerate(("stable", "canary", "candidate"))
    }
    return cast(ReleaseDocument, {"lanes": lanes})


_PORTS = {"api": 8000, "web": 9000}
_STATE = State(
    channels={"stable": "old"},
    programs={name: Program(name, "stable", "", "old", "1-a", "old", manifest=f"{name}.conf") for name in _PORTS},
)


def _view(gib: int) -> HostView:
    seen: dict[str, Any] = {"activity": "running", "pid": 7, "detail": "", "restarts": 0, "memory_bytes": 0}
    return HostView(
        programs=dict.fromkeys(_PORTS, seen),
        manifests=dict.fromkeys(_PORTS, ""),
        launches=dict.fromkeys(_PORTS, "1-a"),
        listening={},
        memory_available=gib * _GIB,
    )


def test_second_copies_that_have_room_one_by_one_and_not_together_are_told_apart() -> None:
    steps = decide(_STATE, {"stable": "new"}, {"new": _document(4)}, _view(6), set())

    assert [(step.program, step.do, step.how) for step in steps] == [
        ("api", Do.RESTART, How.BESIDE),
        ("web", Do.RESTART, How.IN_PLACE),
    ]
    assert steps[1].why == "changed; 4096 MiB for a second copy are not free"


def test_the_same_question_has_the_same_answer_twice() -> None:
    asked = (_STATE, {"stable": "new"}, {"new": _document(4)}, _view(6), set[str]())

    assert decide(*asked) == decide(*asked)


def test_room_that_is_taken_leaves_the_room_before_it_as_it_was() -> None:
    room = Room(8 * _GIB, None)

    assert room.without(3 * _GIB, 0) == Room(5 * _GIB, None)
    assert room == Room(8 * _GIB, None)


def test_a_step_travels_as_words() -> None:
    step = Step("api", "api", "stable", "", Do.RESTART, How.BESIDE, "changed")

    assert step.as_dict() == {
        "program": "api",
        "service": "api",
        "lane": "stable",
        "do": "restart",
        "how": "beside",
        "why": "changed",
    }
