"""Checks in image.toml: what can be written, what is refused, and what the label keeps of it."""

from __future__ import annotations

import tomllib
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.images.build.checks import LABEL, Declared, of_label, parse_check, write
from provision.images.smoke.run import Wanted, all_declared

WRITTEN = [
    ('{ http = "/v1/models" }', Declared("http", "/v1/models"), "http /v1/models"),
    ("{ tcp = 9481 }", Declared("tcp", 9481), "tcp 9481"),
    ('{ command = ["bitnet", "diagnose"] }', Declared("command", ("bitnet", "diagnose")), "command bitnet diagnose"),
    ('{ queue = "rollouts", timeout = "2m" }', Declared("queue", "rollouts", 120.0), "queue rollouts"),
]
REFUSED = [
    ('"http"', "expected a table"),
    ("{}", "expected one of http, tcp, command, queue"),
    ('{ http = "/", tcp = 80 }', "expected one of http, tcp, command, queue"),
    ('{ htp = "/" }', "expected one of http, tcp, command, queue"),
    ('{ http = "v1" }', "http: expected a path"),
    ('{ http = "" }', "http: expected a path"),
    ('{ tcp = "80" }', "tcp: expected a port"),
    ("{ tcp = 0 }", "tcp: expected a port"),
    ("{ tcp = 65536 }", "tcp: expected a port"),
    ("{ tcp = true }", "tcp: expected a port"),
    ("{ command = [] }", "command: expected a list of words"),
    ('{ command = "true" }', "command: expected a list of words"),
    ("{ command = [1] }", "command: expected a list of words"),
    ('{ queue = "" }', "queue: expected the name"),
    ('{ queue = "q", timeout = "soon" }', "queue: timeout: expected a duration"),
]


def parsed(text: str) -> Any:
    return tomllib.loads(f"check = {text}")["check"]


@pytest.mark.parametrize(("text", "meant", "name"), WRITTEN, ids=[name for _, _, name in WRITTEN])
def test_a_check_is_read_and_named_as_evidence_names_it(text: str, meant: Declared, name: str) -> None:
    assert parse_check(parsed(text)) == meant
    assert meant.name == name


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_what_is_no_check_is_refused_with_what_was_expected(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="^checks: .*" + why):
        parse_check(parsed(text))


_CHECKS = st.one_of(
    st.fixed_dictionaries({"http": st.text().map("/".__add__)}),
    st.fixed_dictionaries({"tcp": st.integers(1, 65535)}),
    st.fixed_dictionaries({"command": st.lists(st.text(), min_size=1)}),
    st.fixed_dictionaries({"queue": st.text(min_size=1)}, optional={"timeout": st.sampled_from(["1s", 5, "2m"])}),
)


@given(st.lists(_CHECKS))
def test_the_label_keeps_checks_as_they_were_declared(checks: list[dict[str, Any]]) -> None:
    assert of_label(write(checks)) == [parse_check(check) for check in checks]


@pytest.mark.parametrize("label", ["{", "{}", "[1]", '[{"http": 1}]'])
def test_a_label_of_somebody_else_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        of_label(label)


def test_what_is_asked_for_twice_is_tried_once_with_the_limit_that_the_image_gives_it() -> None:
    image = SimpleNamespace(labels={LABEL: write([{"queue": "rollouts", "timeout": "2m"}])})
    wanted = Wanted(checks=[Declared("tcp", 80), Declared("queue", "rollouts")])

    assert all_declared(cast(Any, image), wanted) == [Declared("queue", "rollouts", 120.0), Declared("tcp", 80)]
