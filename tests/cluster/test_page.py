"""The page and the report of a real cluster: what pods write, what Prometheus counted, and a token that ends meanwhile.

Slow: `pytest -m slow tests/cluster/test_page.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx
import pytest

from tests.cluster.declared import Declared
from tests.cluster.gateway import Gateway, route
from tests.cluster.test_rolling import declare
from tests.faults.hooks import until
from tests.page.conftest import shows

pytestmark = pytest.mark.slow

MARKUP = "<script>alert(1)</script>\x1b[2J"


@pytest.fixture
def small(small: Declared, gateway: Gateway) -> Declared:
    declare(small, "one", gateway.prometheus)
    text = json.dumps(route("public", f"{small.name}.test", [{"name": "web", "port": 8000}]))
    small.kubectl("apply", "--server-side", "-f", "-", text=text)
    small.ok("up")
    return small


@contextmanager
def browser(small: Declared) -> Iterator[httpx.Client]:
    """Of who came by the page's address."""
    with small.start("ui", "--no-open", "--json") as process:
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        with httpx.Client(base_url=url.partition("/enter/")[0], timeout=30) as client:
            assert client.get(url).status_code == 200
            yield client


@contextmanager
def lines(client: httpx.Client, channel: str = "stable") -> Iterator[Iterator[list[str]]]:
    """What comes of the logs, each as its number, who wrote it, of what, and the text."""

    def told(answer: httpx.Response) -> Iterator[list[str]]:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield from json.loads(line.removeprefix("data: "))

    with client.stream("GET", f"/lines?target=k8s&channel={channel}", timeout=60) as answer:
        yield told(answer)


def test_pods_lines_come_as_they_are_written_also_those_of_pods_that_come_later(
    small: Declared, gateway: Gateway
) -> None:
    gateway.wait_for(f"{small.name}.test")
    with browser(small) as client, lines(client) as told:
        assert "<option selected>k8s</option>" in client.get("/logs").text
        assert next(each for each in told if "version one" in each[3])[2] == "web"
        gateway.ask(f"{small.name}.test", 8, path=f"/{quote(MARKUP)}")
        found = next(each[3] for each in told if "alert" in each[3])
        assert "\x1b" not in found  # and markup is text in the page's script, as of hosts
        declare(small, "two", gateway.prometheus)
        small.ok("up", "--channel", "stable")
        assert next(each[1] for each in told if "version two" in each[3])


def test_nothing_is_told_twice(small: Declared, gateway: Gateway) -> None:
    gateway.wait_for(f"{small.name}.test")
    with browser(small) as client, lines(client) as told:
        seen: list[str] = []
        for number in range(12):
            gateway.ask(f"{small.name}.test", 8, path=f"/asked-{number}")
            last = f"asked for /asked-{number}"
            while seen.count(last) < 8:
                seen.append(next(told)[3])
        assert [seen.count(f"asked for /asked-{number}") for number in range(12)] == [8] * 12


def test_a_cluster_s_candidate_is_none_and_that_is_said(small: Declared) -> None:
    with browser(small) as client, lines(client, "candidate") as told:
        assert "a cluster has no candidate" in next(told)[3]


def test_what_prometheus_counted_is_drawn_lane_by_lane(small: Declared, gateway: Gateway) -> None:
    declare(small, "two", gateway.prometheus, env=', FAILS = "0.5"', each="50s")
    small.ok("up")
    gateway.wait_for(f"{small.name}.test")
    with browser(small) as client, gateway.load(f"{small.name}.test"):
        shows(client, "/traffic", "Time to first byte", 90)
        page = shows(client, "/traffic", "data-chart", 90)
        until(lambda: "5" in _errors(client), "errors of the canary", 90)
    assert "<b>Rollout of" in page
    charts = [json.loads(each.replace("&#34;", '"')) for each in re.findall(r'data-chart="([^"]*)"', page)]
    assert {line["lane"] for chart in charts for line in chart["lines"]} == {"stable", "canary"}
    assert small.event("status")["inventory"]["rollout"]["step"] == 0  # who looks takes no step


def _errors(client: httpx.Client) -> str:
    text = re.sub(r"<[^>]*>", " ", client.get("/traffic").text)
    return "".join(re.findall(r"canary\s+20%\s+0\s+\d+\s+(\d+)", text))


def test_the_plan_and_the_history_are_on_the_page_and_in_the_report(small: Declared, gateway: Gateway) -> None:
    declare(small, "two", gateway.prometheus)
    with browser(small) as client:
        page = shows(client, "/deploys", "<caption>Plan</caption>", 60)
        assert re.search(r">Deployment web-canary</th><td>create</td>", page)
        assert "committed" in shows(client, "/deploys", "committed")
    file = small.root / "report.html"
    small.ok("report", "--since", "1h", "--html", str(file))
    assert "committed" in file.read_text()
    said = small.ok("report", "--since", "1h")
    release = small.event("status")["inventory"]["channels"]["stable"]
    assert f"stable {release[:12]}" in said
    assert "committed" in small.ok("report", release[:8])
    assert small.run("report", "ffff").returncode == 2


def test_a_token_that_ends_is_said_on_each_page_and_what_was_known_stays(small: Declared) -> None:
    with browser(small) as client:
        shows(client, "/", "serving", 60)
        with lines(client) as told:
            assert "version one" in next(told)[3]
            small.kubectl("delete", "serviceaccount", f"deploy-{small.name}")
            assert "does not know who asks" in next(each[3] for each in told if "asks" in each[3])
        page = shows(client, "/", "does not know who asks", 60)
        assert "stale" in page
        assert "serving" in page
        assert client.get("/deploys").status_code == 200
