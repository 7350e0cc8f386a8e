"""A program stays in its slot; a lane is what it is for now. Places of earlier versions are read that way."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from provision.contract import slots
from provision.contract.decide import decide
from provision.contract.failure import NewerHost, check_format
from provision.contract.release import ReleaseDocument
from provision.contract.state import Program, State, from_dict
from provision.contract.steps import Do
from provision.manifests import render_lanes
from provision.project.service import Lane
from tests.contract.test_decide import _document, _view
from tests.manifests.projects import project

# A state as a version wrote it that knew no slots.
_EARLIER: dict[str, Any] = {
    "format": 1,
    "generation": 7,
    "sequence": 9,
    "platform": "supervisord",
    "channels": {"stable": "a" * 64, "canary": "b" * 64},
    "programs": {
        name: {
            "service": "api",
            "lane": lane,
            "release": release * 64,
            "launch": "7-0123456789ab",
            "fingerprint": "f",
            "on_demand": False,
            "manifest": f"app.{name}.conf",
            "manifest_sha256": "m",
            "secrets": {"TOKEN": "1"},
        }
        for name, lane, release in (("api", "stable", "a"), ("api.canary", "canary", "b"))
    },
    "secrets": {"TOKEN": "1"},
    "version": "0.1",
    "project": "app",
}


@pytest.mark.parametrize(
    ("plain", "slot", "name"), [("api", slots.FIRST, "api"), ("api", "2", "api.2"), ("api", "canary", "api.canary")]
)
def test_the_first_slot_keeps_the_plain_name(plain: str, slot: str, name: str) -> None:
    assert slots.named(plain, slot) == name


def test_the_names_that_hosts_have_are_read_as_slots() -> None:
    state = from_dict(cast(Any, _EARLIER))

    assert {name: slots.named("api", program.slot) for name, program in state.programs.items()} == {
        "api": "api",
        "api.canary": "api.canary",
    }
    assert state.having("stable", "api") == "api"
    assert state.having("canary", "api") == "api.canary"


def test_a_state_in_which_lanes_are_at_home_is_written_as_earlier_versions_read_it() -> None:
    assert json.loads(json.dumps(from_dict(cast(Any, _EARLIER)).as_dict())) == _EARLIER


def test_a_state_in_which_a_lane_has_moved_is_read_back_and_refused_by_what_knows_no_slots() -> None:
    moved = State(programs={"api.2": Program("api", "stable", "2", "r", "1-a", "f")})

    written = moved.as_dict()

    assert from_dict(written).programs == moved.programs
    assert from_dict(written).having("stable", "api") == "api.2"
    with pytest.raises(NewerHost):
        check_format(written, "the state")


def test_what_a_release_describes_is_found_by_slot() -> None:
    document = _document(1)

    found = {slot: slots.services_in(document, slot)[0]["program"] for slot in ("", "canary", "candidate")}

    assert found == {"": "api", "canary": "api.canary", "candidate": "api.candidate"}
    assert slots.services_in(document, "2") == []


def test_a_canary_proves_by_its_lane_whatever_it_is_called() -> None:
    document = cast(ReleaseDocument, _document(1))
    records = {
        "api": Program("api", "stable", "", "old", "1-a", "old"),
        "web": Program("web", "stable", "", "new", "1-a", "new"),
        "api.2": Program("api", "canary", "2", "new", "1-a", "new"),
    }
    view = _view(64)
    seen = {**view.programs, "api.2": view.programs["api"]}
    view = view._replace(programs=seen, manifests=dict.fromkeys(records, ""), launches=dict.fromkeys(records, "1-a"))

    steps = decide(State(programs=records), {"stable": "new"}, {"new": document}, view, set())

    assert steps[0].why == "changed; its canary proves it"
    assert [(step.program, step.do) for step in steps] == [
        ("api", Do.RESTART),
        ("web", Do.KEEP),
        ("api.2", Do.REMOVE),
    ]


def test_a_service_has_one_fingerprint_in_every_slot() -> None:
    declared = project({"web": {"command": ["web", "${port}"], "port": 8000}})
    lanes = render_lanes(declared, declared.targets["there"], models={}, contents={})

    marks = {lane: lanes[lane]["services"][0]["fingerprint"] for lane in Lane}

    assert len(set(marks.values())) == 1
    assert len({lanes[lane]["services"][0]["program"] for lane in Lane}) == len(Lane)
