"""Whose fields these are, told from what the server says of a conflict."""

from __future__ import annotations

import pytest

from provision.cluster.changing.changes import claimed

_WEB = 'Deployment web: .spec.template.spec.containers[name="web"].envFrom: conflict with "kubectl" using apps/v1'
_SCALE = 'Deployment web: .spec.replicas: conflict with "hpa" with subresource "scale" using apps/v1'


@pytest.mark.parametrize(
    ("claims", "manager"),
    [
        ([_WEB], "kubectl"),
        ([_SCALE, _WEB], "hpa"),
        (["Service web: is there already, and not this project's; helm, kubectl has it"], "helm"),
    ],
)
def test_the_way_out_names_who_has_it_and_not_what_they_have(claims: list[str], manager: str) -> None:
    assert claimed(claims).next_step == f"declare it so; or take it from them: deploy up --take-over {manager}"
