"""What is asked again, and for how long: a real API server, behind a proxy that now and then answers by itself."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.cluster.server import patience
from provision.cluster.server.client import Api, Conflict
from provision.cluster.server.refusals import Invalid
from provision.errors import Unreachable
from tests.cli.ports import free_ports
from tests.cluster.faulty import Answer, Fault, FaultyApi, Lost
from tests.cluster.running import Cluster, kubeconfig

NAMES = (f"patient{number}" for number in itertools.count())


@pytest.fixture
def faulty(api_server: Cluster) -> Iterator[FaultyApi]:
    with FaultyApi(api_server) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def token(api_server: Cluster) -> str:
    """Who asks: a certificate would end at the proxy."""
    api_server.kubectl("create", "serviceaccount", "patient")
    bound = ("--clusterrole=cluster-admin", "--serviceaccount=default:patient")
    api_server.kubectl("create", "clusterrolebinding", "patient", *bound)
    return api_server.kubectl("create", "token", "patient").strip()


@pytest.fixture
def api(faulty: FaultyApi, token: str, tmp_path: Path) -> Iterator[Api]:
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps(kubeconfig({}, {"token": token})))
    faulty.reach(config)
    made = Api(None, config, "default")
    yield made
    made.close()


def first(fault: Fault, *methods: str) -> Any:
    """A plan: the first request with one of these methods meets `fault`."""
    left = [fault]
    return lambda request: left.pop() if left and request.method in methods else None


def node(name: str, value: str = "one", version: str = "") -> dict[str, Any]:
    metadata = {"name": name, **({"resourceVersion": version} if version else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": value}}


def test_what_was_written_without_an_answer_is_told_by_what_is_there(api: Api, faulty: FaultyApi) -> None:
    name = next(NAMES)
    faulty.plan = first(Lost(), "POST")
    made = api.create(node(name))
    assert made is not None
    faulty.plan = first(Lost(), "PUT")

    new = api.replace(node(name, "two", made["metadata"]["resourceVersion"]))

    assert new is not None
    assert new["data"] == {"a": "two"}
    assert sum(request.method in ("POST", "PUT") for request in faulty.requests) == 2


def test_what_was_not_written_is_written_then(api: Api, faulty: FaultyApi) -> None:
    name = next(NAMES)
    faulty.plan = first(Answer(500, "InternalError"), "POST")

    assert api.create(node(name)) is not None
    assert sum(request.method == "POST" for request in faulty.requests) == 2


def test_what_somebody_else_wrote_meanwhile_is_not_taken_for_ours(
    api: Api, api_server: Cluster, faulty: FaultyApi
) -> None:
    name = next(NAMES)
    made = api.create(node(name))
    assert made is not None

    def theirs() -> None:
        api_server.kubectl("patch", "configmap", name, "-p", '{"data": {"a": "theirs"}}')

    faulty.plan = first(Lost(theirs), "PUT")

    assert api.replace(node(name, "ours", made["metadata"]["resourceVersion"])) is None
    assert api.get("ConfigMap", name)["data"] == {"a": "theirs"}  # type: ignore[index]


def test_two_who_apply_at_once_are_no_conflict_and_a_field_of_somebody_is(
    api: Api, api_server: Cluster, faulty: FaultyApi
) -> None:
    name = next(NAMES)
    faulty.plan = first(Answer(409, "Conflict"), "PATCH")
    assert api.apply(node(name))["data"] == {"a": "one"}
    api_server.kubectl("patch", "configmap", name, "--field-manager=ann", "-p", '{"data": {"a": "theirs"}}')

    with pytest.raises(Conflict, match='"ann"'):
        api.apply(node(name))


def test_how_long_a_busy_server_wants_to_be_left_alone_is_kept_to(api: Api, faulty: FaultyApi) -> None:
    faulty.plan = first(Answer(429, "TooManyRequests", {"Retry-After": "1"}), "GET")
    began = time.monotonic()

    assert api.get("ConfigMap", "nothing") is None
    assert time.monotonic() - began >= 1


def test_a_server_that_goes_on_failing_is_said_in_its_own_words(
    api: Api, faulty: FaultyApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_FAILING", 0.5)
    monkeypatch.setattr(patience, "_AWAY", 0.5)
    said = json.dumps({"kind": "Status", "code": 500, "message": 'failed calling webhook "a.b"'})
    faulty.plan = lambda _request: Answer(500, "InternalError", body=said)
    with pytest.raises(Invalid, match="fails at it") as failure:
        api.apply(node(next(NAMES)))
    assert 'failed calling webhook "a.b"' in failure.value.why
    faulty.plan = lambda _request: Answer(429, "Too Many Requests", {"Content-Type": "text/plain"}, "Too many.")

    with pytest.raises(Unreachable, match="does not answer") as busy:
        api.get("ConfigMap", "nothing")
    assert "it says 429: Too many." in busy.value.why


def test_a_server_that_was_never_there_is_said_within_seconds(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps(kubeconfig({"server": f"https://127.0.0.1:{port}"}, {"token": "a"})))
    began = time.monotonic()

    with pytest.raises(Unreachable, match=f"https://127.0.0.1:{port}, does not answer") as failure:
        Api(None, config, "default").get("ConfigMap", "nothing")

    assert time.monotonic() - began < 15
    assert failure.value.next_step == "kubectl cluster-info"
