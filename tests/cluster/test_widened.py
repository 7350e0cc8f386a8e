"""What policies let through while one release takes another's place."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from provision.cluster.changing.widened import widened

WAYS = ("ingress", "egress")
RULES = st.lists(st.sampled_from([{"to": [{"ipBlock": {"cidr": f"10.0.{n}.0/24"}}]} for n in range(4)]), unique_by=str)


def policy(*rules: list[dict[str, Any]]) -> dict[str, Any]:
    """As it is rendered: no list is empty."""
    spec = {"policyTypes": ["Ingress", "Egress"], **{way: each for way, each in zip(WAYS, rules, strict=True) if each}}
    return {"kind": "NetworkPolicy", "metadata": {"name": "web"}, "spec": spec}


@given(RULES, RULES, RULES, RULES)
def test_it_is_what_either_release_says_and_nothing_else(
    new_in: list[Any], new_out: list[Any], old_in: list[Any], old_out: list[Any]
) -> None:
    new, old = policy(new_in, new_out), policy(old_in, old_out)

    wide = widened(new, old)

    for way in WAYS:
        has = [str(each) for each in wide["spec"].get(way, [])]
        assert set(has) == {str(each) for each in (*new["spec"].get(way, []), *old["spec"].get(way, []))}
        assert len(has) == len(set(has))
        assert has or way not in wide["spec"]
    assert widened(new, wide) == widened(new, old)
    assert {**wide, "spec": 0} == {**new, "spec": 0}


@given(RULES, RULES)
def test_what_closes_nothing_is_applied_as_it_is(rules_in: list[Any], rules_out: list[Any]) -> None:
    new = policy(rules_in, rules_out)
    assert all(widened(new, old) is new for old in (None, new, policy([], []), policy(rules_in[:1], [])))
