"""What is asked and what the stand-in answers, held against what the provider publishes of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from provision.errors import DeployError
from provision.providers.face import Needs, Order
from tests.providers.conftest import Rental

SHAPES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("shapes.yaml").read_text())
CALLS = {
    "search": ("/api/v0/bundles", "post"),
    "rent": ("/api/v0/asks/{id}", "put"),
    "list": ("/api/v1/instances", "get"),
    "user": ("/api/v0/users/current", "get"),
    "show": ("/api/v0/instances/{id}", "get"),
    "label": ("/api/v0/instances/{id}", "put"),
    "destroy": ("/api/v0/instances/{id}", "delete"),
    "keys": ("/api/v0/instances/{id}/ssh", "get"),
    "admit": ("/api/v0/instances/{id}/ssh", "post"),
    "log": ("/api/v0/instances/request_logs/{id}", "put"),
    "charges": ("/api/v0/charges", "get"),
}
# Where the provider's own client, which works, and its answers to it, differ from the document: the client's way.
KNOWN = {
    ("search", "type"): "on-demand, where the document has ondemand",
    ("rent", "env"): "an object of variables and ports, where the document has text",
    ("show", "instances"): "null once it is no more",
    ("show", "ports"): "an object of what is reached where, where the document has numbers",
    ("list", "ports"): "the same",
    ("show", "actual_status"): "null at first",
}


def test_every_request_and_answer_has_the_published_shape(market: Callable[..., Rental]) -> None:
    rental = market(None, {"start": 1})
    vast = rental.vast
    number = vast.rent(vast.offers(Needs(gpu=("RTX 4090",), vram=1, down=1))[0], Order("a", "x", 1, (8000,), "true"))
    vast.machines(), vast.machine(number), vast.credit(), vast.log(number, 10)
    vast.rename(number, "b")
    vast.start(number)
    vast.paid("b", 0)
    vast.admit(number, "ssh-ed25519 AAAA me")
    vast.destroy(number)
    assert vast.machine(number) is None
    with pytest.raises(DeployError):
        vast.rename(number, "c")

    exchanges = rental.known()["exchanges"]

    assert {each[0] for each in exchanges} == set(CALLS)
    wrong = [fault for exchange in exchanges for fault in _faults(*exchange)]
    assert wrong == []


def _faults(endpoint: str, asked: Any, status: int, said: Any) -> list[str]:
    path, method = CALLS[endpoint]
    shape = SHAPES["paths"][path][method]
    found = []
    if "requestBody" in shape and asked is not None:
        found += _differences(endpoint, asked, shape["requestBody"])
    if str(status) in shape["responses"]:
        found += _differences(endpoint, said, shape["responses"][str(status)])
    return found


def _differences(endpoint: str, value: Any, shape: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator({**shape, "components": SHAPES["components"]})
    return [
        f"{endpoint}: {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in validator.iter_errors(value)
        if not any((endpoint, step) in KNOWN for step in error.absolute_path)
    ]


def test_a_wrong_shape_is_noticed() -> None:
    assert _faults("rent", {"image": 1}, 200, {"success": "yes"}) != []
