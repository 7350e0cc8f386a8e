"""What people type in a world's folder, and what they see then."""

from __future__ import annotations

import json
from typing import Any

from tests.deploy.world import World


def deploy(world: World, *words: str, code: int = 0, seconds: float = 180) -> str:
    """What `deploy` says to people, within so long."""
    with world.cli(*words) as process:
        said, _ = process.communicate(timeout=seconds)
    assert process.returncode == code, said
    return str(said)


def events(world: World, *words: str, code: int = 0) -> list[dict[str, Any]]:
    """What it says to programs."""
    return [json.loads(line) for line in deploy(world, *words, "--json", code=code).splitlines()]


def steps(*shares: str, **more: Any) -> dict[str, Any]:
    """What a target declares of its rollout."""
    return {"steps": list(shares), "each": "1s", "abort": {"errors": "20%"}, **more}
