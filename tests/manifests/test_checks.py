"""Declared checks as a host is told of them."""

from __future__ import annotations

from typing import Any

import pytest

from provision.errors import DeployError
from provision.project.checks import KINDS, Check
from provision.project.service import Lane
from tests.manifests.projects import lane, project, service

COMMON = {"timeout": 60.0, "interval": 0.2, "passes": 2, "attempt_timeout": 10.0}
HTTP = {"kind": "http", "status": [200], "body": "", "headers": {}, "token": "", **COMMON}
WEB: dict[str, Any] = {
    "command": ["web"],
    "port": 8000,
    "env": {"MODE": "x", "N": "${cpus}", "KEY": "${secret_files.KEY}"},
    "secrets": ["TOKEN"],
    "secret_files": ["KEY"],
}

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"http": "/docs"}, {**HTTP, "name": "web http /docs", "url": "http://127.0.0.1:28000/docs"}),
    (
        {"http": "http://localhost:${port}/x", "status": [204, 301], "body": "ok", "headers": {"Server": "^uv"}},
        {
            **HTTP,
            "name": "web http http://localhost:28000/x",
            "url": "http://localhost:28000/x",
            "status": [204, 301],
            "body": "ok",
            "headers": {"Server": "^uv"},
        },
    ),
    ({"tcp": "${port}"}, {"kind": "tcp", "name": "web tcp 28000", "host": "127.0.0.1", "port": 28000, **COMMON}),
    (
        {"tcp": "db.local:5432"},
        {"kind": "tcp", "name": "web tcp db.local:5432", "host": "db.local", "port": 5432, **COMMON},
    ),
    ({"tcp": "[::1]:80"}, {"kind": "tcp", "name": "web tcp [::1]:80", "host": "::1", "port": 80, **COMMON}),
    (
        {"command": ["probe", "${port}"], "timeout": "5s", "interval": "1s", "passes": 1, "attempt_timeout": "2s"},
        {
            "kind": "command",
            "name": "web command probe",
            "argv": ["probe", "28000"],
            "env": {"MODE": "x"},
            "timeout": 5.0,
            "interval": 1.0,
            "passes": 1,
            "attempt_timeout": 2.0,
        },
    ),
    (
        {"completion": "Two and two is", "tokens": 4, "min_tokens_per_second": 1.5},
        {
            "kind": "completion",
            "name": "web completion",
            "url": "http://127.0.0.1:28000",
            "prompt": "Two and two is",
            "tokens": 4,
            "min_tokens_per_second": 1.5,
            "token": "",
            **COMMON,
        },
    ),
    (
        {"batch": "/batch", "send": '{"prompts": ["Hello"]}', "body": "so", "token": "TOKEN"},
        {
            "kind": "batch",
            "name": "web batch /batch",
            "url": "http://127.0.0.1:28000/batch",
            "send": '{"prompts": ["Hello"]}',
            "body": "so",
            "token": "TOKEN",
            **COMMON,
        },
    ),
    ({"gpu": "all"}, {"kind": "gpu", "name": "web gpu all", "layers": "all", **COMMON}),
    (
        {"bench": {"parallel": 4, "ttft_p95": "1.5s", "tokens_per_second": 40, "regression": "10%"}, "token": "TOKEN"},
        {
            "kind": "bench",
            "name": "web bench 512+128 x4",
            "url": "http://127.0.0.1:28000",
            "token": "TOKEN",
            "prompt": 512,
            "generate": 128,
            "parallel": 4,
            "ttft_p95": 1.5,
            "tokens_per_second": 40.0,
            "regression": 0.1,
            **COMMON,
            "timeout": 600.0,
            "attempt_timeout": 600.0,
            "passes": 1,
        },
    ),
    *(
        (
            {"http": "/a", "token": name},
            {**HTTP, "name": "web http /a", "url": "http://127.0.0.1:28000/a", "token": sent},
        )
        for name, sent in {"TOKEN": "TOKEN", "KEY": "KEY", "OTHER": ""}.items()
    ),
]


@pytest.mark.parametrize(("check", "document"), CASES, ids=[str(next(iter(check))) for check, _ in CASES])
def test_a_check_speaks_to_the_service_in_its_own_lane(check: dict[str, Any], document: dict[str, Any]) -> None:
    declared = project({"web": {**WEB, "check": check}})

    assert service(declared, "web", Lane.CANDIDATE)["checks"] == [document]


def test_checks_run_in_order_and_warm_comes_last_and_once() -> None:
    declared = project(
        {"web": {**WEB, "check": {"http": "/a"}, "checks": [{"http": "/b"}], "warm": {"http": "/c", "passes": 3}}}
    )

    checks = service(declared, "web")["checks"]

    assert [(check["name"], check["passes"]) for check in checks] == [
        ("web http /a", 2),
        ("web http /b", 2),
        ("web warm http /c", 1),
    ]


def test_checks_of_the_project_reach_services_by_name() -> None:
    declared = project({"web": WEB}, checks={"batch": {"http": "http://127.0.0.1:${services.web.port}/batch"}})

    (check,) = lane(declared, Lane.CANARY)["checks"]

    assert check["name"] == "batch http http://127.0.0.1:18000/batch"


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({}, "services.web.check: expected one of http, tcp, command, completion, batch, gpu or bench"),
        ({"tcp": "db.local"}, 'services.web.check.tcp: expected "${port}" or "host:port", got "db.local"'),
        ({"http": "/x"}, "services.web.check: it asks the service itself, but the service declares no port"),
        ({"command": ["x", "${cpus}"]}, "services.web.check.command: ${cpus} is counted on the host"),
    ],
)
def test_a_check_that_cannot_be_asked_is_named(check: dict[str, Any], message: str) -> None:
    with pytest.raises(DeployError) as refused:
        service(project({"web": {"command": ["web"], "check": check}}), "web")

    assert message in str(refused.value)


def test_each_key_of_a_kind_counts_for_it():
    for section in Check.__bases__:
        (name,) = section.__annotations__.keys() & KINDS.keys()
        assert section.__annotations__.keys() - {name} <= {*KINDS[name].keys}
