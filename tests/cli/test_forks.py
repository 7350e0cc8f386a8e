"""Whose code a run of GitHub Actions works for."""

from __future__ import annotations

import json

import pytest

from provision.cli.github.forks import is_fork, refuse_fork
from provision.errors import Exit, Refused

OURS, THEIRS = {"id": 1, "full_name": "acme/shop"}, {"id": 2, "full_name": "eve/shop", "fork": True}


def pull(head):
    return {"pull_request": {"number": 7, "head": {"repo": head}, "base": {"repo": OURS}}}


CASES = {
    "a branch of ours": ("pull_request", pull(OURS), False),
    "a fork": ("pull_request", pull(THEIRS), True),
    "a fork, with the secrets of the base": ("pull_request_target", pull(THEIRS), True),
    "a fork that was reviewed": ("pull_request_review", pull(THEIRS), True),
    "a fork that was removed": ("pull_request", pull(None), True),
    "a project that is a fork itself": ("pull_request", pull({**OURS, "fork": True}), False),
    "repositories without ids": ("pull_request", {"pull_request": {"head": {"repo": {}}, "base": {"repo": {}}}}, True),
    "an event that is no object": ("pull_request", ["pull_request"], True),
    "after a run of ours": ("workflow_run", {"workflow_run": {"head_repository": OURS}, "repository": OURS}, False),
    "after a run of a fork": ("workflow_run", {"workflow_run": {"head_repository": THEIRS}, "repository": OURS}, True),
    "a comment on a pull request": ("issue_comment", {"issue": {"number": 7, "pull_request": {}}}, True),
    "a comment on an issue": ("issue_comment", {"issue": {"number": 7}}, False),
    "a push": ("push", {"repository": OURS}, False),
}


def environ(tmp_path, name, said):
    file = tmp_path / "event.json"
    file.write_text(said if isinstance(said, str) else json.dumps(said))
    return {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(file)}


@pytest.mark.parametrize(("name", "said", "expected"), CASES.values(), ids=CASES)
def test_whose_code_it_is(name, said, expected, tmp_path):
    assert is_fork(environ(tmp_path, name, said)) is expected


@pytest.mark.parametrize("said", ["", "{", "[" * 100_000])
def test_an_event_that_cannot_be_read_counts_as_a_fork_s(said, tmp_path):
    assert is_fork(environ(tmp_path, "pull_request", said))
    assert is_fork({"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request"})
    assert not is_fork(environ(tmp_path, "push", said))


def test_a_laptop_is_no_fork():
    assert not is_fork({})


def test_a_fork_is_refused_by_name(tmp_path):
    with pytest.raises(Refused, match="a preview is not deployed for a fork's pull request") as refused:
        refuse_fork("a preview is not deployed", environ(tmp_path, "pull_request", pull(THEIRS)))
    assert refused.value.exit == Exit.REFUSED
    refuse_fork("a preview is not deployed", environ(tmp_path, "pull_request", pull(OURS)))
