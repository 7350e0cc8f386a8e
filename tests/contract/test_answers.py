"""What a host sends is parsed once; what does not fit is said with its host, what was asked, and how it begins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provision.contract.answers import Facts, Logs, Transacted, Unlocked
from provision.errors import DeployError
from provision.hosts.round_trips import RoundTrips
from provision.targets.answers import Misfit, Told, answer
from provision.targets.conversation import Conversation

_STEP = {"event": "step", "step": "start", "program": "web", "detail": ""}

_FIT: list[tuple[Any, Any]] = [
    (Logs, {"event": "result", "logs": {"web": ["a", "b"]}, "untimed": []}),
    (Logs, {"event": "result", "logs": {}, "untimed": [], "of a later version": 1}),
    (Unlocked, {"event": "result", "holder": None, "outcome": "nothing to recover"}),
    (Unlocked, {"event": "result", "holder": {"who": "me", "pid": 7}, "outcome": "held"}),
    (Facts, {"event": "result"}),
    (Told, _STEP),
    (Told, {"event": "recovered", "outcome": None}),
    (Told, {"event": "error", "kind": "failed", "what": "no.", "why": "", "next": "", "log": ["last words"]}),
    (
        Told,
        {
            "event": "check",
            "program": "",
            "check": "http",
            "passed": True,
            "seconds": 1,
            "attempts": [["passed", 2]],
            "facts": {"status": 200},
        },
    ),
]

_MISFIT: list[tuple[Any, Any]] = [
    (Logs, {"event": "result"}),
    (Logs, {"event": "result", "logs": "a", "untimed": []}),
    (Logs, {"event": "result", "logs": {"web": [1]}, "untimed": []}),
    (Transacted, {"event": "result", "outcome": True}),
    (Transacted, {"event": "result", "outcome": "committed", "generation": "7"}),
    (Unlocked, {"event": "result", "holder": {"pid": "7"}, "outcome": "held"}),
    (Facts, {"event": "result", "host": {}}),
    (Told, 42),
    (Told, None),
    (Told, []),
    (Told, {}),
    (Told, {"event": "stop"}),
    (Told, {**_STEP, "program": None}),
    (Told, {"event": "error"}),
]


@pytest.mark.parametrize(("expected", "said"), _FIT)
def test_what_fits_is_taken_as_it_is(expected: Any, said: Any) -> None:
    assert answer(said, expected) is said


@pytest.mark.parametrize(("expected", "said"), _MISFIT)
def test_what_does_not_fit_is_refused(expected: Any, said: Any) -> None:
    with pytest.raises(Misfit):
        answer(said, expected)


class _Channel:
    """A host that says what it is told to say."""

    def __init__(self, *lines: str) -> None:
        self._lines = list(lines)

    def send_line(self, line: bytes) -> None:
        pass

    def read_line(self, seconds: float) -> bytes | None:
        return self._lines.pop(0).encode() if self._lines else None

    def close(self) -> None:
        pass


class _Host:
    name = "gpu-03"

    def __init__(self, *lines: str) -> None:
        self.round_trips = RoundTrips()
        self._lines = lines

    def session(self, command: list[str]) -> _Channel:
        return _Channel(*self._lines)


def _conversation(*lines: str) -> Conversation:
    return Conversation(_Host(*lines), "/srv/app", who="me", project="app", on_event=lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    ["42", '"hello"', "null", "[1, 2]", '{"logs": {}}', '{"event": "result", "logs": 7}', json.dumps(["x" * 500])],
)
def test_a_host_that_answers_something_else_is_named_with_what_it_said(said: str) -> None:
    with pytest.raises(DeployError, match=r"^gpu-03: the host answered something else\.") as raised:
        _conversation(said).ask({"op": "unlock", "yes": False}, Logs)  # type: ignore[type-var,unused-ignore]

    assert f"To 'unlock' it said: {said[:80]}" in raised.value.why
    assert len(raised.value.why) <= len("To 'unlock' it said: ") + 80


def test_words_of_a_start_up_file_are_no_answer() -> None:
    conversation = _conversation(
        "Welcome to gpu-03!", "", '{"event": "alive"}', '{"event": "result", "logs": {"web": ["ok"]}, "untimed": []}'
    )

    answered = conversation.ask({"op": "unlock", "yes": False}, Logs)

    assert answered["logs"] == {"web": ["ok"]}
