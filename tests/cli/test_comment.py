"""What a comment on a pull request says, and how it gets there: one comment, whatever GitHub does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.cli.github.comment import LIMIT, comment, marker
from provision.cli.github.comments import NoComment, PullRequest
from tests.cli.github_api import GitHub

STEP = {"program": "web", "do": "restart", "how": "beside", "why": "files changed", "service": "web", "lane": "stable"}
PLAN = {
    "event": "plan",
    "host": "a",
    "target": "production",
    "unchanged": False,
    "channel": "stable",
    "current": "4f1c" * 16,
    "release": "9a20" * 16,
    "generation": 4,
    "steps": [STEP],
    "files": {"added": ["new.py"], "changed": ["web.py"], "removed": []},
    "contents": [{"kind": "model", "name": "m.gguf", "bytes": 3_000_000_000, "there": 0, "is_there": False}],
    "models": [],
    "engines": [],
    "secrets": ["TOKEN"],
    "warnings": [],
    "interrupted": False,
    "taken_from": "",
    "images": {},
    "refused": None,
}


def said(*events, name="x"):
    return comment(name, "deploy plan", events)


def test_a_plan_says_what_changes_where_and_why():
    text = said(PLAN, {"event": "warning", "text": "port 80 needs root"})
    assert text.splitlines()[0] == "<!-- deploy:x -->"
    assert "**`production`, `a`**: stable `4f1c4f1c4f1c` → `9a209a209a20`" in text
    assert "| `web` | restart | beside | files changed |" in text
    assert "<details><summary>2 files: 1 added, 1 changed</summary>\n\n- added: `new.py`\n- changed: `web.py`" in text
    assert "- model `m.gguf` of 3.0 GB is shipped" in text
    assert "- new values of secrets: `TOKEN`" in text
    assert "⚠️ port 80 needs root" in text


def test_hosts_with_one_plan_are_told_together_and_others_apart():
    text = said(*({**PLAN, "host": f"gpu-{number}", "generation": number} for number in range(30)))
    assert text.count("| `web` |") == 1
    assert "`gpu-0`" in text
    assert "and 10 more" in text
    assert said(PLAN, {**PLAN, "host": "b", "steps": []}).count("**`production`") == 2


def test_an_unchanged_host_is_a_line_and_a_refusal_comes_with_its_next_step():
    assert "**`production`, `a`**: unchanged, stable is `9a209a209a20`" in said({**PLAN, "unchanged": True})
    refused = {"what": "port 80 is taken.", "why": "nginx has it.", "next_step": "deploy status"}
    text = said({**PLAN, "refused": refused})
    assert "**`deploy up` would be refused**: port 80 is taken.\n- nginx has it.\n- next: `deploy status`" in text


def test_a_preview_has_its_address_in_the_comment():
    event = {"event": "preview", "host": "a", "name": "pr-7", "until": "2026-12-02 10:00 UTC", "ports": {"web": 61004}}
    text = said({**event, "reach": "deploy tunnel --preview pr-7"})
    assert "**Preview `pr-7`** on `a`, until 2026-12-02 10:00 UTC" in text
    assert "- `web` has port 61004 there\n- from where one may log in: `deploy tunnel --preview pr-7`" in text


@pytest.mark.parametrize(("hosts", "files"), [(1, 100_000), (20, 100), (400, 100)])
def test_what_is_too_long_says_less_of_files_and_then_is_cut(hosts, files):
    paths = [f"päth/{number}/" + "x" * 200 for number in range(files)]
    each = {**PLAN, "files": {"added": paths, "changed": paths, "removed": []}}
    text = said(
        *({**each, "host": f"h{number}", "steps": [{**STEP, "why": f"{number}" * 90}]} for number in range(hosts))
    )
    assert len(text.encode()) <= LIMIT
    assert f"{2 * files} files: {files} added, {files} changed" in text
    assert text.count("<details>") == text.count("</details>")
    assert ("This is cut" in text) is (hosts == 400)


@given(st.text(), st.text())
def test_no_value_ends_the_marker_or_its_cell(name, text):
    made = comment(name, text, [{**PLAN, "steps": [{**STEP, "program": text, "why": text}]}])
    first, heading, *rest = made.splitlines()
    assert (first, first.count("--"), first.count(">")) == (marker(name), 2, 1)
    assert heading.startswith("### `")
    (row,) = [line for line in rest if line.startswith("| `")]
    assert len(row.replace("\\\\", "").replace("\\|", "").split("|")) == 6


@given(st.text(), st.text())
def test_no_two_names_have_one_marker(one, other):
    assert (marker(one) == marker(other)) is (one == other)


@pytest.fixture
def waited():
    return []


@pytest.fixture
def say(github, tmp_path, waited):
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": {"number": 7}}))
    environ = {"GITHUB_API_URL": github.url, "GITHUB_REPOSITORY": "acme/shop"}
    environ["GITHUB_EVENT_PATH"] = str(tmp_path / "event.json")

    def say(text="two", token="ghs_secret", name="plan"):
        return PullRequest(environ, token, waited.append).say(f"{marker(name)}\n{text}")

    return say


def bodies(github):
    return [each["body"].partition("\n")[2] for each in github.comments]


def test_a_comment_is_made_once_and_then_updated(github, say):
    assert say("one") == "https://x/1"
    say("two")
    say("other", name="plan-of-another-target")
    assert bodies(github) == ["two", "other"]
    assert {token for _, _, token in github.asked} == {"Bearer ghs_secret"}


def test_ours_is_found_on_a_later_page(github, say):
    for number in range(250):
        github.wrote(f"comment {number}")
    github.wrote(f"{marker('plan')}\r\none")
    say("two")
    assert len(github.comments) == 251
    assert bodies(github)[-1] == "two"


def test_somebody_else_s_comment_with_our_marker_is_left_alone(github, say):
    github.wrote(f"{marker('plan')}\nforged", "User", "eve")
    github.wrote(f"as they said: {marker('plan')}\nquoted")
    say("two")
    assert bodies(github) == ["forged", "quoted", "two"]


def test_the_token_of_a_person_updates_what_that_person_wrote(github, say):
    github.wrote(f"{marker('plan')}\none", "User", "ada")
    say("two", token="github_pat_1")
    assert bodies(github) == ["two"]


def test_one_that_was_removed_meanwhile_is_made_anew(github, say):
    github.wrote(f"{marker('plan')}\none")
    github.faults = [github.does, (404, {}, {"message": "Not Found"})]
    github.faults[0] = (200, {}, [dict(github.comments.pop())])
    say("two")
    assert bodies(github) == ["two"]


def test_a_token_that_may_not_write_is_told_what_it_needs(github, say):
    github.faults = [(200, {}, []), (403, {}, {"message": "Resource not accessible by integration"})]
    with pytest.raises(NoComment, match=r"Resource not accessible.*pull-requests: write.*fork's pull request"):
        say()
    assert github.comments == []


def test_a_repository_that_is_not_there_is_said(github, say):
    github.faults = [(404, {}, {"message": "Not Found"})] * 2
    with pytest.raises(NoComment, match="is not there for this token"):
        say()


@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [(429, {"Retry-After": "7"}, 7), (403, {"Retry-After": "30"}, 30), (502, {}, 2)],
)
def test_what_passes_is_waited_for(status, headers, pause, github, say, waited):
    github.faults = [(status, headers, b"<html>")]
    say()
    assert bodies(github) == ["two"]
    assert waited == [pause]


@pytest.mark.parametrize(
    ("headers", "tries"),
    [
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}, 1),
        ({"Retry-After": "86400"}, 1),
        ({"Retry-After": "soon"}, 2),
        ({"Retry-After": "40"}, 3),
    ],
)
def test_what_takes_too_long_is_given_up(headers, tries, github, say, waited):
    github.faults = [(403, headers, {"message": "API rate limit exceeded"})] * 9
    with pytest.raises(NoComment, match=r"the limit of requests is used up .API rate limit exceeded"):
        say()
    assert len(github.asked) == tries
    assert sum(waited) <= 90


def test_a_redirect_does_not_take_the_token_elsewhere(github, say):
    elsewhere = GitHub()
    github.faults = [(307, {"Location": elsewhere.url + "/repos/acme/shop/issues/7/comments"}, {})]
    with pytest.raises(NoComment, match="307"):
        say()
    assert elsewhere.asked == []
    elsewhere.server.server_close()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{}", b"null", b'[{"id": "1"}, 3, null, {"id": 1, "user": 1}]'])
def test_an_answer_that_makes_no_sense_breaks_nothing(content, github, say):
    github.faults = [(200, {}, content)]
    say()
    assert bodies(github) == ["two"]


def test_a_run_that_is_about_no_pull_request_has_no_comment(tmp_path):
    (tmp_path / "event.json").write_text(json.dumps({"ref": "refs/heads/main"}))
    with pytest.raises(NoComment, match="about no pull request"):
        PullRequest({"GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_REPOSITORY": "acme/shop"}, "ghs_x")
