"""deploy_vast.py with nothing but .env: a machine is rented, deployed to and proven; a second run looks once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.project import load
from tests.binaries import llama_server
from tests.documents.vast import LOADED, equip, stack, with_gpu
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

    _looks_once(laptop)


def _looks_once(laptop: Laptop) -> None:
    calls = len(laptop.rental.known()["calls"])
    second = deploy_vast(laptop)

    assert laptop.rental.known()["calls"][calls:] == ["list"]
    (result,) = [each for each in second if each["event"] == "result"]
    assert result["outcome"] == "unchanged"
    assert result["round_trips"]["connect"]["exec"] == 1
    assert result["round_trips"]["facts"] == {"request": 1}
    begun = [each["phase"] for each in second if each["event"] == "phase" and each["state"] == "begin"]
    assert begun == ["connect", "facts"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_stack_is_brought_from_an_account_to_checks_passed(
    tmp_path: Path, market: Callable[..., Rental], make_host: MakeHost
) -> None:
    host = make_host(Kind.SUPERVISORD)
    equip(host)
    with_gpu(host, llama_server(tmp_path), LOADED.format(layers=9, mib="2.71"))
    rental = market(None, boot(host))
    laptop = Laptop(stack(host, tmp_path / "stack").folder, rental)
    laptop.change('disk = "60GB"', 'disk = "1GB"')
    image = f"ghcr.io/acme/vast-stack@sha256:{'0' * 64}"
    account = f"VAST_API_KEY={KEY}\nVAST_URL={rental.url}\nSTACK_IMAGE={image}\nVAST_SSH_KEY='{host.identity}'\n"
    (laptop.folder / ".env").write_text(account)

    first = deploy_vast(laptop)

    passed = [each["check"] for each in first if each["event"] == "check" and each["passed"]]
    assert passed.count("worker-gpu batch http://127.0.0.1:8000/batch") == 2
    assert (laptop.folder / ".env").read_text() == f"{account}STACK_ENGINE=image\n"
    _looks_once(laptop)


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
