"""What is said where a pod's lines can't be read: by the real command line, of a real API server that fails."""

from __future__ import annotations

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import Answer, Fault, FaultyApi, Request

pytestmark = pytest.mark.slow


# What the API server answers, whether lines are followed; the exit status, and what is said.
ANSWERS: list[tuple[Answer, bool, int, str]] = [
    (Answer(401, "Unauthorized"), True, 4, "does not know who asks"),
    (Answer(401, "Unauthorized"), False, 4, "does not know who asks"),
    # A node that does not answer: the lines of other pods are shown nevertheless.
    (Answer(500, "InternalError"), True, 0, "reading what Pod web-"),
    (Answer(500, "InternalError"), False, 0, "reading what Pod web-"),
    (Answer(400, "BadRequest"), False, 0, "nothing was written"),  # it waits to start
]


def test_lines_that_cannot_be_read_are_said_to_be(small: Declared, faulty: FaultyApi) -> None:
    faulty.reach(small.kubeconfig)
    small.ok("up")
    for answer, follows, status, said in ANSWERS:

        def plan(request: Request, answer: Answer = answer) -> Fault | None:
            return answer if "/log?" in request.path else None

        faulty.plan = plan
        done = small.run("logs", *(["--follow"] if follows else []))
        assert done.returncode == status, (answer, done.stderr)
        assert said in done.stdout + done.stderr, answer


def test_a_server_that_goes_away_while_lines_are_followed_is_said_to(small: Declared, faulty: FaultyApi) -> None:
    faulty.reach(small.kubeconfig)
    small.ok("up")
    faulty.plan = lambda request: Answer(200, body="a line\n", short=True) if "/log?" in request.path else None

    done = small.run("logs", "--follow")

    assert done.returncode != 0
    assert "does not answer" in done.stderr
