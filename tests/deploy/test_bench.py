"""A bench is measured by the host, on the service itself, before anybody depends on it; and it is written down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provision import rollout
from provision.contract.layout import BUDGET_GUARD
from provision.errors import DeployError
from provision.native.model import write_demo_model
from tests.deploy.world import World

pytestmark = [pytest.mark.root, pytest.mark.parametrize("platform", ["supervisord"], indirect=True)]


def llama(world: World, *args: str, **limits: Any) -> dict[str, Any]:
    """A llama-server of the wheel, that is measured."""
    write_demo_model(world.folder / "models" / "demo.gguf")
    asked = {"prompt": 40, "generate": 40, "parallel": 2, **limits}
    return {
        "preset": "bitnet-server",
        "engine": "wheel",
        "model": "models/demo.gguf",
        "threads": 1,
        "port": world.port,
        "switch": "in-place",
        "args": ["--ctx-size", "1024", *args],
        "checks": [{"bench": asked, "timeout": "90s"}, {"completion": "so", "passes": 1}],
    }


def measured(world: World) -> dict[str, Any]:
    """The facts of the bench that was told last."""
    return next(event["facts"] for event in reversed(world.events) if "bench" in event.get("check", ""))


def metric(world: World, name: str) -> str:
    """What the service tells of itself."""
    told = world.host.exec(["curl", "-fsS", "-m", "15", f"http://127.0.0.1:{world.port}/metrics"]).stdout
    return next(line.split()[1] for line in told.splitlines() if line.startswith(name))


def records(world: World) -> list[dict[str, Any]]:
    """What the host has recorded as evidence, oldest first."""
    folder = f"{world.path}/.deploy/evidence"
    names = world.host.exec(["ls", "-tr", folder]).stdout.split()
    return [json.loads(world.host.read(f"{folder}/{name}")) for name in names if name.endswith(".record")]


def test_it_is_measured_last_and_goes_into_evidence_history_and_metrics(world: World) -> None:
    world.declare({"llama": llama(world)})
    world.up()

    assert world.checks() == ["llama http /health", "llama completion", "llama bench 40+40 x2"]
    full = measured(world)["full"]
    assert full["generated"] % 80 == 0
    (record,) = records(world)
    told = next(each for each in record["checks"] if "bench" in each["check"])
    assert told["facts"]["full"] == full
    assert rollout.history(world.deployment())[-1]["bench"]["llama"]["full"] == full
    text = world.host.exec(["cat", f"{world.path}/shared/metrics/bench.prom"]).stdout
    assert f'deploy_bench_tokens_per_second{{project="{world.name}",service="llama",channel="stable"}}' in text


def test_a_draft_model_is_shipped_once_by_its_content_and_drafts(world: World) -> None:
    world.declare({"llama": llama(world)})
    world.up()
    plain = len(world.host.exec(["ls", f"{world.path}/shared/models"]).stdout.split())
    write_demo_model(world.folder / "models" / "small.gguf", ternary="TQ2_0")
    (world.folder / "models" / "small.gguf").open("ab").write(b"\0" * 32)  # another content, which says the same

    world.declare({"llama": {**llama(world), "draft": "models/small.gguf"}})
    world.up()

    assert (plain, len(world.host.exec(["ls", f"{world.path}/shared/models"]).stdout.split())) == (1, 2)
    assert float(metric(world, "llamacpp:spec_decode_num_accepted_tokens_total")) > 0
    assert world.up().outcome == "unchanged"


def test_while_its_users_wait_it_is_measured_in_short(world: World) -> None:
    world.declare({"llama": llama(world)})
    world.up()
    world.declare({"llama": llama(world, "--batch-size", "256")})

    world.up()

    assert "full" not in measured(world)
    assert measured(world)["short"]["generated"] == 64


def test_one_beside_the_old_one_is_measured_in_full_and_only_there(world: World) -> None:
    world.declare({"llama": {**llama(world), "switch": "beside"}})
    world.up()
    world.declare({"llama": {**llama(world, "--batch-size", "256"), "switch": "beside"}})

    world.up()

    assert [name for name in world.checks() if "bench" in name] == ["llama bench 40+40 x2"]
    assert "full" in measured(world)
    assert world.up().outcome == "unchanged"


def by_hand(world: World, *words: str, seconds: float = 120) -> tuple[int, list[dict[str, Any]]]:
    """`deploy bench`: its exit status, and what it told of each service."""
    with world.cli("bench", *words, "--json") as process:
        said, _ = process.communicate(timeout=seconds)
    told = [json.loads(line) for line in said.splitlines()]
    return process.returncode, [each for each in told if each["event"] == "bench"]


def test_by_hand_it_measures_what_serves_and_changes_nothing(world: World) -> None:
    web = {"command": ["sleep", "600"]}
    world.declare({"llama": llama(world), "other": web})
    world.up()
    before = world.state(), world.pid("llama"), records(world)

    status, (row,) = by_hand(world, "here", "llama")

    assert (status, row["wrong"], row["judged"]) == (0, "", True)
    assert (row["service"], row["prompt"], row["generate"], row["parallel"]) == ("llama", 40, 40, 2)
    assert row["measured"]["full"]["generated"] % 80 == 0
    assert "dollars_per_million" not in row["measured"]
    assert "python" not in str(row["measured"]["beside"])  # which the service itself is, to the kernel
    assert (world.state(), world.pid("llama"), records(world)) == before


def test_by_hand_what_a_rented_machine_costs_is_said_and_numbers_can_be_others(world: World) -> None:
    """Its key goes along, from several threads at once, as the check says that it has."""
    asked = {"completion": "so", "passes": 1, "token": "LLAMA_API_KEY"}
    world.declare({"llama": {**llama(world), "secrets": ["LLAMA_API_KEY"], "checks": [asked]}}, "LLAMA_API_KEY=so-long")
    world.up()
    world.host.write(f"{BUDGET_GUARD}/terms.json", json.dumps({"per_hour": 3.6}), mode=0o600)
    try:
        status, (row,) = by_hand(world, "--prompt", "20", "--generate", "16", "--parallel", "4")
    finally:
        world.host.exec(["rm", "-r", BUDGET_GUARD])

    assert (status, row["prompt"], row["generate"], row["parallel"]) == (0, 20, 16, 4)
    full = row["measured"]["full"]
    assert row["measured"]["dollars_per_million"] == pytest.approx(full["seconds"] / full["generated"] * 1e3, rel=1e-3)


def test_by_hand_a_limit_that_is_missed_is_said_and_counts_for_declared_numbers_alone(world: World) -> None:
    world.declare({"llama": llama(world)})
    world.up()
    world.declare({"llama": llama(world, tokens_per_second=1e6)})  # nothing starts anew, so nothing is measured
    world.up()

    status, (row,) = by_hand(world)
    assert (status, row["measured"]["full"]["generated"] % 80) == (1, 0)
    assert "below the 1e+06 that are declared" in row["wrong"]

    status, (row,) = by_hand(world, "--parallel", "1")
    assert (status, row["wrong"], row["judged"]) == (0, "", False)


def test_a_release_that_is_too_slow_never_serves(world: World) -> None:
    world.declare({"llama": llama(world)})
    world.up()
    world.declare({"llama": llama(world, "--batch-size", "256", tokens_per_second=1e6)})

    with pytest.raises(DeployError, match=r"below the 1e\+06 that are declared"):
        world.up()

    assert world.get("/health") == {"status": "ok"}
    (failed,) = [each for each in records(world) if each["outcome"] == "put back"]
    told = next(each for each in failed["checks"] if "bench" in each["check"])
    assert (told["passed"], told["facts"]["short"]["generated"]) == (False, 64)
