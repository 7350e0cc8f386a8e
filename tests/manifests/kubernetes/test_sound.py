"""What is taken for sound without being read is sound when it is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provision.errors import UnencodableValue, UsageError
from provision.manifests.containers import containers
from provision.manifests.kubernetes import render_kubernetes
from provision.manifests.kubernetes.bundle import FOLDERS
from provision.manifests.kubernetes.faults import check
from provision.manifests.kubernetes.sound import are_sound
from provision.manifests.kubernetes.workload import workload
from provision.project.schema import Project
from tests.manifests.kubernetes.projects import project
from tests.manifests.projects import dollars_doubled
from tests.manifests.values import texts


def sound(declared: Project) -> bool:
    lanes = [containers(declared, "kubernetes", lane) for lane in FOLDERS]
    return are_sound([workload(lane, name) for lane in lanes for name in declared.services], [declared.name])


names = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True) | st.sampled_from(["a", "a-b", "a-canary"])
paths = st.sampled_from(["/a", "/b", "/tmp", "/tmp/", "/srv/cres/data"])
services = st.fixed_dictionaries(
    {"command": st.just(["run"])},
    optional={
        "port": st.integers(1, 65535),
        "replicas": st.integers(1, 3),
        "on_demand": st.booleans(),
        "batch": st.booleans(),
        "drain": st.integers(0, 100),
        "secrets": st.lists(st.sampled_from(["A", "B"]), max_size=3),
        "env": st.dictionaries(st.sampled_from(["A", "y", "ON"]), texts().map(dollars_doubled), max_size=3),
        "scale": st.fixed_dictionaries({"max": st.integers(1, 4)}),
        "volumes": st.dictionaries(
            st.sampled_from(["x", "b-x"]), st.fixed_dictionaries({"path": paths, "size": st.just("1GiB")}), max_size=2
        ),
        "resources": st.fixed_dictionaries({"cpus": st.floats(0.001, 64), "gpus": st.integers(0, 2)}),
    },
)


@given(st.dictionaries(names, services, min_size=1, max_size=3))
@settings(max_examples=60)
@example({"a": {"command": ["run"], "batch": True, "scale": {"max": 1}}})
def test_whatever_is_taken_for_sound_has_no_fault_when_it_is_read(declared: dict[str, Any]) -> None:
    whole = project(declared)
    try:
        files = render_kubernetes(whole)
    except (UsageError, UnencodableValue):
        return  # read, and refused
    if sound(whole):
        check(files)


@pytest.mark.parametrize(
    "services",
    [
        {"web": {}, "web-canary": {}},
        {"a": {"volumes": {"b-c": {"path": "/a", "size": 1}}}, "a-b": {"volumes": {"c": {"path": "/a", "size": 1}}}},
        {"web": {"volumes": {"a": {"path": "/tmp", "size": 1}}}},
        {"web": {"env": dict.fromkeys(map("V{}".format, range(20)), "x" * 60000)}},
        {"web": {"batch": True, "scale": {"max": 2}}},
        {"web-": {}},
    ],
)
def test_what_may_be_a_fault_is_read_and_named(services: dict[str, Any]) -> None:
    declared = project({name: {"command": ["run"], "port": 80, **service} for name, service in services.items()})

    assert not sound(declared)
    with pytest.raises(UsageError, match="a cluster would not take"):
        render_kubernetes(declared)
