"""The keeper ends what it has begun itself, and nobody else's: whatever those are called."""

from __future__ import annotations

from typing import Any, cast

import pytest

from provision.agent.keeper.kinds import is_keepers
from provision.contract.records import Begin


@pytest.mark.parametrize(
    ("begin", "is_its_own"),
    [
        ({"kind": "promote", "who": "keeper", "by_keeper": True}, True),
        ({"kind": "rollout", "who": "ann@laptop"}, True),  # it changes no program
        ({"kind": "weigh", "who": "ann@laptop"}, True),
        ({"kind": "promote", "who": "ann@laptop"}, False),
        ({"kind": "up", "who": "keeper"}, False),  # somebody's account has that name
        ({"kind": "promote", "who": "keeper"}, False),
    ],
)
def test_whose_transaction_it_is(begin: dict[str, Any], is_its_own: bool) -> None:
    assert is_keepers(cast("Begin", begin)) is is_its_own
