"""deploy_vast.py with nothing but .env: a machine is rented, deployed to and proven; a second run looks once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.project import load
from tests.providers.conftest import KEY, Rental
from tests.providers.laptop import ROOT, Laptop, boot
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost

pytestmark = pytest.mark.root


def test_from_env_alone_to_checks_passed_and_then_nothing_to_do(
    tmp_path: Path, market: Callable[..., Rental], make_host: MakeHost
) -> None:
    host = make_host(Kind.SUPERVISORD)
    rental = market(None, boot(host))
    laptop = Laptop.make(tmp_path / "laptop", rental, host)

    first = deploy_vast(laptop)

    assert [(each["program"], each["passed"]) for each in first if each["event"] == "check"] == [
        ("web", True),
        ("", True),
    ]
    assert json.loads(host.exec(["curl", "-fsS", "http://127.0.0.1:8000/"]).stdout)["version"] == "1"
    assert rental.alive == [7000]

    calls = len(rental.known()["calls"])
    second = deploy_vast(laptop)

    assert rental.known()["calls"][calls:] == ["list"]
    (result,) = [each for each in second if each["event"] == "result"]
    assert result["outcome"] == "unchanged"
    assert result["round_trips"]["connect"]["exec"] == 1
    assert result["round_trips"]["facts"] == {"request": 1}
    assert [each for each in second if each["event"] == "check"] == []


def deploy_vast(laptop: Laptop) -> list[dict[str, Any]]:
    done = laptop.run("--json", program=ROOT / "deploy_vast.py")
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_stack_is_rented_for_with_an_account_and_an_image_in_env() -> None:
    environ = {"VAST_HOST": "", "VAST_API_KEY": KEY, "STACK_IMAGE": f"ghcr.io/acme/vast-stack@sha256:{'0' * 64}"}

    target = load(ROOT / "examples" / "vast-stack", environ=environ, target="rented").project.targets["rented"]

    assert (target.provider, target.prepare) == ("vast", False)
    assert target.needs and target.budget
    assert target.budget.per_hour * target.budget.until / 3600 <= target.budget.total
