"""What the pages show of real hosts, while it happens."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx

from provision.targets import sandbox
from tests.cli.conftest import Project
from tests.page.conftest import Ui, served, shows, stop


def _parts(lines: Iterator[str]) -> Iterator[str]:
    """The HTML of each part that comes, for a minute."""
    until = time.monotonic() + 60
    for line in lines:
        assert time.monotonic() < until, "nothing of that came"
        if line.startswith("data: "):
            yield from json.loads(line[6:])["html"].values()


def test_a_host_that_is_gone_greys_out_alone_and_its_neighbour_says_how_it_stands(client: httpx.Client) -> None:
    page = shows(client, "/", "unreachable")
    assert 'class="host card bad stale"' in page
    page = shows(client, "/", 'class="host card good" data-find aria-label="sandbox"')
    assert "> serving<" in page
    assert "<b>stable</b>" in page
    assert 'class="last"' in page  # the last deploy, from the host's own history


def test_a_change_on_a_host_comes_to_who_looks_on(ui: Ui, client: httpx.Client) -> None:
    shows(client, "/", "> serving<")
    with client.stream("GET", "/live/") as stream:
        parts = _parts(stream.iter_lines())
        ui.project.ok("stop", "web", "--target", "sandbox")
        assert next(part for part in parts if "stopped on purpose" in part)
        ui.project.ok("start", "web", "--target", "sandbox")
        assert next(part for part in parts if "> serving<" in part)


def test_a_deploy_that_failed_has_a_record_with_its_plan_checks_and_last_lines(client: httpx.Client) -> None:
    page = client.get("/deploys").text
    newest = re.findall(r'href="(/deploys/[\d-]+)"', page)[-2]  # the first was the one that went well
    record = client.get(newest).text
    assert "HTTP 500" in record
    assert "<caption>Plan</caption>" in record
    assert "web.candidate" in record
    assert "next: <code>deploy up, once that is mended</code>" in record


def test_what_the_next_deploy_would_do_is_there_file_by_file(client: httpx.Client) -> None:
    page = shows(client, "/deploys", 'aria-label="next on sandbox"', 60)
    assert "~ web.py" in page
    assert re.search(r"<td>restart</td><td>beside</td>", page)


def test_a_gone_host_leaves_its_neighbour_what_the_next_deploy_does_to_it(ui: Ui, client: httpx.Client) -> None:
    neighbour = sandbox.spec(ui.project.root)
    page = shows(client, "/deploys", f'aria-label="next on 127.0.0.1:{neighbour.port}"', 60)
    half = page.partition(f'aria-label="next on 127.0.0.1:{neighbour.port}"')
    assert '<article class="card bad" data-find aria-label="next on 127.0.0.1:1">' in half[0]
    assert "<td>restart</td>" in half[2]


def test_a_deploy_is_seen_while_it_runs(ui: Ui, client: httpx.Client) -> None:
    known = set(re.findall(r"/deploys/[\d-]+", client.get("/deploys").text))
    running = ui.project.start("restart", "--target", "sandbox")
    page = shows(client, "/deploys", "running")
    (new,) = set(re.findall(r"/deploys/[\d-]+", page)) - known
    with client.stream("GET", f"/live{new}") as stream:
        parts = _parts(stream.iter_lines())
        assert next(part for part in parts if "preflight" in part or "prove" in part or "transaction" in part)
        assert next(part for part in parts if 'id="head"' in part and "done" in part)
    assert running.wait(30) == 0
    running.communicate()


def test_markup_and_escapes_in_a_log_are_text(ui: Ui, client: httpx.Client) -> None:
    httpx.get(f"http://127.0.0.1:{ui.project.port}/")
    with client.stream("GET", "/lines?target=sandbox&channel=stable") as stream:
        found: list[list[object]] = []
        for line in stream.iter_lines():
            if line.startswith("data: "):
                found += [each for each in json.loads(line[6:]) if "<script>" in str(each[3])]
            if found:
                break
    text = str(found[0][3])
    assert "\\x1b[2J" in text
    assert not re.search("[\x00-\x08\x0e-\x1f\u202e]", text)


def test_evidence_says_what_is_missing_before_there_is_any(client: httpx.Client) -> None:
    assert "deploy image keys init" in shows(client, "/evidence", "evidence.pub")
    assert "missing: " in shows(client, "/evidence", "from binaries to host")


def test_models_and_traffic_say_that_there_are_none(client: httpx.Client) -> None:
    shows(client, "/models", "has none")
    shows(client, "/traffic", "[targets.sandbox.traffic]")


def test_names_from_hell_lead_nowhere(client: httpx.Client) -> None:
    for path in ("/host/sandbox/%3Cscript%3E", "/host/nobody/x", "/deploys/..%2f..%2fetc", "/static/..%2fapp.py"):
        answer = client.get(path)
        assert "<script>" not in answer.text.replace('<script src="/static/page.js" defer></script>', "")
    assert client.get("/lines?target=%3Cscript%3E&channel=stable").status_code == 404
    assert client.get("/logs?target=%3Cscript%3E").status_code == 404


def test_ctrl_c_ends_it_quietly_while_browsers_follow(project: Project) -> None:
    with served(project) as ui, ui.browser() as client, ExitStack() as opened:
        for path in ("/live/", "/live/deploys", "/lines?target=sandbox&channel=stable"):
            lines = opened.enter_context(client.stream("GET", path)).iter_lines()
            assert any(line.startswith("data:") for line in lines)
        assert stop(ui) == ""
    assert ui.process.returncode == 0


def test_a_deploy_that_nobody_knows_is_not_found(client: httpx.Client) -> None:
    shown = client.get("/deploys/0-0")
    assert (shown.status_code, "not kept any more" in shown.text) == (404, True)
